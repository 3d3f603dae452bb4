"""Proposals: small reviewable changes."""

from django.apps import AppConfig

__all__ = ["ProposalsConfig"]


class ProposalsConfig(AppConfig):
    name = "proposals"
    default_auto_field = "django.db.models.BigAutoField"
