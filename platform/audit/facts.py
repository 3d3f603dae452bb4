"""The admin's ground for tables of millions: pages over facts that agents and machines write and nobody edits."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, cast
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.utils import get_fields_from_path
from django.db import models
from django.http import HttpRequest
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import checkbox
from unfold.decorators import display
from unfold.utils import display_for_label

from audit.desk import MAX_CHOICES, STATUS_COLORS, GovernedAdmin, visible_choices
from audit.keyset import KeysetChangeList
from audit.spans import Span

__all__ = ["FactAdmin", "choices", "pill"]


def choices(path: str, name: str, offered: Sequence[tuple[str, str]]) -> type[admin.SimpleListFilter]:
    """Return a filter on the column at `path` that offers these values and label, without asking the table for its own."""

    class Choices(admin.SimpleListFilter):
        title = name
        parameter_name = path

        def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
            return offered

        def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
            return queryset if self.value() is None else queryset.filter(**{path: self.value()})

    return Choices


@cache
def pill(value: str, label: str) -> SafeString:
    """Return a state as the skin's colored label; the few there are, are rendered once and not for each row."""
    return cast("SafeString", display_for_label((value, label), "-", {value: STATUS_COLORS.get(value, "default")}))


_KEY = "the-key-of-the-row"
_CHECKBOX = checkbox.render(ACTION_CHECKBOX_NAME, _KEY)


class FactAdmin(GovernedAdmin):
    """A page over rows that agents and machines write by the million: newest first, paged by key, never counted.

    `list_defer` names the columns that the list does not show and thus does not load.
    """

    list_defer: ClassVar[tuple[str, ...]] = ()
    change_list_template = "desk/facts.html"
    show_facets = ShowFacets.NEVER
    sortable_by: Any = ()
    ordering: Any = ("-pk",)

    @display(description=checkbox.render("action_toggle_all", 1))
    def action_checkbox(self, obj: models.Model) -> SafeString:
        box: SafeString = mark_safe(_CHECKBOX.replace(_KEY, escape(obj.pk)))  # noqa: S308  # the key is escaped, the rest the skin's
        return box

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def visible_rows(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Return the rows of the agents that the person may see, named, for the planner to know how many rows it is."""
        manager: Any = self.model._default_manager
        if not hasattr(manager, "of_agents"):  # some facts carry the bare id of their agent or team
            return super().visible_rows(request)
        path: Any = get_fields_from_path(self.model, getattr(self.model, "AGENT_PATH", "agent"))
        agents = [key for key, _ in visible_choices(request, path[-1].related_model)]
        named = len(agents) < MAX_CHOICES
        return cast("models.QuerySet[Any]", manager.of_agents(agents)) if named else super().visible_rows(request)

    def found_ids(self, request: HttpRequest, text: str, span: Span) -> Iterator[UUID] | None:
        """Return the ids that a search finds, in the span's order; `None` leaves the search to `search_fields`."""
        return None

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        if type(self).found_ids is not FactAdmin.found_ids:
            return queryset, False
        return cast("tuple[Any, bool]", super().get_search_results(request, queryset, search_term))
