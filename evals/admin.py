"""Benchmarks and cases to keep, runs to follow and to understand number by number."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import display

from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import STATUS_COLORS, Act, GovernedAdmin, StatefulAdmin, VisibleRelatedFilter, person
from audit.facts import FactAdmin
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.forms import BenchmarkForm, CaseEdit, CaseForm, RunForm
from evals.leaks import is_held_for_a_leak, release_leak
from evals.models import Benchmark, Case, CurationTrial, Result, Run, RunCase
from evals.rotation import rotate_holdout
from evals.secrecy import ExamReader
from evals.starting import validate_now

__all__ = [
    "BenchmarkAdmin",
    "CaseAdmin",
    "CurationTrialAdmin",
    "ResultAdmin",
    "RunAdmin",
    "RunCaseAdmin",
]

_SHOWN_FLIPS = 40


def _activate_drafts(row: Benchmark, *, by: Actor, reason: str) -> str:
    return f"{activate_drafts(row, by=by, reason=reason)} draft cases are active now."


def _rotate_holdout(row: Benchmark, *, by: Actor, reason: str) -> str:
    rotated = rotate_holdout(row, by=by, reason=reason)
    return (
        f"{rotated.retired} cases left the hold-out, {rotated.activated} fresh ones took their place; looks count anew."
    )


class ExamAdmin(GovernedAdmin):
    """A page over rows of exams. Who may not read the exam sees no text and no history; who does is recorded."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    def is_read(self, reader: ExamReader, row: Any) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must say whose exam its rows are of")

    def is_shown(self, request: HttpRequest, row: Any) -> bool:
        reader: ExamReader | None = getattr(request, "whetstone_exam_reader", None)
        if reader is None:
            reader = ExamReader(person(request))
            request.whetstone_exam_reader = reader  # type: ignore[attr-defined]  # lives as long as the request
        return self.is_read(reader, row)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        names = super().get_fields(request, obj)
        hidden = () if obj is None or self.is_shown(request, obj) else self.SECRETS
        return [name for name in names if name not in hidden]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to filter by text: a list that answers yes or no tells it word by word."""
        return lookup.partition("__")[0] not in self.SECRETS and bool(super().lookup_allowed(lookup, value, request))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is not None and not self.is_shown(request, row):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)


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


@admin.register(CurationTrial)
class CurationTrialAdmin(GovernedAdmin):
    list_display = ("case", "trial", "passed", "latency_ms", "played_at")
    list_filter = ("passed",)
    list_select_related = ("case",)
    ordering = ("-id",)
