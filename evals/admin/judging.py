"""Rubrics and their judge: how well it agrees with people, where it does not, and the queue in which people label."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from pydantic import BaseModel, Field
from unfold.decorators import display

from accounts.access import can
from accounts.acting import Actor
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.desk import Act, GovernedAdmin, VisibleRelatedFilter, person
from audit.facts import FactAdmin
from evals.admin.exams import ExamAdmin
from evals.freezing import gate_policy_of
from evals.judges.appointing import appoint_judge, judge_agent
from evals.judges.labeling import as_uuid, label
from evals.judges.material import Item, material_of
from evals.judges.requesting import ask_for_calibration, ask_for_episodes
from evals.judges.waiting import disagreements, progress_of, verdict_beside, waiting
from evals.models import JudgeCalibration, JudgeLabel, JudgeRubric, JudgeVerdict, Result
from evals.secrecy import ExamReader

__all__ = ["JudgeCalibrationAdmin", "JudgeLabelAdmin", "JudgeRubricAdmin", "JudgeVerdictAdmin"]

_SHOWN_DISAGREEMENTS = 20


class DrawnEpisodes(BaseModel):
    """How many episodes the judge grades, for people to label."""

    number: int = Field(default=20, ge=1, le=200, description="Each is one call of the judge's model.")


def _appoint(row: JudgeRubric, *, by: Actor, reason: str) -> str:
    judge = appoint_judge(row.agent, by=by, reason=reason)
    return f"{judge} judges from now on; it decides nothing before people have labeled enough."


def _reads(reader: ExamReader, item: Item) -> bool:
    """Return whether the text of an item may be shown to the reader; what is shown of an exam is written down."""
    return not isinstance(item, Result) or reader.reads(item.run_case.case.benchmark, item.run_case.split)


@admin.register(JudgeRubric)
class JudgeRubricAdmin(GovernedAdmin):
    list_display = ("name", "agent", "num_labels", "created_at")
    list_filter = (("agent", VisibleRelatedFilter),)
    list_select_related = ("agent",)
    ordering = ("-id",)
    fields = ("agent", "name", "digest", "created_at")
    reading_template = "evals/rubric.html"
    acts = (
        Act(
            "appoint_judge", "Appoint a judge", Permission.MANAGE_AGENT, _appoint,
            offered=lambda row: judge_agent(row.agent) is None,
        ),
        Act("calibrate", "Calibrate the judge", Permission.EDIT_BENCHMARK, ask_for_calibration, needs_reason=False),
        Act(
            "draw_episodes", "Grade episodes to label", Permission.EDIT_BENCHMARK, ask_for_episodes, needs_reason=False,
            form=DrawnEpisodes,
        ),
    )  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.label_view)
        return [path("<path:object_id>/label/", view, name="evals_judgerubric_label"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(labeled=Count("judgelabels"))
        return rows

    @display(description="Labels", ordering="labeled")
    def num_labels(self, row: Any) -> int:
        return int(row.labeled)

    def reading(self, request: HttpRequest, row: JudgeRubric) -> dict[str, Any]:
        actor, policy = person(request), gate_policy_of(row.agent)
        reader = ExamReader(actor)
        shown = [one for one in disagreements(row, by=actor)[:_SHOWN_DISAGREEMENTS] if _reads(reader, one.item)]
        return {
            "rubric": row.rubric, "grades": _grades(row), "progress": progress_of(row, policy), "policy": policy,
            "judge": judge_agent(row.agent), "waiting": waiting(row, by=actor).count(),
            "disagreements": [
                {"verdict": one, "theirs": row.rubric.word(one.their_grade), "material": material_of(one.item)}
                for one in shown
            ],
            "may_label": can(actor, Permission.LABEL_RESULT, row.access_scope()),
            "label_url": reverse("admin:evals_judgerubric_label", args=(quote(row.pk),)),
        }  # fmt: skip

    def label_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the next item without arm and verdict; on POST write the label, and show what the judge had said."""
        row: JudgeRubric | None = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404("No rubric with this key is visible to you.")
        if request.method == "POST":
            return self._label(request, row)
        actor = person(request)
        left = waiting(row, by=actor)
        verdict = left.first()
        if verdict is not None and not _reads(ExamReader(actor), verdict.item):
            verdict = None
        context = {
            "title": f"Label by {row}", "row": row, "back": self.page_of(row), "verdict": verdict, "left": left.count(),
            "material": None if verdict is None else material_of(verdict.item), "rubric": row.rubric,
            "grades": _grades(row), "told": _told(request, row), "progress": progress_of(row, gate_policy_of(row.agent)),
        }  # fmt: skip
        return TemplateResponse(request, "evals/label.html", self._around(request) | context)

    def _label(self, request: HttpRequest, row: JudgeRubric) -> HttpResponse:
        """Write down the label of the item that was shown; it is named by its verdict, of which the page told nothing."""
        here = request.path
        key = as_uuid(request.POST.get("item", ""))
        verdict = None if key is None else JudgeVerdict.objects.filter(rubric=row, pk=key).with_items().first()
        if verdict is None:
            messages.error(request, "This item is not there any more: label the next one.")
            return HttpResponseRedirect(here)
        try:
            done = label(
                row, verdict.item, grade=request.POST.get("grade", ""), note=request.POST.get("note", "")[:4_000],
                by=person(request),
            )  # fmt: skip
        except DomainError as refusal:
            messages.error(request, str(refusal))
            return HttpResponseRedirect(here)
        return HttpResponseRedirect(f"{here}?labeled={done.label.pk}")


def _told(request: HttpRequest, row: JudgeRubric) -> dict[str, Any] | None:
    """Return the reader's own label of the moment before, and beside it what the judge had said."""
    key = as_uuid(request.GET.get("labeled", ""))
    if key is None:
        return None
    given = JudgeLabel.objects.filter(pk=key, rubric=row, labeled_by=request.user.pk).first()
    return None if given is None else {"label": given, "verdict": verdict_beside(given)}


def _grades(row: JudgeRubric) -> list[dict[str, Any]]:
    """Return the grades as buttons: what each means, and the key that gives it."""
    rubric = row.rubric
    keys = (
        {0: "f", 1: "p"} if rubric.scale == "binary" else {grade: str(grade) for grade in rubric.grades if grade < 10}
    )
    return [
        {"grade": grade, "word": rubric.word(grade), "meaning": rubric.meaning(grade), "key": keys.get(grade, ""),
         "passes": rubric.passes(grade)}
        for grade in rubric.grades
    ]  # fmt: skip


@admin.register(JudgeVerdict)
class JudgeVerdictAdmin(ExamAdmin, FactAdmin):
    """Grades are told once somebody has labeled the item: until then each is a question still open."""

    SECRETS = ("result", "grade", "rationale")

    list_display = ("rubric", "judge", "judged_at")
    list_select_related = ("rubric__agent",)
    fields = ("rubric", "judge_digest", "result", "episode", "grade", "rationale", "judged_at")

    def is_read(self, reader: ExamReader, row: JudgeVerdict) -> bool:
        return row.is_labeled() and _reads(reader, row.item)

    @display(description="Judge")
    def judge(self, row: JudgeVerdict) -> str:
        return row.judge_digest[:12]


@admin.register(JudgeLabel)
class JudgeLabelAdmin(ExamAdmin, FactAdmin):
    SECRETS = ("note",)

    list_display = ("rubric", "labeled_by_name", "grade", "source", "labeled_at")
    list_filter = ("source",)
    list_select_related = ("rubric__agent",)
    fields = (
        "rubric", "result", "episode", "grade", "note", "source", "labeled_by", "labeled_by_name", "is_simulated",
        "labeled_at",
    )  # fmt: skip

    def is_read(self, reader: ExamReader, row: JudgeLabel) -> bool:
        return _reads(reader, row.item)


@admin.register(JudgeCalibration)
class JudgeCalibrationAdmin(FactAdmin):
    list_display = (
        "rubric",
        "judge",
        "num_labels",
        "kappa",
        "kappa_lower",
        "kappa_upper",
        "measured_at",
        "measured_by",
    )
    list_select_related = ("rubric__agent",)

    @display(description="Judge")
    def judge(self, row: JudgeCalibration) -> str:
        return row.judge_digest[:12]
