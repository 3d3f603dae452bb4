"""What must happen and what last happened, for whoever runs the installation."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from audit.desk import STATUS_COLORS, GovernedAdmin, person
from jobs.models import Beat, Task, is_operator

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
    list_display = ("name", "started_at", "finished_at", "error_kind")
    ordering = ("name",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show what an error said to operators only: it may quote any team's rows."""
        said = ("last_error",) if is_operator(person(request)) else ()
        return ("name", "started_at", "finished_at", "error_kind", *said)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.get_fields(request, obj)

    @display(description="Last error")
    def error_kind(self, row: Beat) -> str:
        return row.last_error.partition(":")[0]
