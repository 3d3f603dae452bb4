"""Demo: a real agent with its scenario, and the command that shows the whole loop."""

from django.apps import AppConfig

__all__ = ["DemoConfig"]


class DemoConfig(AppConfig):
    name = "demo"
