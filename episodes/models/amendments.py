"""What episodes said before they were amended."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from accounts.ids import uuid7
from episodes.models.records import Episode
from episodes.querysets import OfEpisodeQuerySet

__all__ = ["EpisodeAmendment"]


class EpisodeAmendment(models.Model):
    """The content an episode had before late records of its run amended it. Append-only.

    The database lets an episode's content change only where this row was written first. An episode may come to say
    again what it said before: a span that counted as its own turns out to belong to another agent's run.
    """

    AGENT_PATH: ClassVar[str] = "episode__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, related_name="amendments")
    previous_content = models.JSONField()
    previous_digest = models.CharField(max_length=64)
    previous_committed_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=300)
    amended_at = models.DateTimeField(db_default=Now())

    objects = OfEpisodeQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(
                fields=("previous_committed_at",),
                condition=models.Q(previous_committed_at__isnull=False),
                name="amendment_of_commitment",
            ),
        )

    def __str__(self) -> str:
        return f"{self.episode} before {self.amended_at:%Y-%m-%d %H:%M}"
