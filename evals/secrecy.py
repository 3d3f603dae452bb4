"""The exam's text: who may read it, and the record of those who did.

Whoever corrects or drafts reads no verify or hold-out case: a change written against the questions proves nothing.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.access import can
from accounts.acting import Actor
from accounts.roles import Permission
from audit.models import Event
from audit.record import record, reference
from evals.models import Benchmark, Case

__all__ = ["EXAM_SPLITS", "ExamReader", "readers_among", "writers_among"]

EXAM_SPLITS = (Case.Split.VERIFY.value, Case.Split.HOLDOUT.value)
_READ = "benchmark.read_exam"


class ExamReader:
    """Somebody who looks at rows of exams for the length of a request.

    Text that is shown to them is written down, once per person, benchmark and day.
    """

    def __init__(self, actor: Actor) -> None:
        self.actor = actor
        self._may: dict[UUID, bool] = {}
        self._noted: set[UUID] = set()

    def reads(self, benchmark: Benchmark, split: str, *, own_draft: bool = False) -> bool:
        """Return whether the text of a row of this split may be shown; call it where it then is shown."""
        if split not in EXAM_SPLITS or own_draft:
            return True
        if benchmark.pk not in self._may:
            self._may[benchmark.pk] = can(self.actor, Permission.READ_EXAM, benchmark.agent.access_scope())
        if self._may[benchmark.pk]:
            self._note(benchmark)
        return self._may[benchmark.pk]

    def reads_case(self, case: Case) -> bool:
        """Return whether the text of a case may be shown; its author sees it while it is a draft."""
        own = case.status == Case.Status.DRAFT and case.author_id is not None and case.author_id == self.actor.user_id
        return self.reads(case.benchmark, case.split, own_draft=own)

    def _note(self, benchmark: Benchmark) -> None:
        if benchmark.pk in self._noted:
            return
        self._noted.add(benchmark.pk)
        with transaction.atomic():
            today = _readings(benchmark, [self.actor.user_id]).filter(at__date=timezone.now().date())
            if not today.exists():
                record(_READ, benchmark, actor=self.actor, team_id=benchmark.agent.team_id)


def _readings(benchmark: Benchmark, people: Iterable[UUID | None]) -> Any:
    return Event.objects.about(reference(benchmark)).filter(action=_READ, actor_user_id__in=list(people))


def readers_among(people: Iterable[UUID], benchmark: Benchmark) -> list[str]:
    """Return the names of those who were shown text of the benchmark's exam."""
    return sorted(set(_readings(benchmark, people).values_list("actor", flat=True)))


def writers_among(people: Iterable[UUID], benchmark: Benchmark) -> list[str]:
    """Return the names of those who wrote cases by which the benchmark judges now."""
    own = benchmark.cases.active().filter(split__in=EXAM_SPLITS, author_id__in=list(people))
    return sorted(set(own.values_list("author__username", flat=True)))
