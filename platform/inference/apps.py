"""Inference: models and embeddings behind one door."""

from django.apps import AppConfig

__all__ = ["InferenceConfig"]


class InferenceConfig(AppConfig):
    name = "inference"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from inference import checks  # noqa: F401, PLC0415  # registers itself once apps are loaded
