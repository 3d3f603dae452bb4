"""The queue of drafts: which one comes next for a person, how far the review is, and how the last act is undone."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Q

from accounts.access import can
from accounts.acting import Actor
from accounts.exceptions import DomainError
from accounts.roles import Permission
from evals.exceptions import OwnChangeError
from evals.labeling import restore_label, reviewable
from evals.models import Benchmark, Case
from evals.querysets import CaseQuerySet
from evals.secrecy import EXAM_SPLITS, readers_among

__all__ = ["Done", "Progress", "Queue", "undo"]


@dataclass(frozen=True)
class Progress:
    """How many of the drafts a person may review are decided; `hidden` wait for somebody who may read the exam."""

    reviewed: int
    total: int
    hidden: int

    @property
    def percent(self) -> int:
        return round(100 * self.reviewed / self.total) if self.total else 0


@dataclass(frozen=True)
class Done:
    """An act of the queue that can be undone: the cases, each with the version of its history before the act."""

    act: str
    cases: tuple[tuple[UUID, UUID], ...]

    @classmethod
    def before(cls, act: str, cases: Sequence[Case]) -> "Done":
        """Remember how the cases stand now, before `act`."""
        return cls(act, tuple((case.pk, case.history.latest().history_id) for case in cases))


class Queue:
    """A benchmark's drafts as one person reviews them.

    Verify and hold-out cases are in it for who may read the exam, and only once they want to: from the first one on
    they are a reader of the exam, and write no change that this benchmark judges.
    """

    def __init__(self, benchmark: Benchmark, by: Actor, *, wants_exam: bool = False) -> None:
        self.benchmark, self.by = benchmark, by
        scope = benchmark.agent.access_scope()
        self.may_read_exam = can(by, Permission.READ_EXAM, scope)
        self.has_read_exam = by.user_id is not None and bool(readers_among([by.user_id], benchmark))
        self.shows_exam = self.may_read_exam and (wants_exam or self.has_read_exam)

    @property
    def cases(self) -> CaseQuerySet:
        """Return the cases this queue shows, whatever became of them."""
        rows = reviewable(self.benchmark, self.by)
        return rows if self.shows_exam else rows.exclude(split__in=EXAM_SPLITS)

    def next(self, *, skipped: Sequence[UUID] = ()) -> Case | None:
        """Return the draft to review next.

        What fills most comes first, after it what expects nothing yet, and what was skipped last, in its order.
        """
        drafts = self.cases.drafts().select_related("benchmark__agent", "intent", "episode__conversation", "correction")
        ordered = drafts.order_by(ExpressionWrapper(Q(expectations={}), output_field=BooleanField()), "pk")
        fresh = ordered.exclude(pk__in=skipped).first()
        again = (ordered.filter(pk=key).first() for key in skipped) if fresh is None else ()
        return fresh or next((case for case in again if case is not None), None)

    def progress(self) -> Progress:
        """Return how far the review of what was drafted from episodes, and of other waiting drafts, is."""
        shown = self.cases
        reviewed = shown.exclude(status=Case.Status.DRAFT).filter(episode__isnull=False).count()
        waiting = shown.drafts().count()
        return Progress(reviewed, reviewed + waiting, self.benchmark.cases.drafts().count() - waiting)

    def refusal(self) -> str:
        """Return why the domain will refuse this person's acts on the exam; empty where it will not."""
        try:
            self.benchmark.refuse_examinees(self.by, "put a case in use")
        except OwnChangeError as refusal:
            return str(refusal)
        return ""


@transaction.atomic
def undo(done: Done, benchmark: Benchmark, *, by: Actor) -> list[Case]:
    """Take an act back on all its cases, and return them: what was put in use or retired is a draft again.

    What was played or changed since is refused, and then nothing is taken back.
    """
    versions = dict(done.cases)
    rows = benchmark.cases.filter(pk__in=versions).select_related("benchmark__agent").order_by("pk")
    cases = list(rows)
    if len(cases) < len(versions):
        raise DomainError("A case of that act is gone; nothing is taken back.")
    for case in cases:
        if done.act == "label":
            restore_label(case, versions[case.pk], by=by)
        else:
            case.reopen(by=by, reason="taken back in the queue")
    return cases
