"""Evals: benchmarks, runs, the gate."""

from django.apps import AppConfig
from django.conf import settings

__all__ = ["EvalsConfig"]


class EvalsConfig(AppConfig):
    name = "evals"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from evals import checks, starting  # noqa: F401, PLC0415  # tell what settings and what validating must be
        from evals.scorers.states import use_checks  # noqa: PLC0415  # settings are read once apps are ready

        use_checks(settings.STATE_CHECKS)
