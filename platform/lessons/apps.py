"""Lessons: what was learned, by meaning."""

from django.apps import AppConfig

__all__ = ["LessonsConfig"]


class LessonsConfig(AppConfig):
    name = "lessons"
    default_auto_field = "django.db.models.BigAutoField"
