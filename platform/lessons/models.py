"""Something worth keeping across tasks and agents."""

from typing import Any, Self

from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from pgvector.django import CosineDistance, VectorField

from accounts.acting import Actor, acting
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from audit.record import record
from harness.models import Agent
from harness.querysets import OfAgentQuerySet

__all__ = ["Lesson"]


class LessonQuerySet(OfAgentQuerySet):
    def confirmed(self) -> Self:
        return self.filter(state="confirmed")

    def nearest(self, vector: Any, *, agent: Agent, model: str) -> Self:
        """Order an agent's lessons of one embedding model by meaning, nearest first."""
        return (
            self.filter(agent=agent, embedding_model=model, embedding__isnull=False)
            .annotate(distance=CosineDistance("embedding", vector))
            .order_by("distance")
        )


class Lesson(models.Model):
    """One sentence that was learned, with where it comes from and how often it helped or harmed."""

    class State(models.TextChoices):
        QUARANTINED = "quarantined", "Quarantined"
        CONFIRMED = "confirmed", "Confirmed"
        RETIRED = "retired", "Retired"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="lessons")
    text = models.TextField()
    source_ref = models.CharField(max_length=120, help_text="The row it was learned from, as the record names it.")
    layer = models.CharField(max_length=12, blank=True)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUARANTINED)
    helpful = models.PositiveIntegerField(default=0)
    harmful = models.PositiveIntegerField(default=0)
    embedding = VectorField(dimensions=384, null=True, editable=False)
    embedding_model = models.CharField(max_length=60, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = LessonQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["embedding"])

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("agent", "source_ref"), condition=~Q(source_ref=""), name="lesson_once_per_source"
            ),
        )

    def __str__(self) -> str:
        return self.text[:80]

    @classmethod
    def record(
        cls, *, agent: Agent, text: str, source_ref: str, layer: str, state: str, by: Actor,
        embedding: Any = None, embedding_model: str = "",
    ) -> "Lesson":  # fmt: skip
        """Keep a lesson once per source; recording it again returns the first."""
        existing = cls.objects.filter(agent=agent, source_ref=source_ref).exclude(source_ref="").first()
        if existing:
            return existing  # type: ignore[no-any-return]  # the queryset is generic over Any
        with transaction.atomic(), acting(by, reason=f"learned from {source_ref}" if source_ref else "posted"):
            lesson = cls(
                agent=agent, text=text, source_ref=source_ref, layer=layer, state=state,
                embedding=embedding, embedding_model=embedding_model,
            )  # fmt: skip
            lesson.save(force_insert=True)
            record("lesson.record", lesson, team_id=agent.team_id, facts={"source": source_ref, "state": state})
        return lesson
