"""Recurring failures: how many users they touch, what they look like, what is being done."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.access import can
from accounts.roles import Permission
from audit.desk import StatefulAdmin, VisibleRelatedFilter, folded, person
from audit.facts import FactAdmin
from episodes.models import Pattern, PatternMember

__all__ = ["PatternAdmin", "PatternMemberAdmin"]

_EXEMPLARS = 12


@admin.register(Pattern)
class PatternAdmin(StatefulAdmin):
    list_display = (
        "title",
        "state",
        "agent",
        "layer",
        "kind",
        "intent",
        "num_subjects",
        "num_episodes",
        "last_seen_at",
    )
    list_filter = (("agent", VisibleRelatedFilter), "status", "layer", "kind")
    search_fields = ("title",)
    list_select_related = ("agent", "intent")
    ordering = ("-num_subjects", "-id")
    fieldsets = folded(
        "agent", "layer", "kind", "intent", "num_subjects", "num_episodes", "first_seen_at", "last_seen_at", "embedding_model"
    )  # fmt: skip
    reading_template = "episodes/pattern.html"

    def reading(self, request: HttpRequest, row: Pattern) -> dict[str, Any]:
        members = row.members.select_related("critique__episode__conversation").order_by("-similarity", "-id")
        exemplars = [member.critique for member in members[:_EXEMPLARS]]
        return {
            "exemplars": exemplars, "evidence": ",".join(str(critique.episode_id) for critique in exemplars[:5]),
            "may_write": can(person(request), Permission.WRITE_PROPOSAL, row.access_scope()),
        }  # fmt: skip


@admin.register(PatternMember)
class PatternMemberAdmin(FactAdmin):
    list_display = ("pattern", "critique", "similarity", "created_at")
    list_select_related = ("pattern", "critique")
