"""The moves of a release that touch more than its own row: each is one transaction, agent before release.

Every change of what is served moves the revision in the transaction that makes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.access import require
from accounts.acting import MACHINE, Actor, acting
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError, TransitionRefusedError
from audit.record import record
from episodes.models import Pattern
from harness.exceptions import StableMovedError
from harness.models import Agent, Revision
from proposals.models import Proposal
from proposals.requeueing import return_to_queue
from releases.admission import refuse_start
from releases.aftermath import keep_lesson
from releases.exceptions import ReleaseRefusedError, StillServedError
from releases.models import Release
from releases.serving import still_serves

__all__ = [
    "advance", "confirm_rolled_back", "extend", "held", "pause", "promote", "resume", "revert_now", "roll_back", "start",
]  # fmt: skip


@contextmanager
def held(release: Release) -> Iterator[Agent]:
    """Hold the agent, then the release: one order for all, so that nobody waits crosswise."""
    with transaction.atomic():
        agent = Agent.objects.locked().get(pk=release.agent_id)
        with release.locked():
            yield agent


def _may(release: Release, verb: str, by: Actor) -> bool:
    """Return whether the edge starts here, refusing who may not walk it; the move itself refuses a wrong state."""
    edge = release.edge(verb)
    if release.status not in edge.sources:
        return False
    release._authorize(edge, by)
    return True


def start(release: Release, *, by: Actor, reason: str) -> None:
    """Serve the first step of the plan and tell proposal and pattern."""
    with held(release) as agent:
        if _may(release, "start", by):
            refuse_start(release, agent)
        plan = release.as_plan()
        release._move(
            "start", by=by, reason=reason, facts={"weight": plan.weight_at(0), "plan_digest": release.plan_digest},
            step=0, weight=plan.weight_at(0), started_at=True, step_started_at=True,
            deadline_at=timezone.now() + timedelta(seconds=plan.max_duration_s),
        )  # fmt: skip
        release.proposal.mark_released(by=MACHINE, reason=f"release {release.pk} started")
        pattern = release.proposal.pattern
        if pattern is not None and pattern.status in Pattern.edge("address").sources:
            pattern.address(by=MACHINE, reason=f"release {release.pk} of {release.version} started")
        Revision.bump()


def advance(release: Release, *, to_step: int, by: Actor, reason: str) -> None:
    """Raise the weight to the plan's `to_step`, which must be the next one; the caller has read that it may."""
    with held(release) as agent:
        agent.refuse_if_frozen()
        plan = release.as_plan()
        if release.status != Release.Status.RUNNING or to_step != release.step + 1 or to_step > plan.last_stage:
            raise TransitionRefusedError(
                f"Cannot advance {release} to step {to_step}: it is {release.status!r} at step {release.step} of "
                f"{plan.last_stage}; a running release takes the next step of its plan."
            )
        before = release.weight
        release.step, release.weight, release.step_started_at = to_step, plan.weight_at(to_step), timezone.now()
        with acting(by, reason=reason):
            release.save(update_fields=["step", "weight", "step_started_at"])
            facts = {"step": to_step, "from": before, "to": release.weight, "plan_digest": release.plan_digest}
            record("release.advance", release, digest=release.version.digest, team_id=agent.team_id, facts=facts)
        Revision.bump()


def pause(release: Release, *, by: Actor, reason: str) -> None:
    with release.locked():
        release._move("pause", by=by, reason=reason)
        Revision.bump()


def resume(release: Release, *, by: Actor, reason: str) -> None:
    """Go on at the same weight; what paused it last is acknowledged."""
    with held(release) as agent:
        if _may(release, "resume", by):
            agent.refuse_if_frozen()
            if agent.stable_id != release.baseline_id:
                raise StableMovedError(f"{agent.stable} is stable by now, not {release.baseline}: roll {release} back.")
        last = release.ticks.order_by("-id").first()
        code = str(last.reading.get("code", "")) if last and last.status == "pause" else ""
        acknowledged = sorted({*release.acknowledged, code} - {""})
        release._move("resume", by=by, reason=reason, facts={"acknowledged": acknowledged}, acknowledged=acknowledged)
        Revision.bump()


def extend(release: Release, *, by: Actor, reason: str, seconds: float | None) -> None:
    """Move the deadline; `None` grants the plan's maximum duration once more."""
    with held(release) as agent:
        if _may(release, "extend", by):
            agent.refuse_if_frozen()
        more = release.as_plan().max_duration_s if seconds is None else seconds
        deadline_at = timezone.now() + timedelta(seconds=more)
        release._move("extend", by=by, reason=reason, facts={"seconds": more}, deadline_at=deadline_at)
        Revision.bump()


def promote(release: Release, *, by: Actor, reason: str) -> None:
    """Make the version stable, provided that its baseline still is; else fall back to running.

    Waiting proposals go back to the queue, since they were judged against another baseline.
    """
    try:
        with held(release) as agent:
            if _may(release, "promote", by):
                agent.refuse_if_frozen()
                agent.set_stable(release.version, expected=release.baseline, by=by, reason=reason)
            plan = release.as_plan()
            stage = len(plan.steps)
            release._move(
                "promote", by=by, reason=reason, facts={"weight": plan.weight_at(stage)},
                step=stage, weight=plan.weight_at(stage), promoted_at=True, step_started_at=True,
            )  # fmt: skip
            Revision.bump()
    except StableMovedError as moved:
        release.fall_back(by=by, reason=str(moved))
        return
    requeue_waiting(release.agent)


def requeue_waiting(agent: Agent) -> None:
    """Send proposals judged against another version back to the queue; repeated until it holds, so a crash costs nothing."""
    agent.refresh_from_db()
    return_to_queue(agent, reason=f"{agent.stable} is stable by now")


def roll_back(release: Release, *, by: Actor, reason: str) -> None:
    """Serve nobody the version any more. A promoted release gives way to the version before it.

    A live release that builds on what is rolled back goes with it: half of its users would keep the withdrawn change.
    """
    with held(release) as agent:
        if _may(release, "roll_back", by) and release.status == Release.Status.PROMOTED:
            if release.aftermath_closed_at is not None:
                raise ReleaseRefusedError(
                    f"The aftermath of {release} is closed: {release.version} is the baseline of everything since. "
                    "Release a change that reverts it."
                )
            agent.set_stable(release.baseline, expected=release.version, by=by, reason=reason)
            for other in Release.objects.filter(agent=agent, baseline_id=release.version_id).live():
                other.roll_back(by=by, reason=f"its baseline {release.version} was rolled back: {reason}")
        release._move("roll_back", by=by, reason=reason, facts={"weight": release.weight}, weight=0.0)
        Revision.bump()


def confirm_rolled_back(release: Release, *, by: Actor, reason: str) -> None:
    """Close the rollback when a canary user is served something else; tell proposal, pattern and the queue."""
    with held(release) as agent:
        if _may(release, "confirm_rolled_back", by):
            _refuse_while_served(release, agent)
        release._move("confirm_rolled_back", by=by, reason=reason, ended_at=True)
        proposal, pattern = release.proposal, release.proposal.pattern
        if proposal.status in Proposal.edge("mark_rolled_back").sources:
            proposal.mark_rolled_back(by=MACHINE, reason=reason)
        if pattern is not None and pattern.status in Pattern.edge("fail_fix").sources:
            pattern.fail_fix(by=MACHINE, reason=f"release {release.pk} was rolled back")
        keep_lesson(release, release.guard_sentence)
    requeue_waiting(release.agent)


def _refuse_while_served(release: Release, agent: Agent) -> None:
    known = release.exposures.filter(arm="canary").order_by("-id").values_list("subject", flat=True).first()
    if still_serves(agent.slug, release.version.digest, known or ""):
        raise StillServedError(f"{release.version} is still handed out; the next tick looks again.")


def revert_now(agent: Agent, *, by: Actor, reason: str) -> Release:
    """Roll back whatever changes the agent now: its live release, else the promoted one whose aftermath is open.

    Needs the permission to stop releases and a reason, nobody's approval; it is reviewed after the fact.
    """
    require(by, Permission.STOP_RELEASE, agent.access_scope(), act=f"revert agent {agent.slug!r}")
    if not reason.strip():
        raise ReasonMissingError(f"Say why agent {agent.slug!r} is reverted: the record needs it.")
    mine = Release.objects.filter(agent=agent)
    serving = Agent.objects.filter(pk=agent.pk).values("stable")
    release = mine.live().first() or mine.in_aftermath().filter(version__in=serving).order_by("-promoted_at").first()
    if release is None:
        raise ReleaseRefusedError(
            f"Agent {agent.slug!r} has no live release and no open aftermath: there is nothing to revert."
        )
    with transaction.atomic():
        release.roll_back(by=by, reason=reason)
        with acting(by, reason=reason):
            record("agent.revert_now", agent, team_id=agent.team_id, facts={"release": str(release.pk)})
    return release  # type: ignore[no-any-return]  # the queryset is generic over Any
