"""The admin's site: Unfold's, without the list of all models on pages that do not show it."""

from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from unfold.sites import UnfoldAdminSite

__all__ = ["PlatformAdminSite"]


class PlatformAdminSite(UnfoldAdminSite):
    """Unfold's site. What a person may do with every model is asked where a page shows it, which most never do."""

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        return SimpleLazyObject(partial(super().get_app_list, request, app_label))
