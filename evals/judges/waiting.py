"""What people have to label next, told without arm and verdict, and where they and the judge disagree."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import BooleanField, Case, CharField, Count, Exists, F, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import MD5, Cast, Coalesce

from accounts.access import can
from accounts.acting import Actor
from accounts.roles import Permission
from evals.gate.oversight import judge_faults
from evals.gate.policy import GatePolicy
from evals.judges.appointing import JudgeMissingError, current_judge
from evals.judges.measuring import calibration_of
from evals.models import JudgeCalibration, JudgeLabel, JudgeRubric, JudgeVerdict
from evals.readings import ARMS
from evals.secrecy import EXAM_SPLITS

__all__ = ["Progress", "disagreements", "judge_digest_of", "progress_of", "verdict_beside", "waiting"]


@dataclass(frozen=True)
class Progress:
    """How far a rubric's judge is from deciding: labels by arm (`""` for episodes), the newest calibration, what it lacks."""

    labels: Mapping[str, int]
    needed: int
    calibration: JudgeCalibration | None
    faults: list[str]
    judge_digest: str

    @property
    def number(self) -> int:
        return sum(self.labels.values())

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.number)

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.number / self.needed)) if self.needed else 100


def judge_digest_of(row: JudgeRubric) -> str:
    """Return the judge whose verdicts are labeled: the present one, else the one that was asked last; empty for none."""
    try:
        return current_judge(row.agent).digest
    except JudgeMissingError:
        last = row.judgeverdicts.order_by("-pk").values_list("judge_digest", flat=True).first()
        return str(last or "")


def progress_of(row: JudgeRubric, policy: GatePolicy) -> Progress:
    """Return how far the rubric's judge is from deciding by the agent's policy."""
    digest = judge_digest_of(row)
    labeled = row.judgelabels.order_by().values("result__arm").annotate(
        number=Count("result_id", distinct=True) + Count("episode_id", distinct=True)
    )  # fmt: skip
    labels = dict.fromkeys((*ARMS, ""), 0) | {one["result__arm"] or "": one["number"] for one in labeled}
    found = calibration_of(row, digest)
    faults = judge_faults(found.reading(), policy) if found else [f"{policy.judge_labels} human labels"]
    return Progress(labels, policy.judge_labels, found, faults, digest)


def waiting(row: JudgeRubric, *, by: Actor) -> QuerySet[Any]:
    """Return the verdicts whose items nobody has labeled and `by` may, the ones that are worth most first.

    The arm with fewer labels comes first, then clusters without a label. Within these the order is that of a digest, and
    never that of what the judge said: choosing by its verdict would bias what is measured of it.
    """
    labels = JudgeLabel.objects.filter(rubric=row)
    rows = _readable(row, by).filter(judge_digest=judge_digest_of(row)).exclude(
        Exists(labels.filter(result_id=OuterRef("result_id"))) | Exists(labels.filter(episode_id=OuterRef("episode_id")))
    )  # fmt: skip
    if by.user_id is not None:
        rows = rows.exclude(result__run__proposal__authors__user_id=by.user_id)
    known = Exists(labels.filter(result__run_case__cluster=OuterRef("result__run_case__cluster")))
    fewest = When(result__arm=_fewest(row), then=Value(False))
    other_arm = Case(fewest, default=Value(True), output_field=BooleanField())
    shuffled = MD5(Cast("pk", CharField()))
    told = {"other_arm": other_arm, "known": known, "shuffled": shuffled}
    ordered: QuerySet[Any] = rows.annotate(**told).order_by(*told)
    return ordered


def _fewest(row: JudgeRubric) -> str:
    """Return the arm with fewer labels."""
    counted = row.judgelabels.filter(result__isnull=False).order_by().values("result__arm").annotate(n=Count("pk"))
    counts: dict[Any, int] = dict.fromkeys(ARMS, 0) | {one["result__arm"]: one["n"] for one in counted}
    return min(ARMS, key=lambda arm: counts[arm])


def _readable(row: JudgeRubric, by: Actor) -> QuerySet[Any]:
    """Return the rubric's verdicts on items whose text `by` may read: what the exam says, only with that permission."""
    rows: QuerySet[Any] = JudgeVerdict.objects.filter(rubric=row).with_items()
    scope = row.access_scope()
    if not can(by, Permission.LABEL_RESULT, scope):
        return rows.none()
    if not can(by, Permission.READ_EXAM, scope):
        rows = rows.exclude(result__run_case__split__in=EXAM_SPLITS)
    return rows


def disagreements(row: JudgeRubric, *, by: Actor) -> QuerySet[Any]:
    """Return the verdicts with which a person disagreed, newest first, of items that `by` may read.

    `their_grade`, `their_name` and `their_note` are the first label's, which is the one that counts.
    """
    first = {
        f"their_{name}": Coalesce(_first_label(row, "result_id", field), _first_label(row, "episode_id", field))
        for name, field in (("grade", "grade"), ("name", "labeled_by_name"), ("note", "note"))
    }
    rows: Any = _readable(row, by).annotate(**first)
    differing: QuerySet[Any] = rows.filter(their_grade__isnull=False).exclude(their_grade=F("grade")).order_by("-pk")
    return differing


def _first_label(row: JudgeRubric, place: str, field: str) -> Subquery:
    labels = JudgeLabel.objects.filter(rubric=row, **{place: OuterRef(place)})
    return Subquery(labels.order_by("pk").values(field)[:1])


def verdict_beside(label: JudgeLabel) -> JudgeVerdict | None:
    """Return what a judge said of the item that was labeled, the newest; `None` where none was asked."""
    rows = JudgeVerdict.objects.filter(rubric=label.rubric_id).select_related("rubric").order_by("-pk")
    same = rows.filter(result=label.result_id) if label.result_id else rows.filter(episode=label.episode_id)
    found: JudgeVerdict | None = same.first()
    return found
