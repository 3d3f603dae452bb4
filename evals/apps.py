"""Evals: benchmarks, runs, the gate."""

from django.apps import AppConfig

__all__ = ["EvalsConfig"]


class EvalsConfig(AppConfig):
    name = "evals"
    default_auto_field = "django.db.models.BigAutoField"
