"""Runs, their frozen cases and their results."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, VisibleRelatedFilter, person
from audit.facts import FactAdmin
from evals.admin.exams import ExamAdmin
from evals.admin.run_pages import RunPages
from evals.conversing.reading import kind_of
from evals.external.posting import close, open_validation
from evals.forms import RunForm
from evals.leaks import is_held_for_a_leak, release_leak
from evals.models import Result, Run, RunCase
from evals.reporting.wording import as_metric
from evals.secrecy import ExamReader
from evals.starting import validate_now

__all__ = ["ResultAdmin", "RunAdmin", "RunCaseAdmin"]

# What a list of results may be narrowed by besides its filters: the parts that frozen cases play, never their texts.
_BEHIND = frozenset(
    f"run_case__{field}__exact" for field in ("id", "split", "intent_slug", "is_target", "is_protected")
)


@admin.register(Run)
class RunAdmin(RunPages):
    list_display = ("__str__", "state", "verdict_label", "proposal", "benchmark", "trials", "created_at", "finished_at")
    list_filter = (("agent", VisibleRelatedFilter), "status", "verdict", "runner")
    list_select_related = ("agent", "benchmark", "proposal", "baseline__agent", "candidate__agent")
    ordering = ("-id",)
    fieldsets = (
        (
            "Details",
            {
                "fields": (
                    "agent",
                    "benchmark",
                    "proposal",
                    "baseline",
                    "candidate",
                    "runner",
                    "split",
                    "targets",
                    "matrix",
                    "policy",
                    "trials",
                    "seed",
                )
            },
        ),
        ("Numbers in force", {"fields": ("gate_policy",), "classes": ("collapse",)}),
        ("Times", {"fields": ("created_at", "started_at", "finished_at", "error"), "classes": ("collapse",)}),
    )
    writing_form = RunForm
    reading_template = "evals/run.html"
    acts = (
        Act("release_leak", "Release the leak", Permission.APPROVE_PROPOSAL, release_leak, offered=is_held_for_a_leak),
        Act(
            "close",
            "Close",
            Permission.START_RUN,
            close,
            danger=True,
            offered=lambda run: run.is_external and run.status in {Run.Status.QUEUED, Run.Status.RUNNING},
        ),
    )

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Run:
        begin = open_validation if data["is_played_elsewhere"] else validate_now
        begin(data["proposal"], by=person(request), reason=data["reason"])
        return data["proposal"].runs.order_by("-id")[0]  # type: ignore[no-any-return]  # the queryset is generic over Any

    @display(description="Verdict", ordering="verdict", label=STATUS_COLORS)
    def verdict_label(self, row: Run) -> tuple[str, str] | str:
        return (row.verdict, row.get_verdict_display()) if row.verdict else ""


@admin.register(RunCase)
class RunCaseAdmin(ExamAdmin):
    SECRETS = ("messages", "user_state", "conversation", "expectations")

    list_display = ("case", "run", "split", "intent_slug", "kind", "is_target", "is_protected")
    list_filter = ("split", "kind", "is_target", "is_protected")
    list_select_related = ("case__benchmark__agent", "run__baseline__agent", "run__candidate__agent")
    ordering = ("-id",)

    def is_read(self, reader: ExamReader, row: RunCase) -> bool:
        return reader.reads(row.case.benchmark, row.split)


class PairedFilter(admin.SimpleListFilter):
    """Results of whole pairs: neither arm crashed in the trial, was dropped or is missing."""

    title, parameter_name = "pair", "paired"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "Both arms answered")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Result]) -> QuerySet[Result]:
        if self.value() is None:
            return queryset
        answered = Result.objects.filter(crashed=False, dropped=False)
        partner = answered.filter(run_case=OuterRef("run_case"), trial=OuterRef("trial")).exclude(arm=OuterRef("arm"))
        return queryset.filter(Exists(partner), crashed=False, dropped=False)


@admin.register(Result)
class ResultAdmin(ExamAdmin, FactAdmin):
    SECRETS = ("rationale", "output", "steps", "judgment")

    list_display = ("case", "arm", "trial", "passed", "score", "latency", "crashed", "dropped", "user", "played_at")
    list_filter = ("arm", "passed", "crashed", "dropped", PairedFilter)
    list_select_related = ("run_case__case__benchmark__agent",)

    def is_read(self, reader: ExamReader, row: Result) -> bool:
        return reader.reads(row.run_case.case.benchmark, row.run_case.split)

    @display(description="User")
    def user(self, row: Result) -> str:
        kind = kind_of(row.run_case.conversation)
        return f"{kind}, broke character" if row.broke_character else kind

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in _BEHIND or super().lookup_allowed(lookup, value, request)

    @display(description="Case")
    def case(self, row: Result) -> str:
        return row.run_case.case.name

    @display(description="Latency")
    def latency(self, row: Result) -> str:
        return as_metric(row.latency_ms, "latency_ms")
