"""The configuration as an app, so that it can bring commands and checks."""

from django.apps import AppConfig

__all__ = ["WhetstoneConfig"]


class WhetstoneConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        from config import checks  # noqa: F401, PLC0415  # checks register themselves once apps are loaded
