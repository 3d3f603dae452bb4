"""Rounds of drafting: somebody asked for cases of captured episodes, and this is how far it is."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.ids import uuid7
from accounts.models import User
from episodes.models import Intent
from evals.models.benchmark import Benchmark
from evals.querysets import DraftRoundQuerySet

__all__ = ["DraftRound"]


class DraftRound(models.Model):
    """One round of proposing draft cases. Its row tells how far the reading is, and then what came of it.

    A benchmark has one unfinished round at most, so asking twice asks once.
    """

    AGENT_PATH: ClassVar[str] = "benchmark__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="draft_rounds")
    intent = models.ForeignKey(Intent, on_delete=models.PROTECT, null=True, related_name="+")
    is_of_no_intent = models.BooleanField(default=False, help_text="It fills the gap of traffic that no intent takes.")
    number = models.PositiveIntegerField(help_text="How many cases the benchmark should have, or the gap should get.")
    asked_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    asked_by_name = models.CharField(max_length=200)
    asked_at = models.DateTimeField(db_default=Now())
    num_planned = models.PositiveIntegerField(default=0, help_text="Intents to read.")
    num_done = models.PositiveIntegerField(default=0, help_text="Intents read.")
    num_drafted = models.PositiveIntegerField(default=0)
    drafted = models.JSONField(default=dict, help_text="How many of each split and kind.")
    sentence = models.TextField(blank=True, help_text="What came of it.")
    moved_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = DraftRoundQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("benchmark",), condition=Q(finished_at__isnull=True), name="one_unfinished_draft_round"
            ),
        )

    def __str__(self) -> str:
        return f"Drafts for {self.benchmark}"

    @property
    def percent(self) -> int:
        if self.finished_at is not None:
            return 100
        return round(100 * self.num_done / self.num_planned) if self.num_planned else 0

    def advance(self, *, num_done: int, num_planned: int) -> None:
        """Say how far the reading is."""
        self._set(num_done=num_done, num_planned=num_planned, moved_at=Now())

    def finish(self, sentence: str, *, num_drafted: int = 0, drafted: dict[str, Any] | None = None) -> None:
        """Close the round, saying what came of it."""
        self._set(
            sentence=sentence, num_drafted=num_drafted, drafted=drafted or {}, moved_at=Now(), finished_at=Now(),
            num_done=models.F("num_planned"),
        )  # fmt: skip

    def _set(self, **values: Any) -> None:
        # A round that another worker finished meanwhile stays as it is.
        type(self).objects.filter(pk=self.pk, finished_at__isnull=True).update(**values)
        self.refresh_from_db()
