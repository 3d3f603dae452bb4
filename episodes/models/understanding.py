"""Signals and intents: what was detected, and what was wanted."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from pgvector.django import VectorField

from accounts.history import GovernedHistory
from accounts.ids import uuid7
from episodes.models.records import Episode
from episodes.querysets import IntentQuerySet, OfEpisodeQuerySet
from harness.models import Agent

__all__ = ["Intent", "Signal"]


class Signal(models.Model):
    """A machine-detected behavioral fact with its evidence span. Append-only."""

    class Kind(models.TextChoices):
        TOOL_ERROR = "tool_error", "Tool error"
        LOOP = "loop", "Loop"
        HANDOFF = "handoff", "Hand-off"
        ABANDONMENT = "abandonment", "Abandonment"
        REPHRASE = "rephrase", "Rephrase"

    AGENT_PATH: ClassVar[str] = "episode__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="signals")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    layer = models.CharField(max_length=12, help_text="The layer this fact points to before anything else is known.")
    evidence = models.JSONField(default=dict, help_text="Step positions and quoted text.")
    detector = models.CharField(max_length=60)
    created_at = models.DateTimeField(db_default=Now())

    objects = OfEpisodeQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("episode", "kind"), name="signal_once_per_kind"),)

    def __str__(self) -> str:
        return f"{self.get_kind_display()} in {self.episode}"


class Intent(models.Model):
    """A node of the agent's taxonomy of wants. Its identity survives refreshes; only its center moves."""

    class State(models.TextChoices):
        EMERGING = "emerging", "Emerging"
        LIVE = "live", "Live"
        RETIRED = "retired", "Retired"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="intents")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    level = models.PositiveSmallIntegerField(default=3, help_text="1 is broadest, 3 a single want.")
    slug = models.SlugField(max_length=80)
    name = models.CharField(max_length=160)
    definition = models.TextField(blank=True, help_text="One sentence: what such a user wants.")
    examples = models.JSONField(default=list, blank=True, help_text="Three or more ways of saying it.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.EMERGING, editable=False)
    is_auto_named = models.BooleanField(default=False, editable=False)
    centroid = VectorField(dimensions=384, null=True, editable=False)
    embedding_model = models.CharField(max_length=60, blank=True, editable=False)
    num_conversations = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = IntentQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["centroid", "num_conversations"])

    class Meta:
        ordering = ("agent", "slug")
        constraints = (models.UniqueConstraint(fields=("agent", "slug"), name="intent_slug_once"),)

    def __str__(self) -> str:
        return self.name
