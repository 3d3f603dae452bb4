"""Questions about many calls to models."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Q, Sum
from django.utils import timezone

from accounts.acting import Actor
from accounts.models import Membership
from accounts.roles import Permission

if TYPE_CHECKING:
    from inference.models import LedgerEntry  # noqa: F401  # named inside the brackets of the queryset's base

__all__ = ["LedgerQuerySet", "budget_day"]


def budget_day(now: datetime | None = None) -> tuple[datetime, datetime]:
    """Return the first instant of the day a budget counts and the first of the next one: days of UTC."""
    start = (now or timezone.now()).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return start, start + timedelta(days=1)


class LedgerQuerySet(models.QuerySet["LedgerEntry"]):
    def visible_to(self, actor: Actor) -> Self:
        """Return the calls made for agents `actor` may see; those for no agent need the permission to manage agents."""
        if actor.is_machine:
            return self
        if actor.agent_id is not None:
            return self.filter(agent_id=actor.agent_id)
        memberships = Membership.objects.of(actor)
        whole_teams = memberships.filter(agent_id__isnull=True).values("team_id")
        single_agents = memberships.filter(agent_id__isnull=False).values("agent_id")
        seen = Q(team_id__in=whole_teams) | Q(agent_id__in=single_agents)
        if memberships.granting(Permission.MANAGE_AGENT).exists():
            seen |= Q(team_id__isnull=True, agent_id__isnull=True)
        return self.filter(seen)

    def today(self, now: datetime | None = None) -> Self:
        start, end = budget_day(now)
        return self.filter(at__gte=start, at__lt=end)

    def cost_usd(self) -> Decimal:
        """Return what these calls cost together."""
        return self.aggregate(total=Sum("cost_usd"))["total"] or Decimal(0)

    def spent_today(self, now: datetime | None = None) -> Decimal:
        """Return what the day's calls of the whole installation have cost so far; one index range."""
        return self.today(now).cost_usd()
