"""Lessons, to read and to confirm."""

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, GovernedAdmin, VisibleRelatedFilter
from lessons.memory import confirm, retire
from lessons.models import Lesson

__all__ = ["LessonAdmin"]


def _confirm(row: Lesson, *, by: Actor, reason: str) -> str:
    confirm(row, by=by, reason=reason)
    return "Agents read this lesson from now on."


def _retire(row: Lesson, *, by: Actor, reason: str) -> str:
    retire(row, by=by, reason=reason)
    return "No agent reads this lesson any more."


@admin.register(Lesson)
class LessonAdmin(GovernedAdmin):
    list_display = ("short_text", "agent", "layer", "state_label", "helpful", "harmful", "created_at")
    list_filter = (("agent", VisibleRelatedFilter), "state", "layer")
    search_fields = ("text", "=source_ref")
    ordering = ("-id",)
    list_select_related = ("agent",)
    fields = ("agent", "text", "layer", "state", "source_ref", "helpful", "harmful", "embedding_model", "created_at")
    acts = (
        Act("confirm", "Confirm", Permission.TRIAGE_PATTERN, _confirm,
            offered=lambda row: row.state == Lesson.State.QUARANTINED),
        Act("retire", "Retire", Permission.TRIAGE_PATTERN, _retire, danger=True,
            offered=lambda row: row.state != Lesson.State.RETIRED),
    )  # fmt: skip

    @display(description="Lesson")
    def short_text(self, row: Lesson) -> str:
        return row.text[:120]

    @display(description="State", ordering="state", label=STATUS_COLORS)
    def state_label(self, row: Any) -> tuple[str, str]:
        return row.state, row.get_state_display()
