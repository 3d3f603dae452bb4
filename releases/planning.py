"""From an approved proposal to a draft release: its plan, its evidence, how many people must approve it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.models import User
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError
from audit.record import record
from episodes.models import Intent
from evals.freezing import targets_of
from evals.models import Run
from harness.canonical import sha256_hex
from harness.models import Agent
from proposals.models import Proposal
from releases.bucketing import new_salt
from releases.exceptions import ReleaseRefusedError
from releases.guard import forecast
from releases.models import Release
from releases.plan import Plan, PlanError, Tripwire, profile

__all__ = ["PLANNABLE", "Evidence", "draft_release", "evidence_for", "foreseen", "overall_gain_of", "plan_for"]

_RECENT = 500
_ASSUMED_RATE = 0.1
PLANNABLE = frozenset({"steps", "max_duration_s", "aftermath_users", "aftermath_s", "freezes", "tripwires"})
"""What a single release may say otherwise than the policy. Margins, alpha and clocks of judgment are the policy's, and
tripwires can only be added or made stricter."""


@dataclass(frozen=True)
class Evidence:
    """The run that judged exactly what is to be released, and the overall gain it measured or foresaw."""

    run: Run
    overall_gain: float


def plan_for(agent: Agent, proposal: Proposal, overrides: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan the agent's policy gives a release of `proposal`: the named profile, then what differs from it.

    The live intents are watched, the proposal's targets are its claim, the objective says whose word counts, and its
    tripwires that roll back are armed: policy and `overrides` may add tripwires or lower their limits, never drop or
    raise one. `overrides` may set `PLANNABLE` keys. Raises `ReleaseRefusedError` for a plan that cannot be run.
    """
    section = dict(agent.current_policy().plan)
    asked = dict(overrides or {})
    if foreign := sorted(asked.keys() - PLANNABLE):
        raise ReleaseRefusedError(
            f"A release's plan cannot set {foreign!r}: those are the policy's. It can set {', '.join(sorted(PLANNABLE))}."
        )
    try:
        base = profile(str(section.pop("profile", "default"))).to_mapping()
        wires = {name: wire.at_least - 1 for name, wire in _tripwires(agent)}
        for plain in (section.get("tripwires", ()), asked.get("tripwires", ())):
            wires |= _stricter(wires, plain)
        mapping = {
            **base,
            **section,
            **asked,
            "tripwires": [{"name": name, "limit": limit} for name, limit in sorted(wires.items())],
            "truth_sources": list(agent.current_objective().truth_sources),
            "intents": sorted(Intent.objects.filter(agent=agent).live().values_list("slug", flat=True)),
            "target_intents": sorted(targets_of(proposal)),
        }
        return Plan.from_mapping(mapping)
    except PlanError as error:
        raise ReleaseRefusedError(f"{error} Mend the policy's section 'plan' or what this release asks for.") from error


def _tripwires(agent: Agent) -> Any:
    wires = agent.current_objective().tripwires
    return ((name, wire) for name, wire in wires.items() if wire.action == "roll_back")


def _stricter(armed: Mapping[str, int], plain: Any) -> dict[str, int]:
    """Return the tripwires of `plain` JSON by name and limit; raise `PlanError` where one would be looser than armed."""
    try:
        asked = [Tripwire(**wire) for wire in plain]
        raised = [wire.name for wire in asked if wire.limit > armed.get(wire.name, wire.limit)]
    except TypeError as error:
        message = f"These are no tripwires: {error}. Each is an object with a name and a limit."
        raise PlanError(message) from error
    if raised:
        message = (
            f"Tripwires {raised!r} may not be raised above what is armed ({dict(armed)!r}): a plan can add tripwires and "
            "lower their limits."
        )
        raise PlanError(message)
    return {wire.name: wire.limit for wire in asked}


def overall_gain_of(run: Run) -> float:
    """Return the larger of the measured and the predicted traffic-weighted gain the verdict names; 0 without one."""
    for gate in run.reading.get("gates", ()):
        if gate.get("name") == "effect":
            numbers = gate.get("numbers", {})
            return max(float(numbers.get(key) or 0.0) for key in ("overall_gain", "predicted_overall_gain"))
    return 0.0


def foreseen(release: Release) -> str:
    """Return what this plan can be expected to see, in users, at the agent's recent failure rate: read before approving.

    The rate is that of the last settled conversations that somebody but the agent spoke about; a tenth without any.
    """
    settled = release.agent.conversations.settled().exclude(resolution="open").exclude(resolution_source="agent")
    recent = list(settled.order_by("-id").values_list("resolution", flat=True)[:_RECENT])
    base = sum(one != "resolved" for one in recent) / len(recent) if recent else _ASSUMED_RATE
    return forecast(release.as_plan(), min(max(base, 0.01), 0.99)).sentence


def evidence_for(proposal: Proposal, agent: Agent) -> Evidence:
    """Return the evidence that `proposal` may be released on, or raise `ReleaseRefusedError` naming what is missing.

    What is deployed is what was judged: proposal, run and stored bytes must name one digest, the run's baseline must be
    the stable version.
    """
    if proposal.status != Proposal.Status.APPROVED:
        raise ReleaseRefusedError(f"{proposal} is {proposal.status!r}; only an approved proposal can be released.")
    runs = Run.objects.filter(agent=agent).select_related("candidate", "baseline")
    run = runs.filter(pk=proposal.run_ref).first() if proposal.run_ref else None
    if run is None or run.status != Run.Status.JUDGED or run.verdict != Run.Verdict.PASS:
        raise ReleaseRefusedError(f"{proposal} names no run that passed: validate it first.")
    version = proposal.candidate
    names = {run.candidate.digest, proposal.candidate_digest, version.digest if version else ""}
    if version is not None:
        names.add(sha256_hex(bytes(version.body)))
    if version is None or len(names) != 1:
        seen = ", ".join(sorted(name[:12] or "none" for name in names))
        raise ReleaseRefusedError(
            f"{proposal}: what was judged is not what would be released (digests {seen}). Validate it again."
        )
    if run.baseline_id != agent.stable_id:
        raise ReleaseRefusedError(
            f"{proposal} was judged against {run.baseline}, but {agent.stable} is stable: rebase it and validate again."
        )
    return Evidence(run=run, overall_gain=overall_gain_of(run))


@transaction.atomic
def draft_release(
    proposal: Proposal, *, by: Actor, reason: str, plan: Plan | None = None, overrides: Mapping[str, Any] | None = None,
    owner: User | None = None, is_hotfix: bool = False, overlap_accepted: bool = False,
) -> Release:  # fmt: skip
    """Make a draft release of an approved proposal; `plan` defaults to the one the agent's policy gives.

    `overrides` are what this plan says otherwise than the policy (see `PLANNABLE`). The owner is the person who plans it and so cannot approve it; a machine names one. Whether it is a hotfix or may
    overlap an open aftermath is fixed here, before anybody approves.
    """
    agent = Agent.objects.locked().select_related("stable", "policy", "objective").get(pk=proposal.agent_id)
    proposal.refresh_from_db()
    if not by.is_machine:
        require(by, Permission.PLAN_RELEASE, agent.access_scope(), act=f"plan a release of {proposal}")
    if not reason.strip():
        raise ReasonMissingError(f"Say why {proposal} goes out: the record needs it.")
    owner_id = owner.pk if owner else by.user_id
    if owner_id is None:
        raise ReleaseRefusedError(f"A release of {proposal} needs an owner: a person who answers for it.")
    evidence = evidence_for(proposal, agent)
    open_one = (
        Release.objects.filter(proposal=proposal).exclude(status__in=("withdrawn", "declined", "rolled_back")).first()
    )
    if open_one is not None:
        raise ReleaseRefusedError(f"{proposal} already has a release, {open_one}: withdraw that one first.")
    plan = plan or plan_for(agent, proposal, overrides)
    approvals = agent.current_policy().approvals_needed(proposal.layer, overall_gain=evidence.overall_gain)
    with acting(by, reason=reason):
        release = Release(
            agent=agent, proposal=proposal, baseline=evidence.run.baseline, version=evidence.run.candidate,
            run_ref=evidence.run.pk, owner_id=owner_id, reason=reason, plan=plan.to_mapping(), plan_digest=plan.digest,
            salt=new_salt(), approvals_needed=max(approvals, proposal.approvals_needed),
            is_hotfix=is_hotfix, overlap_accepted=overlap_accepted,
            retry_of=Release.objects.filter(proposal=proposal).order_by("-id").first(),
        )  # fmt: skip
        release.save(force_insert=True)
        facts = {"plan_digest": plan.digest, "run": str(release.run_ref), "approvals_needed": release.approvals_needed}
        record("release.draft", release, digest=release.version.digest, team_id=agent.team_id, facts=facts)
    return release
