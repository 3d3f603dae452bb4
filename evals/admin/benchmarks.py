"""Benchmarks and their cases."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import Act, GovernedAdmin, StatefulAdmin, VisibleRelatedFilter, person
from evals.admin.exams import ExamAdmin
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.forms import BenchmarkForm, CaseEdit, CaseForm
from evals.models import Benchmark, Case, CurationTrial
from evals.rotation import rotate_holdout
from evals.secrecy import ExamReader

__all__ = ["BenchmarkAdmin", "CaseAdmin", "CurationTrialAdmin"]


def _activate_drafts(row: Benchmark, *, by: Actor, reason: str) -> str:
    return f"{activate_drafts(row, by=by, reason=reason)} draft cases are active now."


def _rotate_holdout(row: Benchmark, *, by: Actor, reason: str) -> str:
    rotated = rotate_holdout(row, by=by, reason=reason)
    return (
        f"{rotated.retired} cases left the hold-out, {rotated.activated} fresh ones took their place; looks count anew."
    )


@admin.register(Benchmark)
class BenchmarkAdmin(GovernedAdmin):
    list_display = ("name", "agent", "is_active", "num_cases", "holdout_looks", "created_at")
    list_filter = (("agent", VisibleRelatedFilter), "is_active")
    list_select_related = ("agent",)
    fields = ("agent", "name", "description", "is_active", "holdout_looks", "rotated_at", "created_at")
    editable = ("description",)
    writing_form = BenchmarkForm
    reading_template = "evals/benchmark.html"
    acts = (
        Act("activate_drafts", "Activate draft cases", Permission.EDIT_BENCHMARK, _activate_drafts),
        Act("rotate_holdout", "Rotate the hold-out", Permission.EDIT_BENCHMARK, _rotate_holdout, danger=True),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = (
            super().get_queryset(request).annotate(active=Count("cases", filter=Q(cases__status="active")))
        )
        return rows

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Benchmark:
        return create_benchmark(data.pop("agent"), by=person(request), **data)

    def reading(self, request: HttpRequest, row: Benchmark) -> dict[str, Any]:
        counts = (
            row.cases.values("split", "kind", "status").annotate(number=Count("id")).order_by("split", "kind", "status")
        )
        return {"counts": counts}

    @display(description="Active cases", ordering="active")
    def num_cases(self, row: Any) -> int:
        return int(row.active)


@admin.register(Case)
class CaseAdmin(ExamAdmin, StatefulAdmin):
    SECRETS = ("messages", "user_state", "expectations")

    form = CaseEdit
    list_display = ("name", "state", "benchmark", "split", "kind", "intent", "weight", "cluster")
    list_filter = (("benchmark", VisibleRelatedFilter), "status", "split", "kind", ("intent", VisibleRelatedFilter))
    search_fields = ("name", "=cluster")
    list_select_related = ("benchmark__agent", "intent")
    fields = (
        "benchmark", "name", "kind", "split", "intent", "cluster", "weight", "source", "messages", "user_state",
        "expectations", "author", "created_at",
    )  # fmt: skip
    editable = CaseEdit.Meta.fields
    writing_form = CaseForm
    writing_help = "A case starts as a draft; it counts once it is active, and then its text stays as it is."

    def is_read(self, reader: ExamReader, row: Case) -> bool:
        return reader.reads_case(row)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A draft is its author's to mend; a case in use is retired and written anew."""
        own = obj is None or (obj.status == Case.Status.DRAFT and obj.author_id == request.user.pk)
        return own and super().has_change_permission(request, obj)

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Case:
        intent = data.pop("intent")
        item = {**data, "user_state": data["user_state"] or {}, "intent": intent.slug if intent else None}
        return add_cases(item.pop("benchmark"), [item], by=person(request))[0]


@admin.register(CurationTrial)
class CurationTrialAdmin(GovernedAdmin):
    list_display = ("case", "trial", "passed", "latency_ms", "played_at")
    list_filter = ("passed",)
    list_select_related = ("case",)
    ordering = ("-id",)
