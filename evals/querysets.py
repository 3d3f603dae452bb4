"""Named questions about benchmarks, cases, runs and results."""

from typing import Self

from django.db.models import Count, Q

from harness.querysets import OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = ["PLACES", "BenchmarkQuerySet", "CaseQuerySet", "DecisionsOnRunQuerySet", "FactsOfRunQuerySet", "RunQuerySet"]


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

    def in_split(self, *, split: str) -> Self:
        """The split is named at every call, so that no default can leak the hold-out."""
        return self.filter(split=split)


class RunQuerySet(OfAgentQuerySet):
    """Runs by where they stand."""

    def unfinished(self) -> Self:
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
