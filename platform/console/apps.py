"""Console: the admin's home, its navigation, health, and every page that spans stages."""

from django.apps import AppConfig
from django.contrib.admin import apps

__all__ = ["AdminConfig", "ConsoleConfig"]


class ConsoleConfig(AppConfig):
    name = "console"
    default = True
    default_auto_field = "django.db.models.BigAutoField"


class AdminConfig(apps.AdminConfig):
    """Django's admin with the platform's site."""

    default = False
    default_site = "console.admin_site.PlatformAdminSite"
