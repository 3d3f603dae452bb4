"""Named questions about many proposals."""

from typing import Self

from django.db.models import Q

from harness.querysets import OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = ["GovernedOfProposalQuerySet", "OfProposalQuerySet", "ProposalQuerySet"]

_BEFORE_RELEASE = ("draft", "submitted", "validating", "held", "validated", "approved")


class ProposalQuerySet(OfAgentQuerySet):
    """Proposals by where they stand."""

    def pending(self) -> Self:
        return self.filter(status__in=_BEFORE_RELEASE)

    def awaiting_validation(self) -> Self:
        return self.filter(status="submitted").order_by("submitted_at", "id")

    def validating(self) -> Self:
        return self.filter(status="validating")

    def awaiting_review(self) -> Self:
        return self.filter(status="validated")

    def unhelpful(self) -> Self:
        """Attempts that did not help; a judged one was an attempt however it was put away afterwards."""
        put_away = Q(status__in=("declined", "withdrawn", "stale", "superseded"), judged_at__isnull=False)
        return self.filter(Q(status__in=("failed", "not_fixed", "rolled_back")) | put_away)

    def on_pattern(self, pattern_id: object) -> Self:
        return self.filter(pattern_id=pattern_id)


class GovernedOfProposalQuerySet(OfAgentQuerySet):
    """Reviews: visible with their proposal."""


class OfProposalQuerySet(PlainOfAgentQuerySet):
    """Evidence and authors: visible with their proposal."""
