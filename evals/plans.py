"""What came before a run: the looks its plan has spent, and how often the agent's exam was sat since its last rotation."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q

from evals.models import Benchmark, Case, Result, Run
from proposals.models import Proposal

__all__ = ["Past", "num_promotions", "past_of", "spent"]


@dataclass(frozen=True)
class Past:
    """The number of this look, the gates that earlier looks of the same plan passed, and the attempts, this one included.

    `confirmed` is the earlier look whose fresh hold-out confirmed the gain; it is played once and read again.
    """

    look: int
    passed_before: tuple[str, ...]
    attempts: int
    confirmed: Run | None


def spent(runs: Any) -> Any:
    """Return the runs that looked: judged ones, and those canceled after results of the candidate could be read.

    Without the second kind a run could be watched and canceled until one looks well.
    """
    seen = Exists(Result.objects.filter(run=OuterRef("pk"), arm=Result.Arm.CANDIDATE))
    return runs.filter(Q(status=Run.Status.JUDGED) | Q(seen, status=Run.Status.CANCELED))


def past_of(run: Run) -> Past:
    """Return what earlier runs mean for this one.

    A plan is one candidate against one baseline on one benchmark: a rebased proposal starts anew, and the same change
    written down twice does not. Passes are carried within one proposal only, because another may claim otherwise. A
    comparison of the pair on the exam is a look at it too, though no attempt; one on development cases is neither.
    """
    if run.split == Case.Split.DEV:
        return Past(look=1, passed_before=(), attempts=1, confirmed=None)
    exams = Run.objects.filter(agent_id=run.agent_id, benchmark_id=run.benchmark_id, pk__lt=run.pk)
    before = spent(exams.exclude(split=Case.Split.DEV))
    plan = before.filter(baseline_id=run.baseline_id, candidate_id=run.candidate_id).order_by("pk")
    look, passed, confirmed = 1, list[str](), None
    for old in plan:
        if old.status == Run.Status.CANCELED:
            look += 1
            continue
        look = max(look, old.reading.get("next_look", look + 1))
        if old.proposal_id == run.proposal_id:
            mine = [gate["name"] for gate in old.reading.get("gates", ()) if gate["verdict"] == "pass"]
            passed += mine
            if "holdout" in mine and old.run_cases.filter(split="holdout").exists():
                confirmed = old
    rotated_at = rotation_of(run)
    attempts = before.filter(proposal__isnull=False)
    attempts = attempts if rotated_at is None else attempts.filter(finished_at__gte=rotated_at)
    return Past(look=look, passed_before=tuple(passed), attempts=attempts.count() + 1, confirmed=confirmed)


def num_promotions(run: Run) -> int:
    """Return how many changes of the agent were promoted since the run's hold-out was last rotated."""
    rows = Proposal.objects.filter(agent_id=run.agent_id, status__in=("verified", "not_fixed", "confounded"))
    rotated_at = rotation_of(run)
    return (rows if rotated_at is None else rows.filter(closed_at__gte=rotated_at)).count()


def rotation_of(run: Run) -> datetime | None:
    """Return when the hold-out of the run's benchmark was last rotated, as it stands now."""
    return Benchmark.objects.get(pk=run.benchmark_id).rotated_at
