"""The record, to read."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from unfold.decorators import display

from accounts.roles import Permission
from audit.chain import link, status
from audit.desk import person, standing
from audit.facts import FactAdmin, choices
from audit.models import Event

__all__ = ["EventAdmin"]


@admin.register(Event)
class EventAdmin(FactAdmin):
    list_display = ("seal_number", "at", "actor", "action", "object_ref", "short_reason")
    list_display_links = ("seal_number", "at")
    list_filter = (choices("actor_kind", "actor", (("user", "Person"), ("key", "Key"), ("machine", "Machine"))),)
    search_fields = ("=object_ref", "=action", "=actor", "=digest")
    search_help_text = "A whole object (app.model:key), action (proposal.approve), actor or digest"
    list_select_related = ("seal",)
    list_before_template = "audit/chain.html"
    reading_template = "audit/event.html"
    fields = (
        "at", "actor", "actor_kind", "actor_user_id", "action", "object_ref", "team_id", "agent_id", "digest", "reason",
        "request_id", "facts",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> Any:
        """Show single events to whoever sees their row; the list is for those who may read the whole record."""
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and match.url_name == "audit_event_changelist"
        return rows & Event.objects.listed_for(person(request)) if is_list else rows

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        if Permission.READ_AUDIT not in standing(request):
            raise PermissionDenied
        return super().changelist_view(request, {"chain": status(), **(extra_context or {})})

    def reading(self, request: HttpRequest, row: Event) -> dict[str, Any]:
        seal = getattr(row, "seal", None)
        intact = seal is not None and link(seal.previous_hash, row.as_sealed()) == seal.hash
        return {"seal": seal, "intact": intact}

    @display(description="No.")
    def seal_number(self, row: Event) -> str:
        seal = getattr(row, "seal", None)
        return f"#{seal.seq}" if seal else "waiting"

    @display(description="Why")
    def short_reason(self, row: Event) -> str:
        return row.reason[:120]
