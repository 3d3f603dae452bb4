"""Named questions about releases and what they served."""

from typing import Self

from harness.querysets import OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = ["FactsOfReleaseQuerySet", "GovernedOfReleaseQuerySet", "ReleaseQuerySet", "UserStateQuerySet"]

LIVE = ("running", "paused", "promoting", "inconclusive")


class ReleaseQuerySet(OfAgentQuerySet):
    """Releases by where they stand."""

    def live(self) -> Self:
        """Return the releases whose weight still decides what users get."""
        return self.filter(status__in=LIVE)

    def watched(self) -> Self:
        """Return live releases and promoted ones whose aftermath is open."""
        return self.filter(status__in=(*LIVE, "promoted"), aftermath_closed_at__isnull=True)

    def in_motion(self) -> Self:
        """Return the releases the machine still has something to do for: watched ones and unfinished rollbacks."""
        return self.watched() | self.filter(status="rolling_back")

    def in_aftermath(self) -> Self:
        return self.filter(status="promoted", aftermath_closed_at__isnull=True)


class GovernedOfReleaseQuerySet(OfAgentQuerySet):
    """Approvals: visible with their release."""


class FactsOfReleaseQuerySet(PlainOfAgentQuerySet):
    """Exposures and ticks: visible with their release."""


class UserStateQuerySet(OfAgentQuerySet):
    """Each user's own layer."""
