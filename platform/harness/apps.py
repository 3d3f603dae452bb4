"""Harness: agents, versions, objective, policy, changes, keys."""

from django.apps import AppConfig

__all__ = ["HarnessConfig"]


class HarnessConfig(AppConfig):
    name = "harness"
    default_auto_field = "django.db.models.BigAutoField"
