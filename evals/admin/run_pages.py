"""Pages around a run: its progress, its cases, one case side by side, and two runs side by side."""

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_safe

from accounts.exceptions import DomainError
from audit.desk import StatefulAdmin, person
from evals.admin.rows_behind import case_rows, gate_rows, result_rows
from evals.models import Run, RunCase
from evals.plots import forest, mirrored, ratio_histogram
from evals.progress import progress_of
from evals.reporting import RunReport
from evals.reporting.cases import WISHES, narrow
from evals.run_reports import comparable_runs, comparison_of, confirming_run, report_of
from evals.secrecy import ExamReader
from evals.side_by_side import case_page

__all__ = ["RunPages"]

_SHOWN_FLIPS, _OFFERED_RUNS = 20, 50
_OUTCOMES = (("broken", "broken"), ("fixed", "fixed"), ("same", "same"), ("not_compared", "not compared"))


class RunPages(StatefulAdmin):
    """Adds a run's own pages to its admin. Every one shows numbers and names; texts only one of them, to who may read."""

    class Media:
        css: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("evals/run.css",)}
        js: ClassVar[tuple[str, ...]] = ("evals/run.js",)

    def get_urls(self) -> list[URLPattern]:
        pages: dict[str, tuple[str, Callable[..., HttpResponse]]] = {
            "<uuid:pk>/progress/": ("progress", self.progress_view),
            "<uuid:pk>/cases/": ("cases", self.cases_view),
            "<uuid:pk>/cases/<uuid:case>/": ("case", self.case_view),
            "<uuid:pk>/compare/": ("compare", self.compare_view),
        }
        own = [
            path(route, self.admin_site.admin_view(require_safe(view)), name=f"evals_run_{name}")
            for route, (name, view) in pages.items()
        ]
        return [*own, *super().get_urls()]

    def reading(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "progress": progress_of(row),
            "played_rows": _played_rows(row),
            "leak_releases": row.leak_releases.select_related("reviewer"),
            "sentence": (row.reading or {}).get("sentence", ""),
            "approvals": (row.reading or {}).get("approvals"),
        }
        if row.status == Run.Status.JUDGED:
            others = comparable_runs(row, Run.objects.visible_to(person(request)))
            shown |= drawn(row, report_of(row)) | {
                "confirming": confirming_run(row),
                "comparable": others.select_related("baseline__agent", "candidate__agent").order_by("-pk")[
                    :_OFFERED_RUNS
                ],
            }
        return shown

    def progress_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Show how far the run is: the part of its page that the page's script puts in place of the old one."""
        run = self._visible(request, pk)
        context = {"progress": progress_of(run), "played_rows": _played_rows(run)}
        return TemplateResponse(request, "evals/run/progress.html", context)

    def cases_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """List the cases behind a number: by part, split, intent, outcome or trouble."""
        run = self._visible(request, pk)
        try:
            report = report_of(run)
        except DomainError as refusal:
            return self._refused(request, run, refusal)
        # An empty intent is that of cases without one; every other empty wish is none.
        given = {name: request.GET[name] for name in WISHES if name in request.GET}
        wanted = {name: value for name, value in given.items() if value or name == "intent"}
        lines = narrow(report.cases, wanted)
        context = {
            "title": f"Cases of {run}", "run": run, "lines": lines, "wanted": wanted, "total": len(report.cases),
            "kept": {name: value for name, value in wanted.items() if name not in ("split", "outcome")},
            "splits": sorted({line.split for line in report.cases}), "outcomes": _OUTCOMES,
            "back": self.page_of(run), "everything": case_rows(run),
        }  # fmt: skip
        return TemplateResponse(request, "evals/run/cases.html", self._around(request) | context)

    def case_view(self, request: HttpRequest, pk: UUID, case: UUID) -> HttpResponse:
        """Show one case with both arms side by side; its texts to those who may read the exam, and that is recorded."""
        run = self._visible(request, pk)
        row = get_object_or_404(RunCase.objects.select_related("case__benchmark__agent"), run=run, pk=case)
        context = {
            "title": f"{row.case} in {run}", "run": run, "page": case_page(row, ExamReader(person(request))),
            "back": self.page_of(run), "results": result_rows(run, run_case__id=row.pk), "cases": case_rows(run),
        }  # fmt: skip
        return TemplateResponse(request, "evals/run/case.html", self._around(request) | context)

    def compare_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Show two judged runs beside each other: each gate's numbers, each slice, each case that changed."""
        run = self._visible(request, pk)
        try:
            wanted = UUID(request.GET.get("with", ""))
        except ValueError as error:
            raise Http404("Name the other run in ?with=.") from error
        visible: QuerySet[Any] = Run.objects.visible_to(person(request))
        chosen = comparable_runs(run, visible).select_related("baseline__agent", "candidate__agent")
        other = get_object_or_404(chosen, pk=wanted)
        try:
            comparison = comparison_of(run, other)
        except DomainError as refusal:
            return self._refused(request, run, refusal)
        context = {
            "title": f"{run} beside {other}", "run": run, "other": other, "comparison": comparison,
            "back": self.page_of(run),
        }  # fmt: skip
        return TemplateResponse(request, "evals/run/compare.html", self._around(request) | context)

    def _visible(self, request: HttpRequest, pk: UUID) -> Run:
        run = self.get_object(request, str(pk))
        if run is None:
            raise Http404("No run with this key is visible to you.")
        return run  # type: ignore[no-any-return]  # the admin is generic over Any


def _played_rows(run: Run) -> dict[str, dict[str, str]]:
    """Return where each arm's results are: all of them, the crashed and the dropped."""
    return {
        arm: {
            "played": result_rows(run, arm=arm),
            "crashed": result_rows(run, arm=arm, crashed=1),
            "dropped": result_rows(run, arm=arm, dropped=1),
        }
        for arm in ("baseline", "candidate")
    }


def drawn(run: Run, report: RunReport) -> dict[str, Any]:
    """Return what the page draws of a report: coordinates, and the address of the rows behind each number."""
    slices = [*report.summaries, *report.intents]
    return {
        "report": report,
        "forest": forest(slices, report.margin),
        "slices": [(line, _slice_rows(run, line)) for line in slices],
        "gates": [(gate, gate_rows(run, gate.name)) for gate in report.gates],
        "unmet": [gate for gate in report.gates if gate.verdict == run.verdict != Run.Verdict.PASS],
        "fdp": report.gate("false_discovery"),
        "reliability": [
            (one, case_rows(run, split=report.split, part=None if one.group == "all" else one.group, pairs=one.k))
            for one in report.reliability
        ],
        "spreads": [
            {
                "spread": one, "arms": mirrored(one), "ratio": ratio_histogram(one),
                "rows": {arm: result_rows(run, arm=arm, run_case__split=report.split, paired=1)
                         for arm in ("baseline", "candidate")},
                "cases": case_rows(run, split=report.split, pairs=1),
            }
            for one in report.spreads
        ],
        "broken": report.broken[:_SHOWN_FLIPS], "fixed": report.fixed[:_SHOWN_FLIPS],
        "num_broken": len(report.broken), "num_fixed": len(report.fixed),
        "num_crashed": len(report.crashed), "num_dropped": len(report.dropped),
        "rows": {
            "broken": case_rows(run, outcome="broken"), "fixed": case_rows(run, outcome="fixed"),
            "crashed": case_rows(run, trouble="crashed"), "dropped": case_rows(run, trouble="dropped"),
            "all": case_rows(run),
        },
    }  # fmt: skip


def _slice_rows(run: Run, line: Any) -> dict[str, str]:
    """Return where a slice's cases, flips and results are."""
    part = line.kind if line.kind in {"target", "protected"} else None
    intent = line.name if line.kind == "intent" else None
    where = {"split": line.split, "part": part, "intent": intent}
    narrowed: dict[str, Any] = {"run_case__split": line.split, "paired": 1}
    if part:
        narrowed[f"run_case__is_{part}"] = 1
    if intent is not None:
        narrowed["run_case__intent_slug"] = intent
    return {
        "cases": case_rows(run, **where, pairs=1), "fixed": case_rows(run, **where, outcome="fixed"),
        "broken": case_rows(run, **where, outcome="broken"), "results": result_rows(run, **narrowed),
    }  # fmt: skip
