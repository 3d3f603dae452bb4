"""Begin a validation: take the slot, freeze the cases and leave word that they be played; or end it early."""

from accounts.access import require
from accounts.acting import Actor
from accounts.roles import Permission
from audit.transitions import performs
from evals.freezing import begin_run
from evals.jobs import play_run
from evals.models import Run
from jobs.tasks import enqueue
from proposals.models import Proposal

__all__ = ["end_validation", "validate_now"]


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
