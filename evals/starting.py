"""Begin a validation or a comparison and leave word that it be played; or end a validation early."""

from typing import Any

from accounts.access import require
from accounts.acting import Actor
from accounts.roles import Permission
from audit.transitions import performs
from evals.comparing import begin_comparison
from evals.freezing import begin_run
from evals.jobs import play_run
from evals.models import Benchmark, Run
from harness.models import HarnessVersion
from jobs.tasks import enqueue
from proposals.models import Proposal

__all__ = ["compare", "end_validation", "resume_run", "validate_now"]


@performs(Proposal, "begin_validation")
@performs(Proposal, "resume_validation")
def validate_now(proposal: Proposal, *, by: Actor, reason: str) -> str:
    """Begin the run that validates a proposal; taking the slot alone would leave nobody to play."""
    require(by, Permission.START_RUN, proposal.access_scope(), act=f"validate {proposal}")
    run = begin_run(proposal, by=by, reason=reason or "asked for")
    enqueue(play_run, str(run.pk), key=str(run.pk))
    return "Validation has begun: baseline and candidate are played on the same cases."


@performs(Proposal, "requeue")
def end_validation(proposal: Proposal, *, by: Actor, reason: str) -> str:
    """Cancel the run that is being played, which frees the slot; leaving it running would let it judge nobody."""
    run = Run.objects.filter(proposal=proposal).unfinished().first()
    if run is None:
        proposal.requeue(by=by, reason=reason)
    else:
        run.cancel(by=by, reason=reason)
    return "It waits for its turn again."


@performs(Run, "resume")
def resume_run(run: Run, *, by: Actor, reason: str, more_usd: float = 0.0, more_s: float = 0.0) -> str:
    """Give a stopped run what it may spend beyond its allowance, and leave word that it be played on."""
    run.resume(by=by, reason=reason, more_usd=more_usd, more_s=more_s)
    enqueue(play_run, str(run.pk), key=str(run.pk))
    return "It is played on from where it stopped."


def compare(
    baseline: HarnessVersion, candidate: HarnessVersion, benchmark: Benchmark, *, by: Actor, reason: str, **asked: Any
) -> Run:
    """Play two versions against each other; see `evals.comparing.begin_comparison` for what can be asked."""
    run = begin_comparison(baseline, candidate, benchmark, by=by, reason=reason, **asked)
    if not run.is_external:
        enqueue(play_run, str(run.pk), key=str(run.pk))
    return run
