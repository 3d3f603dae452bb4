"""Releases: rollout, serving, guard, aftermath."""

from django.apps import AppConfig

__all__ = ["ReleasesConfig"]


class ReleasesConfig(AppConfig):
    name = "releases"
    default_auto_field = "django.db.models.BigAutoField"
