"""The queue of drafts: one at a time, by keyboard or by buttons, with and without scripts."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.access import can
from accounts.acting import acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.desk import person
from evals.coverage import coverage_of
from evals.labeling import accept_correction, label, label_correction, siblings_of, why_expected
from evals.models import Benchmark, Case
from evals.queue_forms import LabelForm, label_of
from evals.reviewing_drafts import Done, Queue, undo
from evals.secrecy import EXAM_SPLITS, ExamReader
from evals.wording import in_words

__all__ = ["review_queue"]

_MAX_REMEMBERED = 30
_RETIRED = "not wanted, said in the review of drafts"


def review_queue(request: HttpRequest, benchmark: Benchmark) -> HttpResponse:
    """Show the next draft, or the one that `?case=` names; on POST do what was asked and go on to the next.

    `?exam=1` asks for verify and hold-out drafts, whose reading is recorded.
    """
    actor = person(request)
    if not can(actor, Permission.EDIT_BENCHMARK, benchmark.agent.access_scope()):
        raise PermissionDenied
    queue = Queue(benchmark, actor, wants_exam=request.GET.get("exam") == "1")
    memory = _Memory(request, benchmark)
    form = None
    if request.method == "POST":
        answer = _act(request, queue, memory)
        if isinstance(answer, HttpResponse):
            return answer
        form = answer
    case = form.case if form is not None else _wanted(request, queue) or queue.next(skipped=memory.skipped)
    return TemplateResponse(request, "evals/queue.html", _shown(request, queue, memory, case, form))


def _wanted(request: HttpRequest, queue: Queue) -> Case | None:
    """Return the draft the address names, where this queue has it."""
    try:
        key = UUID(request.POST.get("case") or request.GET.get("case") or "")
    except ValueError:
        return None
    rows = queue.cases.select_related("benchmark__agent", "intent", "episode__conversation", "correction", "author")
    return rows.filter(pk=key).first()


def _act(request: HttpRequest, queue: Queue, memory: "_Memory") -> HttpResponse | LabelForm:
    """Do what the person asked and lead on; return the form where what they wrote must be mended first."""
    act, actor = request.POST.get("act", ""), queue.by
    if act == "undo":
        return _undo(request, queue, memory)
    case = _wanted(request, queue)
    if case is None or case.status != Case.Status.DRAFT:
        messages.warning(request, "That draft was decided meanwhile; here is the next one.")
        return _to(queue)
    try:
        with acting(actor, reason="review of drafts"):
            match act:
                case "accept":
                    done = Done.before("activate", [case])
                    case.activate(by=actor, reason="accepted in the review of drafts")
                    memory.remember(done)
                    messages.success(request, f"{case} is in use.")
                case "accept_all":
                    done = Done.before("activate", [case, *siblings_of(case, actor)])
                    accepted = accept_correction(case, by=actor)
                    memory.remember(done)
                    messages.success(request, f"{len(accepted)} drafts of the correction are in use.")
                case "retire":
                    done = Done.before("retire", [case])
                    case.retire(by=actor, reason=request.POST.get("reason", "").strip()[:4_000] or _RETIRED)
                    memory.remember(done)
                    messages.success(request, f"{case} is retired.")
                case "skip":
                    memory.skip(case)
                case "label":
                    return _label(request, queue, memory, case)
                case _:
                    messages.error(request, "Nothing was asked for: accept, edit, retire, skip or undo.")
    except DomainError as refusal:
        messages.error(request, str(refusal))
        return _to(queue, case)
    return _to(queue)


def _label(request: HttpRequest, queue: Queue, memory: "_Memory", case: Case) -> HttpResponse | LabelForm:
    form = LabelForm(request.POST, case=case, actor=queue.by)
    if not form.is_valid():
        return form
    data = form.cleaned_data
    given: dict[str, Any] = {
        "kind": data["kind"],
        "intent": data["intent"].slug if data["intent"] else "",
        "by": queue.by,
    }
    together = data["all_of_correction"]
    done = Done.before("label", [case, *(siblings_of(case, queue.by) if together else [])])
    try:
        if together:
            changed = label_correction(case, form.expectations(), **given)
            messages.success(request, f"{len(changed)} drafts of the correction expect this now.")
        else:
            label(case, form.expectations(), **given)
            messages.success(request, f"{case} expects this now. Accept it, or edit on.")
    except DomainError as refusal:
        form.add_error(None, str(refusal))
        return form
    memory.remember(done)
    return _to(queue, case)


def _undo(request: HttpRequest, queue: Queue, memory: "_Memory") -> HttpResponse:
    done = memory.take()
    if done is None:
        messages.warning(request, "There is nothing to undo in this session.")
        return _to(queue)
    if done.act == "skip":
        memory.unskip(done.cases[0][0])
        return _to(queue, queue.cases.filter(pk=done.cases[0][0]).first())
    try:
        cases = undo(done, queue.benchmark, by=queue.by)
    except DomainError as refusal:
        messages.error(request, str(refusal))
        return _to(queue)
    messages.success(request, f"Undone: {_named(cases)}.")
    return _to(queue, cases[0])


def _named(cases: list[Case]) -> str:
    return str(cases[0]) if len(cases) == 1 else f"{len(cases)} drafts"


def _to(queue: Queue, case: Case | None = None) -> HttpResponseRedirect:
    address = reverse("admin:evals_benchmark_queue", args=(queue.benchmark.pk,))
    query = [*(["exam=1"] if queue.shows_exam else []), *([f"case={case.pk}"] if case is not None else [])]
    return HttpResponseRedirect(f"{address}?{'&'.join(query)}" if query else address)


def _shown(
    request: HttpRequest, queue: Queue, memory: "_Memory", case: Case | None, form: LabelForm | None
) -> dict[str, Any]:
    benchmark = queue.benchmark
    context = {
        **admin.site.each_context(request), "title": f"Review drafts: {benchmark}", "benchmark": benchmark,
        "opts": Benchmark._meta, "media": forms.Media(css={"all": ["desk/desk.css", "evals/queue.css"]}), "queue": queue,
        "progress": queue.progress(), "countdown": coverage_of(benchmark).countdown, "case": case,
        "refusal": queue.refusal(), "can_undo": bool(memory.done),
        "num_exam": benchmark.cases.drafts().filter(split__in=EXAM_SPLITS).count(),
        "back": reverse("admin:evals_benchmark_change", args=(benchmark.pk,)),
    }  # fmt: skip
    if case is None or not ExamReader(queue.by).reads_case(case):
        return context | {"case": None}
    why = why_expected(case)
    siblings = siblings_of(case, queue.by)
    asked = form or LabelForm(initial=label_of(case), case=case, actor=queue.by)
    if not siblings:
        del asked.fields["all_of_correction"]
    return context | {
        "form": asked, "is_editing": form is not None, "num_siblings": len(siblings), "is_exam": case.split in EXAM_SPLITS,
        "expected": [(words, why.get(name, "")) for name, words in in_words(case.expectations)],
        "is_decided": case.status != Case.Status.DRAFT,
    }  # fmt: skip


class _Memory:
    """What a person did in this queue since they signed in: to undo it, and to show what they skipped last."""

    def __init__(self, request: HttpRequest, benchmark: Benchmark) -> None:
        self._session, self._key = request.session, f"drafts-{benchmark.pk}"
        kept = self._session.get(self._key, {})
        self.done = [
            Done(act, tuple((UUID(key), UUID(version)) for key, version in cases))
            for act, cases in kept.get("done", [])
        ]
        self.skipped = [UUID(key) for key in kept.get("skipped", [])]

    def remember(self, done: Done) -> None:
        self.done = [*self.done, done][-_MAX_REMEMBERED:]
        self._keep()

    def take(self) -> Done | None:
        done = self.done.pop() if self.done else None
        self._keep()
        return done

    def skip(self, case: Case) -> None:
        self.skipped = [*(key for key in self.skipped if key != case.pk), case.pk]
        self.remember(Done("skip", ((case.pk, case.pk),)))

    def unskip(self, key: UUID) -> None:
        self.skipped = [one for one in self.skipped if one != key]
        self._keep()

    def _keep(self) -> None:
        done = [(one.act, [(str(key), str(version)) for key, version in one.cases]) for one in self.done]
        self._session[self._key] = {"done": done, "skipped": [str(key) for key in self.skipped]}
