"""Evals: benchmarks, runs, the gate."""

from django.apps import AppConfig

__all__ = ["EvalsConfig"]


class EvalsConfig(AppConfig):
    name = "evals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from evals import starting  # noqa: F401, PLC0415  # tells pages and endpoints what validating means
