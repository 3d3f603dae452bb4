"""Named questions about benchmarks, cases, runs and results."""

from typing import Self

from harness.querysets import OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = ["BenchmarkQuerySet", "CaseQuerySet", "DecisionsOnRunQuerySet", "FactsOfRunQuerySet", "RunQuerySet"]


class BenchmarkQuerySet(OfAgentQuerySet):
    """Benchmarks in use."""

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


class DecisionsOnRunQuerySet(OfAgentQuerySet):
    """What people decided about a run: visible with it."""


class FactsOfRunQuerySet(PlainOfAgentQuerySet):
    """Results and frozen cases: visible with their run."""
