"""Ways of writing proposals, and how they fared."""

from django.db import models

from accounts.acting import Actor
from accounts.history import GovernedHistory, GovernedQuerySet
from accounts.ids import uuid7

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
