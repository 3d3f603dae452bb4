"""What the gate hears of a judge: nothing, until people have labeled enough; and again nothing when it changes."""

import random
from dataclasses import replace

import pytest

from accounts.acting import MACHINE
from accounts.exceptions import NotPermittedError
from evals.gate import judge as judge_run
from evals.gate.policy import GatePolicy
from evals.judge_jobs import calibrate_anew, draw_for_labeling
from evals.judges.appointing import current_judge
from evals.judges.document import JUDGE_DOCUMENT
from evals.judges.importing import import_labels
from evals.judges.measuring import calibration_of, comparisons_of, judge_labeled, measure, reading_for_run
from evals.judges.requesting import ask_for_calibration, ask_for_episodes
from evals.judges.waiting import progress_of
from evals.models import JudgeCalibration, JudgeVerdict
from evals.verdicts import readings_of
from jobs.models import Task
from tests.evals.judges.conftest import judged
from tests.evals.judges.model import grading
from tests.evals.judges.test_asking import served_by

POLICY = GatePolicy()


def labeled(world, cast, number=120, accuracy=0.97, seed=2):
    """Results of both arms with verdicts, and labels with which the judge agrees that often; both grades are there."""
    draw, by = random.Random(seed), cast.approver.as_actor()
    results, lines = [], []
    for arm in ("baseline", "candidate"):
        truths = [index % 2 for index in range(number // 2)]
        said = [truth if draw.random() < accuracy else 1 - truth for truth in truths]
        made = judged(world, said, arm=arm)
        results += made
        lines += [{"result": str(one.pk), "grade": truth} for one, truth in zip(made, truths, strict=True)]
    import_labels(world.rubric, lines, by=by)
    return results


def gate_of(world, policy=POLICY):
    return judge_run(readings_of(world.run), policy).gate("judge")


def test_gate__run_with_rubrics_and_no_label__is_held_and_says_so(world):
    judged(world, [1, 0, 1])
    judged(world, [0, 0, 1], arm="baseline")

    reading = gate_of(world)

    assert reading.verdict == "hold"
    assert reading.sentence == "hold: the judge is advisory on 'refund' (no labels); it needs 100 human labels."
    assert reading.numbers["kappa"] is None


def test_gate__judge_that_people_disagree_with__is_held_with_the_measured_kappa(world, cast):
    labeled(world, cast, accuracy=0.7)

    reading = gate_of(world)

    found = calibration_of(world.rubric, world.run.judge_digest)
    assert reading.verdict == "hold"
    assert f"kappa {found.kappa:.2f} on 120 labels in 12 clusters" in reading.sentence
    assert "to reach 0.70" in reading.sentence


def test_gate__judge_that_agrees_on_both_arms__may_decide_and_asks_for_more_clusters(world, cast):
    labeled(world, cast)

    verdict = judge_run(readings_of(world.run), replace(POLICY, judge_arm_gap=0.10))

    found = calibration_of(world.rubric, world.run.judge_digest)
    assert verdict.gate("judge").verdict == "pass", verdict.gate("judge").sentence
    assert found.kappa_lower > 0.55
    # 24 clusters over the square of sensitivity + specificity - 1, both arms together.
    youden = verdict.gate("judge").numbers["youden"]
    assert verdict.gate("target").numbers["clusters_needed"] == -(-24 // youden**2) > 24


def test_gate__only_one_arm_labeled__is_held_for_the_other(world, cast):
    made = judged(world, [0, 1] * 55)
    lines = [{"result": str(one.pk), "grade": index % 2} for index, one in enumerate(made)]
    import_labels(world.rubric, lines, by=cast.approver.as_actor())

    reading = gate_of(world)

    assert reading.verdict == "hold"
    assert "labels of both arms" in reading.sentence


def test_gate__without_rubrics__says_that_no_model_judged(world):
    for row in world.run.run_cases.all():
        row.expectations = {"contains": ["x"]}

    assert reading_for_run(world.run, [], POLICY) is None
    assert reading_for_run(world.run, [row], POLICY) is None


def test_gate__several_rubrics__listens_to_the_weakest(world, cast):
    labeled(world, cast)
    rows = list(world.run.run_cases.all())
    rows[0].expectations = {"rubric": {"text": "It is kind."}}

    reading = reading_for_run(world.run, rows, POLICY)

    assert (reading.rubric, reading.labels, reading.kappa) == ("It is kind.", 0, None)


def test_measure__same_labels__are_kept_once(world, cast):
    labeled(world, cast, number=8)
    known = JudgeCalibration.objects.count()

    first, second = (measure(world.rubric, world.judge.digest, by=MACHINE) for _ in range(2))

    assert first == second
    assert JudgeCalibration.objects.count() == known
    assert sum(map(sum, first.table)) == first.num_labels == 8
    assert first.num_clusters == 4
    assert str(first).startswith("kappa ")


def test_new_judge__starts_without_a_calibration_and_gets_one_from_the_same_labels(world, cast, model):
    labeled(world, cast, number=12)
    served_by(world.judge, JUDGE_DOCUMENT | {"prompt": {"system": "Judge more kindly."}})
    other = current_judge(world.run.agent)
    assert progress_of(world.rubric, POLICY).calibration is None

    model.answer = grading(lambda _: 1)
    measured = judge_labeled(world.rubric)
    again = judge_labeled(world.rubric)

    assert (measured.judge_digest, measured.num_labels, measured.table) == (other.digest, 12, [[0, 6], [0, 6]])
    assert again == measured
    assert len(model.asked) == 12  # nothing is asked twice
    assert len(comparisons_of(world.rubric, world.judge.digest)) == 12
    assert gate_of(world).numbers["labels"] == 12  # the run keeps the judge it has fixed


def test_new_judge__that_fails_on_some__is_measured_on_the_others(world, cast, model):
    labeled(world, cast, number=6)
    served_by(world.judge, JUDGE_DOCUMENT | {"prompt": {"system": "Judge."}})
    answers = iter([{"rationale": "x", "grade": 1}, 400, *[{"rationale": "x", "grade": 0}] * 4])
    model.answer = lambda _: next(answers)

    assert judge_labeled(world.rubric).num_labels == 5


def test_requests__leave_word_for_jobs_and_need_the_permission(world, cast, model):
    engineer = cast.engineer.as_actor()

    said = ask_for_calibration(world.rubric, by=engineer)
    ask_for_calibration(world.rubric, by=engineer)
    ask_for_episodes(world.rubric, number=5, by=engineer)

    assert "is asked about what people labeled" in said
    assert sorted(Task.objects.values_list("name", flat=True)) == [calibrate_anew.name, draw_for_labeling.name]
    with pytest.raises(NotPermittedError):
        ask_for_calibration(world.rubric, by=cast.support.as_actor())


def test_jobs__carry_to_the_verbs(world, cast, model):
    calibrate_anew(str(world.rubric.pk))
    draw_for_labeling(str(world.rubric.pk), 3)

    assert JudgeVerdict.objects.filter(episode=world.episode).count() == 1
