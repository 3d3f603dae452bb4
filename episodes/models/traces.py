"""What OpenTelemetry exporters sent, as it came, and which traces are still to be made into episodes."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from accounts.ids import uuid7
from episodes.querysets import TraceQuerySet
from harness.models import Agent
from harness.querysets import PlainOfAgentQuerySet

__all__ = ["Trace", "TraceFragment"]


class Trace(models.Model):
    """One trace of an agent: when its records came, and when it is due to be made into episodes."""

    AGENT_PATH: ClassVar[str] = "agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="traces", db_index=False)
    trace_id = models.CharField(max_length=32)
    has_root = models.BooleanField(help_text="Whether a span without parent came, so that only stragglers are missing.")
    num_fragments = models.PositiveIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, help_text="When it is made into episodes; empty when nothing is new.")
    error = models.CharField(max_length=500, blank=True, help_text="Why its newest records are in no episode.")
    refused_at = models.DateTimeField(null=True, help_text="When that was said.")

    objects = TraceQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("agent", "trace_id"), name="trace_once"),)
        indexes = (
            models.Index(fields=("due_at",), condition=models.Q(due_at__isnull=False), name="trace_due"),
            models.Index(fields=("refused_at",), condition=models.Q(refused_at__isnull=False), name="trace_refused"),
        )

    def __str__(self) -> str:
        return self.trace_id


class TraceFragment(models.Model):
    """The spans and log records of one trace that one request brought, with all their attributes. Append-only."""

    AGENT_PATH: ClassVar[str] = "agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+", db_index=False)
    trace_id = models.CharField(max_length=32)
    body = models.BinaryField(help_text="episodes.otlp.spans.dump_fragment")
    received_at = models.DateTimeField(db_default=Now())

    objects = PlainOfAgentQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("agent", "trace_id"), name="fragment_of_trace"),)

    def __str__(self) -> str:
        return f"part of {self.trace_id}"
