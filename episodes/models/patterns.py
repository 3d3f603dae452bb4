"""Recurring failures and their lives."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from pgvector.django import VectorField

from accounts.access import Scope
from accounts.acting import Actor
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.roles import Permission
from audit.transitions import Edge, Stateful
from episodes.models.judgments import Critique, Layer
from episodes.models.understanding import Intent
from episodes.querysets import OfPatternQuerySet, PatternQuerySet
from harness.models import Agent

__all__ = ["Pattern", "PatternMember"]


class Pattern(Stateful):
    """A failure that recurs: one layer, one want, one meaning."""

    class Status(models.TextChoices):
        NEW = "new", "New"
        ESCALATING = "escalating", "Escalating"
        ADDRESSED = "addressed", "Addressed"
        RESOLVED = "resolved", "Resolved"
        REGRESSED = "regressed", "Regressed"
        IGNORED = "ignored", "Ignored"

    EDGES: ClassVar[tuple[Edge, ...]] = (
        Edge("escalate", frozenset({Status.NEW}), Status.ESCALATING, None, "Escalate", by_machine=True, needs_reason=False),
        Edge(
            "address",
            frozenset({Status.NEW, Status.ESCALATING, Status.REGRESSED}),
            Status.ADDRESSED, None, "Address", by_machine=True,
        ),
        Edge("resolve", frozenset({Status.ADDRESSED}), Status.RESOLVED, None, "Resolve", by_machine=True),
        Edge("fail_fix", frozenset({Status.ADDRESSED}), Status.ESCALATING, None, "Report the fix failed for", by_machine=True),
        Edge("regress", frozenset({Status.RESOLVED}), Status.REGRESSED, None, "Report the return of", by_machine=True),
        Edge(
            "ignore",
            frozenset({Status.NEW, Status.ESCALATING, Status.ADDRESSED, Status.RESOLVED, Status.REGRESSED}),
            Status.IGNORED, Permission.TRIAGE_PATTERN, "Ignore",
        ),
        Edge("reopen", frozenset({Status.IGNORED}), Status.NEW, Permission.TRIAGE_PATTERN, "Reopen"),
    )  # fmt: skip

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="patterns")
    layer = models.CharField(max_length=12, choices=Layer.choices)
    kind = models.CharField(max_length=40, help_text="The signal or circumstance its critiques share.")
    intent = models.ForeignKey(Intent, on_delete=models.PROTECT, null=True, related_name="patterns")
    title = models.CharField(max_length=240)
    centroid = VectorField(dimensions=384, null=True, editable=False)
    embedding_model = models.CharField(max_length=60, blank=True, editable=False)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.NEW, editable=False)
    num_episodes = models.PositiveIntegerField(default=0, editable=False)
    num_subjects = models.PositiveIntegerField(default=0, editable=False)
    first_seen_at = models.DateTimeField(editable=False)
    last_seen_at = models.DateTimeField(editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = PatternQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["centroid", "num_episodes", "num_subjects", "last_seen_at"])

    class Meta:
        ordering = ("-num_subjects", "-id")
        indexes = (models.Index(fields=("agent", "layer", "kind"), name="pattern_place"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(last_seen_at__gte=models.F("first_seen_at")), name="pattern_seen_in_order"
            ),
        )

    def __str__(self) -> str:
        return self.title

    def access_scope(self) -> Scope:
        return self.agent.access_scope()

    def escalate(self, *, by: Actor, reason: str = "") -> None:
        self._move("escalate", by=by, reason=reason)

    def address(self, *, by: Actor, reason: str) -> None:
        """A release that fixes this went out."""
        self._move("address", by=by, reason=reason)

    def resolve(self, *, by: Actor, reason: str) -> None:
        """The aftermath verified the fix."""
        self._move("resolve", by=by, reason=reason)

    def fail_fix(self, *, by: Actor, reason: str) -> None:
        """The aftermath did not find an improvement, or the release was rolled back."""
        self._move("fail_fix", by=by, reason=reason)

    def regress(self, *, by: Actor, reason: str) -> None:
        self._move("regress", by=by, reason=reason)

    def ignore(self, *, by: Actor, reason: str) -> None:
        self._move("ignore", by=by, reason=reason)

    def reopen(self, *, by: Actor, reason: str) -> None:
        self._move("reopen", by=by, reason=reason)


class PatternMember(models.Model):
    """That a critique belongs to a pattern. Append-only."""

    AGENT_PATH: ClassVar[str] = "pattern__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    pattern = models.ForeignKey(Pattern, on_delete=models.PROTECT, related_name="members")
    critique = models.OneToOneField(Critique, on_delete=models.PROTECT, related_name="membership")
    similarity = models.FloatField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = OfPatternQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.critique} in {self.pattern}"
