"""Conversations and episodes with their steps: the facts agents report."""

from typing import Any

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from pgvector.django import HnswIndex, VectorField

from accounts.ids import uuid7
from episodes.content import CONTENT
from episodes.detectors.readings import StepReading
from episodes.querysets import ConversationQuerySet, EpisodeQuerySet, RefValues
from episodes.turns import turns_of
from harness.models import Agent

__all__ = ["Conversation", "Episode", "Split"]


class Split(models.TextChoices):
    """Who may read a conversation: drafters read `dev` and nothing else."""

    DEV = "dev", "Development"
    VERIFY = "verify", "Verification"
    HOLDOUT = "holdout", "Hold-out"


class Conversation(models.Model):
    """Episodes of one user that belong together. Resolution, frustration and the split are the conversation's."""

    class Resolution(models.TextChoices):
        OPEN = "open", "Open"
        RESOLVED = "resolved", "Resolved"
        FAILED = "failed", "Failed"
        ABANDONED = "abandoned", "Abandoned"
        ESCALATED = "escalated", "Escalated"
        BLOCKED = "blocked", "Blocked"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Composite indexes below begin with the same column: one of its own would only cost every insert.
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="conversations", db_index=False)
    external_id = models.CharField(max_length=200)
    subject = models.CharField(max_length=200, blank=True, help_text="The agent's end user; an opaque id.")
    split = models.CharField(max_length=8, choices=Split.choices)
    near_duplicate_of = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="near_duplicates")
    attributes = models.JSONField(default=dict)

    started_at = models.DateTimeField()
    last_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    # Derived from outcomes by truth order; rebuildable, never read from the agent's own word by gate, guard or meter.
    resolution = models.CharField(max_length=10, choices=Resolution.choices, default=Resolution.OPEN)
    resolution_source = models.CharField(max_length=10, blank=True)
    intent = models.ForeignKey("episodes.Intent", on_delete=models.PROTECT, null=True, related_name="conversations")
    opening = models.TextField(blank=True, help_text="The first words of the user: what intents are found from.")
    embedding = VectorField(dimensions=384, null=True)
    embedding_model = models.CharField(max_length=60, blank=True)

    objects = ConversationQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("agent", "external_id"), name="conversation_once"),)
        indexes = (
            models.Index(
                fields=("agent", "last_at"), condition=Q(settled_at__isnull=True), name="conversation_unsettled"
            ),
            models.Index(fields=("agent", "subject"), name="conversation_subject"),
            models.Index(fields=("agent", "-last_at"), name="conversation_newest"),
            models.Index(fields=("resolution", "id"), condition=~Q(resolution="open"), name="conversation_ended"),
            HnswIndex(name="conversation_meaning", fields=("embedding",), opclasses=("vector_cosine_ops",)),
        )

    def __str__(self) -> str:
        return self.external_id

    @property
    def is_failure(self) -> bool:
        return self.resolution in FAILURES


FAILURES = frozenset({"failed", "abandoned", "escalated", "blocked"})


class Episode(models.Model):
    """One agent run, the smallest useful record."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="episodes", db_index=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.PROTECT, related_name="episodes", db_index=False)
    external_id = models.CharField(max_length=200)

    input = models.JSONField(default=dict)
    output = models.JSONField(default=dict)
    # Always read with their episode, so kept with it: one row to write instead of many.
    steps = models.JSONField(default=list, help_text="What happened inside, in order; see StepReading.")
    workflow = models.CharField(max_length=120, blank=True)
    sources = models.JSONField(default=list)
    usage = models.JSONField(default=dict)
    external_refs = models.JSONField(default=dict)
    attributes = models.JSONField(default=dict)

    harness_digest = models.CharField(max_length=64, blank=True)
    release_ref = models.UUIDField(null=True)
    arm = models.CharField(max_length=10, blank=True)
    weight = models.FloatField(null=True)

    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    captured_at = models.DateTimeField(db_default=Now())
    understood_at = models.DateTimeField(null=True)
    analysis_failed_at = models.DateTimeField(null=True)
    analysis_error = models.TextField(blank=True, db_default="", help_text="Why it could not be analyzed.")
    committed_at = models.DateTimeField(null=True, help_text="When its digest entered the record.")
    body_digest = models.CharField(max_length=64)

    objects = EpisodeQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("agent", "external_id"), name="episode_once"),
            models.CheckConstraint(
                condition=Q(analysis_failed_at__isnull=True, analysis_error="")
                | Q(analysis_failed_at__isnull=False, understood_at__isnull=True) & ~Q(analysis_error=""),
                name="episode_failed_with_reason",
            ),
        )
        indexes = (
            models.Index(
                fields=("agent", "id"),
                condition=Q(understood_at__isnull=True, analysis_failed_at__isnull=True),
                name="episode_waiting",
            ),
            models.Index(
                fields=("agent", "id"), condition=Q(analysis_failed_at__isnull=False), name="episode_not_analyzed"
            ),
            # It carries the agent, so that counting what is not committed reads no row.
            models.Index(
                fields=("id",), include=("agent",), condition=Q(committed_at__isnull=True), name="episode_uncommitted"
            ),
            models.Index(fields=("agent", "id"), name="episode_of_agent"),
            models.Index(fields=("arm", "id"), condition=~Q(arm=""), name="episode_of_arm"),
            models.Index(fields=("harness_digest", "id"), condition=~Q(harness_digest=""), name="episode_of_version"),
            GinIndex(
                OpClass(RefValues("external_refs"), name="jsonb_path_ops"),
                condition=~Q(external_refs={}),
                name="episode_refs",
            ),
            models.Index(fields=("conversation", "started_at"), name="episode_of_conversation"),
            models.Index(fields=("agent", "-started_at"), name="episode_newest"),
            models.Index(
                fields=("release_ref", "started_at"), condition=Q(release_ref__isnull=False), name="episode_release"
            ),
        )

    def __str__(self) -> str:
        return self.external_id

    def content(self) -> dict[str, Any]:
        """Return what the digest names; the conversation must be loaded."""
        own = {name: getattr(self, name) for name in CONTENT if name != "conversation"}
        return own | {"conversation": self.conversation.external_id}

    def step_readings(self) -> list[StepReading]:
        """Return the steps in order, counted from 1."""
        return [StepReading.from_stored(position, step) for position, step in enumerate(self.steps, start=1)]

    def user_texts(self) -> list[str]:
        """Return what the user said up to this run, oldest first."""
        messages = self.input.get("messages") if isinstance(self.input, dict) else None
        return [turn.text for turn in turns_of(messages) if turn.role == "user"]

    @property
    def first_user_text(self) -> str:
        """Return the words the user came with; empty when there are none."""
        return next(iter(self.user_texts()), "")

    @property
    def last_user_text(self) -> str:
        """Return the last words of the user in this run's input; empty when there are none."""
        return next(reversed(self.user_texts()), "")

    @property
    def output_text(self) -> str:
        return str(self.output.get("text", "")) if isinstance(self.output, dict) else str(self.output)
