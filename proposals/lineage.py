"""Who descends from whom among proposals: retries, and changes for one pattern, are one family of attempts."""

from uuid import UUID

from django.db.models import Q

from episodes.models import Pattern
from proposals.models import Proposal

__all__ = ["MAX_RETRIES", "family", "last_attempt", "num_retries"]

MAX_RETRIES = 3


def family(proposal: Proposal) -> set[UUID]:
    """Return the ids of all attempts at the same thing: along retries in both directions, and over shared patterns."""
    found: set[UUID] = set()
    new = {proposal.pk}
    while new:
        found |= new
        members = Proposal.objects.filter(pk__in=new)
        near = Q(pk__in=members.values("retry_of")) | Q(retry_of__in=new)
        near |= Q(pattern__in=members.filter(pattern__isnull=False).values("pattern"))
        new = set(Proposal.objects.filter(near).values_list("pk", flat=True)) - found
    return found


def last_attempt(pattern: Pattern) -> Proposal | None:
    """Return the newest attempt at the pattern that did not help."""
    return Proposal.objects.on_pattern(pattern.pk).unhelpful().order_by("-pk").first()


def num_retries(proposal: Proposal) -> int:
    """Return the number of this retry among its family's submitted ones; 0 where it is a first attempt."""
    if proposal.retry_of_id is None:
        return 0
    earlier = Proposal.objects.filter(pk__in=family(proposal), pk__lt=proposal.pk, submitted_at__isnull=False)
    return 1 + int(earlier.filter(retry_of__isnull=False).count())
