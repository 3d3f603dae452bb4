"""A leak that people looked at and let go: two of them, none an author, each with a reason."""

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError
from audit.record import record
from evals.exceptions import NoLeakError, OwnChangeError
from evals.models import LeakRelease, Run

__all__ = ["is_held_for_a_leak", "num_releases", "release_leak"]


def is_held_for_a_leak(run: Run) -> bool:
    """Return whether the run's verdict is a hold to which the leakage gate contributed."""
    gates = {gate["name"]: gate["verdict"] for gate in run.reading.get("gates", ())}
    return run.verdict == Run.Verdict.HOLD and gates.get("leakage") == "hold"


def num_releases(run: Run) -> int:
    """Return how many people released the leak of exactly this candidate against this baseline."""
    mine = LeakRelease.objects.filter(
        run__proposal=run.proposal, run__baseline=run.baseline_id, run__candidate=run.candidate_id
    )
    return mine.values("reviewer_id").distinct().count()


@transaction.atomic
def release_leak(run: Run, *, by: Actor, reason: str) -> str:
    """Say that what looks like knowledge of the exam is none. The next look of the plan reads it; a second time is once."""
    require(by, Permission.APPROVE_PROPOSAL, run.access_scope(), act=f"release the leak of {run}")
    if run.proposal is not None and by.user_id in run.proposal.author_ids():
        raise OwnChangeError(f"{by.name} wrote {run.proposal} and cannot release its leak: ask somebody else.")
    if not reason.strip():
        raise ReasonMissingError(f"Say why what {run} seems to know of the exam is no leak: the record needs it.")
    if not is_held_for_a_leak(run):
        raise NoLeakError(f"{run} is not held for a leak: there is nothing to release.")
    with acting(by, reason=reason):
        _, is_new = LeakRelease.objects.get_or_create(
            run=run, reviewer_id=by.user_id, defaults={"comment": reason, "is_simulated": by.is_simulated}
        )
        if is_new:
            record("run.release_leak", run, digest=run.audit_digest(), team_id=run.agent.team_id)
    people, needed = num_releases(run), int(run.gate_policy.get("leakage_people", 2))
    if people < needed:
        return f"{people} of {needed} people have released it."
    return f"{people} people have released it: resume the proposal's validation, the next look reads it."
