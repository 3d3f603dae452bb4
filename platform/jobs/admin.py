"""What must happen and what last happened, for whoever runs the installation."""

from typing import Any

from django.contrib import admin
from unfold.decorators import display

from audit.desk import STATUS_COLORS, GovernedAdmin
from jobs.models import Beat, Task

__all__ = ["BeatAdmin", "TaskAdmin"]


@admin.register(Task)
class TaskAdmin(GovernedAdmin):
    list_display = ("name", "state_label", "queue", "key", "attempts", "available_at", "lease_until", "short_error")
    list_filter = ("state", "queue", "name")
    search_fields = ("=key", "=name")
    search_help_text = "A whole name or key"
    ordering = ("-id",)

    @display(description="State", ordering="state", label={**STATUS_COLORS, "ready": "default"})
    def state_label(self, row: Any) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @display(description="Last error")
    def short_error(self, row: Task) -> str:
        return row.last_error.splitlines()[-1][:120] if row.last_error else ""


@admin.register(Beat)
class BeatAdmin(GovernedAdmin):
    list_display = ("name", "started_at", "finished_at", "last_error")
    ordering = ("name",)
