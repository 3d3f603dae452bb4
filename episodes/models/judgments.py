"""What people, systems and rules said of episodes: outcomes, flags, corrections, critiques."""

from typing import ClassVar

from django.db import models, transaction
from django.db.models.functions import Now

from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from audit.record import record
from episodes.models.records import Conversation, Episode
from episodes.models.understanding import Intent
from episodes.querysets import CorrectionQuerySet, CritiqueQuerySet, GovernedOfEpisodeQuerySet, OutcomeQuerySet
from harness.models import Agent

__all__ = ["CorrectedEpisode", "Correction", "Critique", "Flag", "Layer", "Outcome"]


class Layer(models.TextChoices):
    """The top-level keys of the document."""

    PROMPT = "prompt", "Prompt"
    TOOLS = "tools", "Tools"
    WORKFLOW = "workflow", "Workflow"
    CONTEXT = "context", "Context"
    MEMORY = "memory", "Memory"
    GUARDRAILS = "guardrails", "Guardrails"
    EVALS = "evals", "Evals"
    MODEL = "model", "Model"


class Outcome(models.Model):
    """One statement of how a conversation ended, or of a business result that came later. Append-only."""

    class Source(models.TextChoices):
        """Truth order, strongest first."""

        CUSTOMER = "customer", "The customer's system"
        STAFF = "staff", "Staff"
        DETECTOR = "detector", "A detector"
        AGENT = "agent", "The agent itself"

    AGENT_PATH: ClassVar[str] = "conversation__agent"
    TRUTH_ORDER: ClassVar[tuple[str, ...]] = ("customer", "staff", "detector", "agent")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    conversation = models.ForeignKey(Conversation, on_delete=models.PROTECT, related_name="outcomes")
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, null=True, related_name="outcomes")
    name = models.CharField(max_length=60)
    value = models.FloatField(default=1.0)
    source = models.CharField(max_length=10, choices=Source.choices)
    reason = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now())
    recorded_by = models.CharField(max_length=200)

    objects = OutcomeQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("conversation", "recorded_at"), name="outcome_of_conversation"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.source})"


class Flag(models.Model):
    """A person's mark on an episode."""

    class Reason(models.TextChoices):
        WRONG = "wrong", "Wrong"
        UNHELPFUL = "unhelpful", "Unhelpful though correct"
        UNSAFE = "unsafe", "Unsafe"
        TONE = "tone", "Tone"
        SLOW = "slow", "Slow"
        SHOULD_ESCALATE = "should_escalate", "Should have been escalated"

    AGENT_PATH: ClassVar[str] = "episode__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="flags")
    reason = models.CharField(max_length=20, choices=Reason.choices)
    note = models.TextField(blank=True)
    flagged_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+", editable=False)
    flagged_by_name = models.CharField(max_length=200, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = GovernedOfEpisodeQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.get_reason_display()}: {self.episode}"


class Correction(models.Model):
    """What should have happened. One correction may cover many episodes."""

    AGENT_PATH: ClassVar[str] = "agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="corrections")
    intent = models.ForeignKey(Intent, on_delete=models.PROTECT, null=True, blank=True, related_name="corrections")
    title = models.CharField(max_length=200, blank=True)
    answer = models.TextField(blank=True, help_text="The answer the user should have had.")
    tool = models.CharField(max_length=120, blank=True, help_text="The tool that should have been called.")
    arguments = models.JSONField(default=dict, blank=True, help_text="Its right arguments.")
    should_escalate = models.BooleanField(default=False)
    corrected_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+", editable=False)
    corrected_by_name = models.CharField(max_length=200, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    episodes = models.ManyToManyField(Episode, through="CorrectedEpisode", related_name="corrections")

    objects = CorrectionQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.title or self.answer[:60] or f"{self.tool}({self.arguments})"


class CorrectedEpisode(models.Model):
    """That a correction covers an episode, and with which arguments of its own where a tool was meant."""

    AGENT_PATH: ClassVar[str] = "episode__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    correction = models.ForeignKey(Correction, on_delete=models.PROTECT, related_name="coverage")
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="coverage")
    arguments = models.JSONField(default=dict, blank=True)

    objects = GovernedOfEpisodeQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("correction", "episode"), name="corrected_once"),)

    def __str__(self) -> str:
        return f"{self.correction} covers {self.episode}"


class Critique(models.Model):
    """What went wrong (or right), why, what would have prevented it, and in which layer."""

    class Source(models.TextChoices):
        RULES = "rules", "Rules"
        MODEL = "model", "Model"
        PERSON = "person", "Person"

    AGENT_PATH: ClassVar[str] = "episode__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="critiques")
    source = models.CharField(max_length=8, choices=Source.choices)
    is_failure = models.BooleanField()
    what = models.TextField()
    why = models.TextField(blank=True)
    prevention = models.TextField(blank=True)
    counterfactual = models.TextField(blank=True)
    layer = models.CharField(max_length=12, choices=Layer.choices)
    evidence = models.JSONField(default=list, help_text="Signals and spans this critique rests on.")
    audited_at_random = models.BooleanField(default=False)
    attributed_layer = models.CharField(max_length=12, choices=Layer.choices, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CritiqueQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("episode", "source"), name="critique_once_per_source"),)

    def __str__(self) -> str:
        return self.what[:80]

    def attribute(self, layer: str, *, by: Actor, reason: str) -> None:
        """Write down the layer that replay with one layer changed found responsible; the critique's own stays."""
        if layer not in Layer.values:
            raise DomainError(f"Cannot attribute a critique to {layer!r}: the layers are {', '.join(Layer.values)}.")
        with transaction.atomic(), acting(by, reason=reason):
            self.attributed_layer = layer
            self.save(update_fields=["attributed_layer"])
            team_id = self.episode.agent.team_id
            record("critique.attribute", self, team_id=team_id, facts={"layer": layer, "by_rules": self.layer})
