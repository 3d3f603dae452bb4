"""Lessons, to read and to confirm."""

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from audit.desk import STATUS_COLORS, GovernedAdmin, VisibleRelatedFilter
from lessons.models import Lesson

__all__ = ["LessonAdmin"]


@admin.register(Lesson)
class LessonAdmin(GovernedAdmin):
    list_display = ("short_text", "agent", "layer", "state_label", "helpful", "harmful", "created_at")
    list_filter = (("agent", VisibleRelatedFilter), "state", "layer")
    search_fields = ("text", "=source_ref")
    ordering = ("-id",)
    list_select_related = ("agent",)
    fields = ("agent", "text", "layer", "state", "source_ref", "helpful", "harmful", "embedding_model", "created_at")

    @display(description="Lesson")
    def short_text(self, row: Lesson) -> str:
        return row.text[:120]

    @display(description="State", ordering="state", label=STATUS_COLORS)
    def state_label(self, row: Any) -> tuple[str, str]:
        return row.state, row.get_state_display()
