"""Runs, their frozen cases and their results."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q
from django.http import HttpRequest
from unfold.decorators import display

from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, StatefulAdmin, VisibleRelatedFilter, person
from audit.facts import FactAdmin
from evals.admin.exams import ExamAdmin
from evals.forms import RunForm
from evals.leaks import is_held_for_a_leak, release_leak
from evals.models import Result, Run, RunCase
from evals.secrecy import ExamReader
from evals.starting import validate_now

__all__ = ["ResultAdmin", "RunAdmin", "RunCaseAdmin"]

_SHOWN_FLIPS = 40


@admin.register(Run)
class RunAdmin(StatefulAdmin):
    list_display = ("__str__", "state", "verdict_label", "proposal", "benchmark", "trials", "created_at", "finished_at")
    list_filter = (("agent", VisibleRelatedFilter), "status", "verdict")
    list_select_related = ("agent", "benchmark", "proposal", "baseline__agent", "candidate__agent")
    ordering = ("-id",)
    fieldsets = (
        (
            "Details",
            {"fields": ("agent", "benchmark", "proposal", "baseline", "candidate", "policy", "trials", "seed")},
        ),
        ("Numbers in force", {"fields": ("gate_policy",), "classes": ("collapse",)}),
        ("Times", {"fields": ("created_at", "started_at", "finished_at", "error"), "classes": ("collapse",)}),
    )
    writing_form = RunForm
    reading_template = "evals/run.html"
    acts = (
        Act("release_leak", "Release the leak", Permission.APPROVE_PROPOSAL, release_leak, offered=is_held_for_a_leak),
    )

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Run:
        validate_now(data["proposal"], by=person(request), reason=data["reason"])
        return data["proposal"].runs.order_by("-id")[0]  # type: ignore[no-any-return]  # the queryset is generic over Any

    def reading(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        played = row.results.count()
        reading = row.reading or {}
        colors = {"pass": "good", "fail": "bad", "hold": "wait"}
        gates = [{**gate, "color": colors.get(gate["verdict"], "")} for gate in reading.get("gates", ())]
        return {
            "played": played, "planned": row.num_planned,
            "percent": min(100, round(100 * played / row.num_planned)) if row.num_planned else 0,
            "leak_releases": row.leak_releases.select_related("reviewer"),
            "gates": gates, "sentence": reading.get("sentence", ""), "approvals": reading.get("approvals"),
            "flips": flips_of(row) if row.status == Run.Status.JUDGED else [],
        }  # fmt: skip

    @display(description="Verdict", ordering="verdict", label=STATUS_COLORS)
    def verdict_label(self, row: Run) -> tuple[str, str] | str:
        return (row.verdict, row.get_verdict_display()) if row.verdict else ""


def flips_of(run: Run) -> list[dict[str, Any]]:
    """Return the cases whose share of passed trials differs between the arms, the largest loss first."""
    good = {
        f"{arm}_{what}": Count("results", filter=Q(results__arm=arm, results__dropped=False) & rule)
        for arm in Result.Arm.values
        for what, rule in (("passed", Q(results__passed=True)), ("trials", Q()))
    }
    rows = run.run_cases.annotate(**good).select_related("case")
    flips = []
    for row in rows:
        before = row.baseline_passed / row.baseline_trials if row.baseline_trials else 0.0
        after = row.candidate_passed / row.candidate_trials if row.candidate_trials else 0.0
        if before != after:
            flips.append({"row": row, "before": before, "after": after, "change": after - before})
    return sorted(flips, key=lambda flip: flip["change"])[:_SHOWN_FLIPS]


@admin.register(RunCase)
class RunCaseAdmin(ExamAdmin):
    SECRETS = ("messages", "user_state", "expectations")

    list_display = ("case", "run", "split", "intent_slug", "kind", "is_target", "is_protected")
    list_filter = ("split", "kind", "is_target", "is_protected")
    list_select_related = ("case__benchmark__agent", "run__baseline__agent", "run__candidate__agent")
    ordering = ("-id",)

    def is_read(self, reader: ExamReader, row: RunCase) -> bool:
        return reader.reads(row.case.benchmark, row.split)


@admin.register(Result)
class ResultAdmin(ExamAdmin, FactAdmin):
    SECRETS = ("rationale", "output", "steps")

    list_display = ("case", "arm", "trial", "passed", "score", "latency_ms", "crashed", "dropped", "played_at")
    list_filter = ("arm", "passed", "crashed", "dropped")
    list_select_related = ("run_case__case__benchmark__agent",)

    def is_read(self, reader: ExamReader, row: Result) -> bool:
        return reader.reads(row.run_case.case.benchmark, row.run_case.split)

    @display(description="Case")
    def case(self, row: Result) -> str:
        return row.run_case.case.name
