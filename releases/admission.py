"""May this release start now? Approvals, evidence, freezes and the agent's speed limits, each with its own refusal."""

from datetime import datetime

from django.utils import timezone

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError
from audit.models import Event
from audit.record import record, reference
from evals.models import Run
from harness.controller import Candidate, Situation, Watch, acceleration_alarm, start_refusals
from harness.exceptions import StableMovedError
from harness.models import Agent
from releases.exceptions import ApprovalMissingError, PlanMovedError, RampBusyError, ReleaseRefusedError, VelocityError
from releases.models import Release
from releases.planning import evidence_for, overall_gain_of

__all__ = ["lift_throttle", "refuse_start", "situation_of"]

_LIFTED = "agent.lift_throttle"
_IN_PROGRESS = ("running", "paused", "promoting", "inconclusive", "rolling_back")


def refuse_start(release: Release, agent: Agent, *, now: datetime | None = None) -> None:
    """Raise the refusal that keeps `release` from starting; return when nothing does. The caller holds both rows."""
    now = now or timezone.now()
    plan = release.as_plan()
    if plan.digest != release.plan_digest:
        raise PlanMovedError(
            f"The stored plan of {release} is {plan.digest[:12]}…, not what was approved. Draft it anew."
        )
    agent.refuse_if_frozen()
    _refuse_unapproved(release)
    if agent.stable_id != release.baseline_id:
        raise StableMovedError(
            f"{agent.stable} is stable by now, not {release.baseline}: judge the change against that again."
        )
    evidence = evidence_for(release.proposal, agent)
    if evidence.run.candidate_id != release.version_id or evidence.run.pk != release.run_ref:
        raise ReleaseRefusedError(
            f"{release} was judged by another run since it was drafted: withdraw it and draft it anew."
        )
    if (freeze := plan.freeze_at(now)) is not None:
        raise ReleaseRefusedError(f"Changes are frozen until {freeze.ends_at:%Y-%m-%d %H:%M %Z}: {freeze.reason}.")
    _refuse_too_fast(release, agent, now)


def _refuse_unapproved(release: Release) -> None:
    approvals = release.num_approvals()
    if approvals < release.approvals_needed:
        raise ApprovalMissingError(
            f"{release} has {approvals} of {release.approvals_needed} approvals of plan {release.plan_digest[:12]}… that "
            "count; ask people who neither wrote the change nor plan the release."
        )


def _refuse_too_fast(release: Release, agent: Agent, now: datetime) -> None:
    candidate = Candidate(
        layer=release.proposal.layer,
        intents=frozenset(release.plan.get("target_intents", ())),
        is_hotfix=release.is_hotfix,
        overlap_accepted=release.overlap_accepted,
    )
    situation = situation_of(agent, besides=release)
    refusals = start_refusals(candidate, situation, agent.current_policy().velocity, now=now)
    if situation.live_ramps:
        raise RampBusyError(
            f"Release {', '.join(situation.live_ramps)} is still live, and one at a time is judged. Wait until it ends."
        )
    if refusals:
        raise VelocityError(" ".join(refusal.sentence for refusal in refusals))


def situation_of(agent: Agent, *, besides: Release | None = None) -> Situation:
    """Return what is going on at `agent` as the controller reads it, leaving `besides` out."""
    others = Release.objects.filter(agent=agent).exclude(pk=besides.pk if besides else None)
    watched = others.in_aftermath().select_related("proposal", "version__agent")
    return Situation(
        live_ramps=tuple(
            str(one.version) for one in others.filter(status__in=_IN_PROGRESS).select_related("version__agent")
        ),
        watches=tuple(
            Watch(str(one.version), one.proposal.layer, frozenset(one.plan.get("target_intents", ())))
            for one in watched
        ),
        rolled_back_at=others.filter(status="rolled_back")
        .order_by("-ended_at")
        .values_list("ended_at", flat=True)
        .first(),
        started_at=others.filter(started_at__isnull=False)
        .order_by("-started_at")
        .values_list("started_at", flat=True)
        .first(),
        throttled_at=_throttled_at(agent),
    )


def _throttled_at(agent: Agent) -> datetime | None:
    """Return when gains came too fast, unless a person has looked into it and lifted the alarm since."""
    promoted = list(Release.objects.filter(agent=agent, status="promoted").order_by("promoted_at"))
    runs = Run.objects.in_bulk([one.run_ref for one in promoted])
    gains = [overall_gain_of(runs[one.run_ref]) for one in promoted if one.run_ref in runs]
    if not promoted or acceleration_alarm(gains, agent.current_policy().velocity) is None:
        return None
    rung_at = promoted[-1].promoted_at
    lifted = Event.objects.filter(action=_LIFTED, object_ref=reference(agent), at__gte=rung_at).exists()
    return None if lifted else rung_at


def lift_throttle(agent: Agent, *, by: Actor, reason: str) -> None:
    """Lift the acceleration alarm after looking into it; the record is what lifts it."""
    require(by, Permission.RUN_RELEASE, agent.access_scope(), act=f"lift the throttle of agent {agent.slug!r}")
    if not reason.strip():
        raise ReasonMissingError(f"Say what explains the gains of {agent.slug!r}: the record needs it.")
    with acting(by, reason=reason):
        record(_LIFTED, agent, team_id=agent.team_id)
