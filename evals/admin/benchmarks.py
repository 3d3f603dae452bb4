"""Benchmarks and their cases."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from unfold.decorators import display

from accounts.access import can
from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import Act, GovernedAdmin, StatefulAdmin, VisibleRelatedFilter, person
from episodes.turns import turns_of
from evals.admin.comparing import COMPARING
from evals.admin.drafting import fill_gap_view, start_view
from evals.admin.exams import ExamAdmin
from evals.admin.review_queue import review_queue
from evals.admin.simulation import SIMULATION_ACTS, calibrations_of, readable
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.conversing.reading import kind_of
from evals.coverage import coverage_of
from evals.drawing import standing_rows, traffic_columns
from evals.forms import BenchmarkForm, CaseEdit, CaseForm
from evals.models import Benchmark, Case, CurationTrial, DraftRound
from evals.rotation import rotate_holdout
from evals.secrecy import ExamReader

__all__ = ["BenchmarkAdmin", "CaseAdmin", "CurationTrialAdmin", "DraftRoundAdmin"]


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
    fields = (
        "agent",
        "name",
        "description",
        "is_active",
        "scored_outside",
        "holdout_looks",
        "rotated_at",
        "created_at",
    )
    editable = ("description",)
    writing_form = BenchmarkForm
    reading_template = "evals/benchmark.html"
    list_before_template = "evals/start_link.html"
    acts = (
        Act("activate_drafts", "Activate draft cases", Permission.EDIT_BENCHMARK, _activate_drafts),
        *COMPARING,
        Act("rotate_holdout", "Rotate the hold-out", Permission.EDIT_BENCHMARK, _rotate_holdout, danger=True),
        *SIMULATION_ACTS,
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
        coverage = coverage_of(row)
        return {
            "counts": counts, "calibrations": calibrations_of(row), "coverage": coverage, "countdown": coverage.countdown,
            "columns": traffic_columns(coverage.intents, coverage.policy), "rows": standing_rows(coverage.intents, coverage.policy),
            "num_drafts": row.cases.drafts().count(), "last_round": row.draft_rounds.select_related("intent").first(),
            "may_edit": can(person(request), Permission.EDIT_BENCHMARK, row.agent.access_scope()),
        }  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site
        own = [
            path("start/", site.admin_view(start_view), name="evals_benchmark_start"),
            path("<uuid:pk>/queue/", site.admin_view(self.queue_view), name="evals_benchmark_queue"),
            path("<uuid:pk>/gap/", site.admin_view(self.gap_view), name="evals_benchmark_gap"),
        ]
        return [*own, *super().get_urls()]

    def queue_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return review_queue(request, self._visible(request, pk))

    def gap_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        return fill_gap_view(request, self._visible(request, pk))

    def _visible(self, request: HttpRequest, pk: UUID) -> Benchmark:
        rows = Benchmark.objects.visible_to(person(request)).select_related("agent__stable", "agent__policy")
        return get_object_or_404(rows, pk=pk)  # type: ignore[no-any-return]  # the queryset is generic over Any

    @display(description="Active cases", ordering="active")
    def num_cases(self, row: Any) -> int:
        return int(row.active)


@admin.register(Case)
class CaseAdmin(ExamAdmin, StatefulAdmin):
    # Which episode it was drafted from tells its text to whoever may read episodes.
    SECRETS = ("messages", "user_state", "conversation", "expectations", "episode", "correction")

    form = CaseEdit
    list_display = ("name", "state", "benchmark", "split", "kind", "intent", "weight", "cluster")
    list_filter = (("benchmark", VisibleRelatedFilter), "status", "split", "kind", ("intent", VisibleRelatedFilter))
    search_fields = ("name", "=cluster")
    list_select_related = ("benchmark__agent", "intent")
    fields = (
        "benchmark", "name", "kind", "split", "intent", "cluster", "weight", "source", "episode", "correction", "messages",
        "user_state", "conversation", "expectations", "author", "created_at",
    )  # fmt: skip
    editable = CaseEdit.Meta.fields
    reading_template = "evals/case.html"
    writing_form = CaseForm
    writing_help = "A case starts as a draft; it counts once it is active, and then its text stays as it is."

    def is_read(self, reader: ExamReader, row: Case) -> bool:
        return reader.reads_case(row)

    def reading(self, request: HttpRequest, row: Case) -> dict[str, Any]:
        if not self.is_shown(request, row):
            return {"is_shown": False}
        said = [(turn.role.capitalize(), turn.text) for turn in turns_of(row.messages)]
        return {
            "is_shown": True,
            "kind": kind_of(row.conversation),
            "lines": [*said, *readable(row.conversation)],
        }

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A draft is its author's to mend; a case in use is retired and written anew."""
        own = obj is None or (obj.status == Case.Status.DRAFT and obj.author_id == request.user.pk)
        return own and super().has_change_permission(request, obj)

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Case:
        intent = data.pop("intent")
        plain = {name: data[name] or {} for name in ("user_state", "conversation")}
        item = {**data, **plain, "intent": intent.slug if intent else None}
        return add_cases(item.pop("benchmark"), [item], by=person(request))[0]


@admin.register(CurationTrial)
class CurationTrialAdmin(GovernedAdmin):
    list_display = ("case", "trial", "passed", "latency_ms", "played_at")
    list_filter = ("passed",)
    list_select_related = ("case",)
    ordering = ("-id",)


@admin.register(DraftRound)
class DraftRoundAdmin(GovernedAdmin):
    list_display = ("benchmark", "asked_by_name", "asked_at", "number", "num_drafted", "finished_at")
    list_filter = (("benchmark", VisibleRelatedFilter),)
    list_select_related = ("benchmark",)
    ordering = ("-id",)
