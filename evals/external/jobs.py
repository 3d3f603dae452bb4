"""Jobs of runs that are played elsewhere."""

from accounts.acting import MACHINE
from accounts.exceptions import DomainError
from evals.models import Result, Run
from evals.verdicts import conclude
from jobs.tasks import job

__all__ = ["judge_posted"]


@job(queue="runs", timeout_s=300)
def judge_posted(run_id: str) -> None:
    """Judge a run whose results are all in; a winner's hold-out is frozen instead, and waits to be played.

    A repeat finds the run judged, or results owed, and does nothing.
    """
    run = Run.objects.select_related("agent", "baseline", "candidate", "proposal", "benchmark").get(pk=run_id)
    owed = run.run_cases.count() * run.trials * len(Result.Arm.values)
    if run.status != Run.Status.RUNNING or run.results.count() < owed:
        return
    try:
        conclude(run)
    except DomainError as refusal:
        run.fail(by=MACHINE, reason=str(refusal))
        raise
