"""How like recorded users a benchmark's simulated ones were found to be."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from accounts.ids import uuid7
from evals.models.benchmark import Benchmark
from evals.querysets import SimulationCalibrationQuerySet

__all__ = ["SimulationCalibration"]


class SimulationCalibration(models.Model):
    """One comparison of a manner of simulated users with recorded conversations of the same intents. Append-only.

    The newest row of a manner is the one that holds: a manner that was changed is another one, and has none.
    """

    class Verdict(models.TextChoices):
        LIKE = "like", "Like recorded users"
        DIFFERS = "differs", "Differs from recorded users"
        UNDECIDED = "undecided", "Undecided"

    AGENT_PATH: ClassVar[str] = "benchmark__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="simulation_calibrations")
    manner_digest = models.CharField(max_length=64, help_text="Names how the users behave, without what they want.")
    manner = models.JSONField(help_text="Who plays them, their patience, reactions, style and words.")
    harness_digest = models.CharField(max_length=64, help_text="The version played, which served the recorded ones.")
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    sentence = models.TextField()
    reading = models.JSONField(help_text="Every statistic's distance with its interval, and the sizes.")
    tolerance = models.JSONField(help_text="How far they may be apart, as the policy had it.")
    asked_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    objects = SimulationCalibrationQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("benchmark", "manner_digest", "-id"), name="simulation_newest"),)

    def __str__(self) -> str:
        return f"{self.benchmark}: {self.get_verdict_display().lower()}"

    @property
    def statement(self) -> str:
        """Return what a verdict says of this calibration."""
        return f"Calibrated {self.created_at:%Y-%m-%d}: {self.sentence}"
