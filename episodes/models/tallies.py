"""How many episodes were captured, and what became of them: counted by the clock, read by pages and probes."""

from typing import ClassVar

from django.db import models

from harness.models import Agent
from harness.querysets import PlainOfAgentQuerySet

__all__ = ["CaptureTally"]


class CaptureTally(models.Model):
    """The account of one agent's episodes.

    `recorded` grows in the transaction that enters captured episodes into the record, whatever happens to their rows;
    `signals_until` moves on as episodes are read for signals; all else is the result of the last count, taken at
    `counted_at` from the rows that are there.
    """

    AGENT_PATH: ClassVar[str] = "agent"

    agent = models.OneToOneField(Agent, on_delete=models.PROTECT, primary_key=True, related_name="tally")
    recorded = models.PositiveBigIntegerField(default=0)
    signals_until = models.UUIDField(null=True, help_text="Episodes up to this id were read for signals.")

    counted_at = models.DateTimeField(null=True)
    captured = models.PositiveBigIntegerField(default=0)
    analyzed = models.PositiveBigIntegerField(default=0)
    pending = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    lag_p95_s = models.FloatField(
        null=True, help_text="Of the newest 1,000; one that waits counts with its age so far."
    )

    objects = PlainOfAgentQuerySet.as_manager()

    class Meta:
        ordering = ("agent",)

    def __str__(self) -> str:
        return f"{self.captured} episodes of {self.agent_id}"

    @property
    def missing(self) -> int:
        """Return how many captured episodes are neither analyzed, pending nor failed: their rows are gone."""
        return self.captured - self.analyzed - self.pending - self.failed
