"""Episodes: what agents lived through."""

from django.apps import AppConfig

__all__ = ["EpisodesConfig"]


class EpisodesConfig(AppConfig):
    name = "episodes"
    default_auto_field = "django.db.models.BigAutoField"
