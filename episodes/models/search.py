"""What words an episode holds: filled when it is analyzed, read by search, never shown."""

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models

from episodes.models.records import Episode
from episodes.querysets import OfEpisodeQuerySet

__all__ = ["EpisodeText"]


class EpisodeText(models.Model):
    """The words of one episode, each once, beside the mark of its agent.

    A table of its own: building the entries costs more than storing the episode, and capture does not wait for it.
    """

    AGENT_PATH: ClassVar[str] = "episode__agent"

    episode = models.OneToOneField(Episode, on_delete=models.CASCADE, primary_key=True, related_name="words_said")
    words = SearchVectorField()

    objects = OfEpisodeQuerySet.as_manager()

    class Meta:
        ordering = ("-episode",)
        indexes = (GinIndex(fields=("words",), name="episode_words"),)

    def __str__(self) -> str:
        return f"Words of {self.episode_id}"
