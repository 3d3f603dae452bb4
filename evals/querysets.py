"""Named questions about benchmarks, cases, runs and results."""

from typing import Self

from django.db.models import Count, Q

from harness.querysets import OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = [
    "PLACES", "BenchmarkQuerySet", "CaseQuerySet", "DecisionsOnRunQuerySet", "DraftRoundQuerySet",
    "FactsOfRunQuerySet", "JudgedQuerySet", "MatrixQuerySet", "RunQuerySet", "SimulationCalibrationQuerySet",
]  # fmt: skip


PLACES = [(split, status) for split in ("dev", "verify", "holdout") for status in ("draft", "active", "retired")]


class BenchmarkQuerySet(OfAgentQuerySet):
    """Benchmarks in use."""

    def with_counts(self) -> Self:
        """Annotate each with `num_<split>_<status>` of its cases."""
        counts = {
            f"num_{split}_{status}": Count("cases", filter=Q(cases__split=split, cases__status=status))
            for split, status in PLACES
        }
        return self.annotate(**counts)

    def active(self) -> Self:
        return self.filter(is_active=True)


class CaseQuerySet(OfAgentQuerySet):
    """Cases by split and state."""

    def active(self) -> Self:
        return self.filter(status="active")

    def drafts(self) -> Self:
        return self.filter(status="draft")

    def in_split(self, *, split: str) -> Self:
        """The split is named at every call, so that no default can leak the hold-out."""
        return self.filter(split=split)

    def simulated(self) -> Self:
        """Return the cases whose user is simulated."""
        return self.filter(conversation__kind="simulated")


class MatrixQuerySet(OfAgentQuerySet):
    """Matrices of versions and models."""


class RunQuerySet(OfAgentQuerySet):
    """Runs by where they stand."""

    def played_here(self) -> Self:
        """Leave out runs whose results are posted."""
        return self.exclude(runner="external")

    def unfinished(self) -> Self:
        return self.filter(status__in=("queued", "running", "stopped"))

    def playable(self) -> Self:
        return self.filter(status__in=("queued", "running"))

    def judged(self) -> Self:
        return self.filter(status="judged")

    def with_num_done(self) -> Self:
        """Annotate each with the number of its results."""
        return self.annotate(num_done=Count("results"))


class DecisionsOnRunQuerySet(OfAgentQuerySet):
    """What people decided about a run: visible with it."""


class FactsOfRunQuerySet(PlainOfAgentQuerySet):
    """Results and frozen cases: visible with their run."""


class SimulationCalibrationQuerySet(PlainOfAgentQuerySet):
    """Calibrations of simulated users: visible with their benchmark."""

    def newest(self) -> Self:
        """Return the newest of each manner, which is the one that holds."""
        return self.order_by("benchmark_id", "manner_digest", "-id").distinct("benchmark_id", "manner_digest")


class JudgedQuerySet(PlainOfAgentQuerySet):
    """Grades of results and episodes by judges and people: visible with their rubric."""

    def on_results(self) -> Self:
        return self.filter(result__isnull=False)

    def with_items(self) -> Self:
        """Load what a page or a judge needs of each item."""
        return self.select_related(
            "rubric__agent", "result__run_case__case__benchmark__agent", "result__run__proposal",
            "episode__conversation",
        )  # fmt: skip


class DraftRoundQuerySet(PlainOfAgentQuerySet):
    """Rounds of drafting: the one that is under way."""

    def unfinished(self) -> Self:
        return self.filter(finished_at__isnull=True)
