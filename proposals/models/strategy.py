"""Ways of writing proposals, and how they fared."""

from django.db import models, transaction

from accounts.access import Scope, can
from accounts.acting import Actor, acting
from accounts.exceptions import NotPermittedError
from accounts.history import GovernedHistory, GovernedQuerySet
from accounts.ids import uuid7
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError, TransitionRefusedError
from audit.record import record
from harness.models import Agent

__all__ = ["Strategy"]


class StrategyQuerySet(GovernedQuerySet["Strategy"]):
    def visible_to(self, actor: Actor) -> "StrategyQuerySet":
        """Strategies belong to the platform: every signed-in actor sees them."""
        return self.none() if actor.kind == "nobody" else self


class Strategy(models.Model):
    """One way of writing proposals; its module carries the same slug. Its record is counted from its proposals."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    layer = models.CharField(max_length=12)
    description = models.TextField()
    is_enabled = models.BooleanField(default=True)

    objects = StrategyQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("slug",)
        verbose_name_plural = "strategies"

    def __str__(self) -> str:
        return self.name

    def is_switched_by(self, actor: Actor) -> bool:
        """Return whether `actor` may switch it: it drafts for every team, so every team that has agents must let them."""
        teams = Agent.objects.values_list("team_id", flat=True).distinct().order_by()
        return bool(teams) and all(can(actor, Permission.MANAGE_AGENT, Scope(team_id)) for team_id in teams)

    def enable(self, *, by: Actor, reason: str) -> None:
        """Let it draft again."""
        self._switch(by, reason, "enable", is_enabled=True)

    def disable(self, *, by: Actor, reason: str) -> None:
        """Stop it from drafting; what it has written goes its way."""
        self._switch(by, reason, "disable", is_enabled=False)

    def _switch(self, by: Actor, reason: str, verb: str, *, is_enabled: bool) -> None:
        if not self.is_switched_by(by):
            raise NotPermittedError(
                f"{by.name} may not {verb} {self}: it drafts for every team, so this needs the permission "
                f"{Permission.MANAGE_AGENT.value!r} in every team that has agents."
            )
        if not reason.strip():
            raise ReasonMissingError(f"Say why you {verb} {self}: the record needs it.")
        with transaction.atomic(), acting(by, reason=reason):
            self.refresh_from_db(from_queryset=Strategy.objects.locked())
            if self.is_enabled is is_enabled:
                raise TransitionRefusedError(f"Cannot {verb} {self}: it is {verb}d already.")
            self.is_enabled = is_enabled
            self.save(update_fields=["is_enabled"])
            record(f"strategy.{verb}", self)
