"""Measure a judge against people's labels, ask a new one about what they labeled, and tell the gate what came of it."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import transaction

from accounts.acting import MACHINE, Actor
from episodes.models import Episode
from evals.gate.oversight import judge_faults
from evals.gate.policy import GatePolicy
from evals.judges.agreement import Comparison
from evals.judges.appointing import Judge, current_judge
from evals.judges.asking import JudgeFailedError, ask
from evals.judges.calibrating import Calibration, calibrate
from evals.judges.material import Item, material_of
from evals.judges.noting import keep_verdict
from evals.judges.rubric import read_rubric
from evals.models import JudgeCalibration, JudgeLabel, JudgeRubric, JudgeVerdict, Run, RunCase
from evals.readings import ARMS
from evals.readings import JudgeCalibration as CalibrationReading
from evals.scoring import RUBRIC

__all__ = [
    "MAX_DRAWN", "calibration_of", "comparisons_of", "draw_episodes", "judge_labeled", "measure", "reading_for_run",
]  # fmt: skip

MAX_DRAWN = 200
_DRAWN_FROM = 2_000
_PLACE = ("result_id", "episode_id")


def comparisons_of(row: JudgeRubric, judge_digest: str) -> list[Comparison]:
    """Return each labeled item that this judge graded, with the first label it got.

    Later labels of an item are second opinions, mostly on items where judge and person disagree: to count them would
    revise only what speaks against the judge.
    """
    verdicts = JudgeVerdict.objects.filter(rubric=row, judge_digest=judge_digest)
    graded = {(result, episode): grade for result, episode, grade in verdicts.values_list(*_PLACE, "grade")}
    labels = JudgeLabel.objects.filter(rubric=row).order_by("pk").values(
        *_PLACE, "grade", "result__arm", "result__run_case__cluster", "episode__conversation__subject",
        "episode__conversation_id",
    )  # fmt: skip
    found: dict[Any, Comparison] = {}
    for label in labels:
        place = (label["result_id"], label["episode_id"])
        if place in graded and place not in found:
            found[place] = Comparison(label["grade"], graded[place], _cluster(label), label["result__arm"] or "")
    return list(found.values())


def _cluster(label: dict[str, Any]) -> str:
    """Return what makes items dependent: a case's cluster; of an episode its user, else its conversation."""
    if label["result_id"] is not None:
        return f"case {label['result__run_case__cluster']}"
    subject = label["episode__conversation__subject"]
    return f"user {subject}" if subject else f"talk {label['episode__conversation_id']}"


def calibration_of(row: JudgeRubric, judge_digest: str) -> JudgeCalibration | None:
    """Return the newest calibration of this judge on this rubric; `None` where it has none."""
    return row.calibrations.filter(judge_digest=judge_digest).order_by("-pk").first()


@transaction.atomic
def measure(row: JudgeRubric, judge_digest: str, *, by: Actor) -> JudgeCalibration:
    """Measure the judge by the labels there are and keep the result; equal numbers are kept once.

    One at a time for each rubric: else of two people who label in the same moment neither's would count the other's.
    """
    JudgeRubric.objects.select_for_update(no_key=True).get(pk=row.pk)
    found = comparisons_of(row, judge_digest)
    rubric = row.rubric
    measured = calibrate(found, top=rubric.top, pass_mark=rubric.pass_mark, per_arm=True)
    fields = _fields(measured) | {"table": _table(found, rubric.top)}
    last = calibration_of(row, judge_digest)
    if last is not None and all(getattr(last, name) == value for name, value in fields.items()):
        return last
    return JudgeCalibration.objects.create(rubric=row, judge_digest=judge_digest, measured_by=by.name, **fields)


def _fields(measured: Calibration) -> dict[str, Any]:
    rates = {
        f"{name}_{arm}": measured.by_arm[arm][place].share
        for arm in ARMS
        for place, name in enumerate(("sensitivity", "specificity"))
    }
    found = measured.agreement
    return {
        "num_labels": found.labels, "num_clusters": found.clusters, "kappa": found.kappa, "kappa_lower": found.lower,
        "kappa_upper": found.upper, **rates,
    }  # fmt: skip


def _table(comparisons: Iterable[Comparison], top: int) -> list[list[int]]:
    table = [[0] * (top + 1) for _ in range(top + 1)]
    for one in comparisons:
        table[one.label][one.verdict] += 1
    return table


def judge_labeled(row: JudgeRubric, *, by: Actor = MACHINE) -> JudgeCalibration:
    """Ask the present judge about every labeled item it has not graded, then measure it. Call outside transactions.

    This is how a new version of the judge, or a new model behind it, becomes calibrated: the labels stay. Asking again
    goes on where the last one stopped.
    """
    judge = current_judge(row.agent)
    for item in _ungraded(row, judge.digest):
        _grade(row, judge, item)
    return measure(row, judge.digest, by=by)


def _ungraded(row: JudgeRubric, judge_digest: str) -> Iterator[Item]:
    graded = set(row.judgeverdicts.filter(judge_digest=judge_digest).values_list(*_PLACE))
    labels = JudgeLabel.objects.filter(rubric=row).with_items().order_by("pk")
    for label in labels:
        if (label.result_id, label.episode_id) not in graded:
            graded.add((label.result_id, label.episode_id))
            yield label.item


def draw_episodes(row: JudgeRubric, number: int) -> int:
    """Ask the present judge about episodes drawn at random from the newest, for people to label; return how many.

    Episodes have no arm: they say how the judge agrees with people, and not whether it treats the arms alike.
    """
    judge = current_judge(row.agent)
    known = row.judgeverdicts.filter(judge_digest=judge.digest, episode__isnull=False).values("episode_id")
    newest = Episode.objects.filter(agent_id=row.agent_id).exclude(pk__in=known).order_by("-pk")
    # Drawn by a digest, so that asking again after a crash goes on with the same ones.
    drawn = sorted(newest.values_list("pk", flat=True)[:_DRAWN_FROM], key=lambda pk: hashlib.sha256(pk.bytes).digest())
    episodes = Episode.objects.filter(pk__in=drawn[: min(number, MAX_DRAWN)]).select_related("conversation")
    return sum(_grade(row, judge, episode) for episode in episodes)


def _grade(row: JudgeRubric, judge: Judge, item: Item) -> bool:
    try:
        given = ask(judge, row.rubric, material_of(item), agent=row.agent)
    except JudgeFailedError:
        return False
    keep_verdict(row, item, judge_digest=judge.digest, grade=given.grade, rationale=given.rationale)
    return True


def reading_for_run(run: Run, rows: Iterable[RunCase], policy: GatePolicy) -> CalibrationReading | None:
    """Return the calibration by which a run's judge may decide or not; `None` where no case has a rubric.

    With several rubrics it is the weakest one's: the judge decides on all of them or on none.
    """
    rubrics = [read_rubric(case.expectations[RUBRIC]) for case in rows if RUBRIC in case.expectations]
    if not rubrics:
        return None
    named = {rubric.digest: rubric.title for rubric in rubrics}
    known = {row.digest: row for row in JudgeRubric.objects.filter(agent_id=run.agent_id, digest__in=named)}
    readings = []
    for digest, title in sorted(named.items()):
        found = calibration_of(known[digest], run.judge_digest) if digest in known else None
        unlabeled = CalibrationReading(None, None, 0, None, None, None, None, rubric=title)
        readings.append(unlabeled if found is None else found.reading())
    return max(readings, key=lambda one: _weakness(one, policy))


def _weakness(reading: CalibrationReading, policy: GatePolicy) -> tuple[float, ...]:
    """Return what is larger for a judge that is further from deciding; among those that may, the noisier is weaker."""
    return (reading.kappa is None, len(judge_faults(reading, policy)), -(reading.youden or 0.0))
