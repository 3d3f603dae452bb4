"""Facts of a rollout: who was served what, what the guard read."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from accounts.ids import uuid7
from releases.models.release import Release
from releases.querysets import FactsOfReleaseQuerySet

__all__ = ["Exposure", "GuardTick"]


class Exposure(models.Model):
    """Who was first served which arm in which stage. Append-only."""

    AGENT_PATH: ClassVar[str] = "release__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="exposures")
    subject = models.CharField(max_length=200)
    stage = models.PositiveSmallIntegerField()
    arm = models.CharField(max_length=8)
    weight = models.FloatField(help_text="The planned share of the canary when this user was assigned.")
    served_at = models.DateTimeField(db_default=Now())

    objects = FactsOfReleaseQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("release", "subject", "stage"), name="exposure_once"),)

    def __str__(self) -> str:
        return f"{self.subject}: {self.arm} in stage {self.stage}"


class GuardTick(models.Model):
    """One reading of the guard, with every number it rests on. Append-only."""

    AGENT_PATH: ClassVar[str] = "release__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="ticks")
    at = models.DateTimeField(db_default=Now())
    stage = models.PositiveSmallIntegerField()
    weight = models.FloatField()
    status = models.CharField(max_length=10)
    sentence = models.TextField()
    reading = models.JSONField()
    first_intents = models.JSONField(
        default=dict,
        help_text="The intent, as it was then, of every conversation this tick was the first to read.",
    )

    objects = FactsOfReleaseQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("release", "-at"), name="tick_newest"),)

    def __str__(self) -> str:
        return f"{self.status} at {self.at:%H:%M:%S}"
