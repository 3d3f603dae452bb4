"""People label blindly, once, and never their own change; what they say measures the judge."""

import pytest
from django.db import IntegrityError, InternalError, connection, transaction
from django.utils import timezone

from accounts.acting import MACHINE
from accounts.exceptions import NotPermittedError
from accounts.models import Membership
from accounts.roles import Role
from audit.models import Event
from evals.exceptions import OwnChangeError
from evals.gate.policy import GatePolicy
from evals.judges.importing import import_labels
from evals.judges.labeling import AlreadyLabeledError, BadLabelError, item_of, label
from evals.judges.measuring import calibration_of, comparisons_of, draw_episodes
from evals.judges.rubric import BadRubricError
from evals.judges.waiting import disagreements, progress_of, waiting
from evals.models import JudgeCalibration, JudgeLabel, JudgeVerdict
from tests.console.world import make_episode
from tests.evals.judges.conftest import judged


@pytest.fixture
def approver(cast):
    return cast.approver.as_actor()


def test_label__then_shows_the_verdict_and_measures_the_judge(world, approver):
    good, bad = judged(world, [1, 1])

    first = label(world.rubric, good, grade="pass", by=approver)
    second = label(world.rubric, bad, grade=0, by=approver, note="it does not say how")

    assert (first.agrees, second.agrees) == (True, False)
    assert (second.verdict.grade, second.verdict.rationale) == (1, "<i>because</i> so")
    assert (second.label.grade, second.label.labeled_by_name, second.label.source) == (0, "approver", "desk")
    found = calibration_of(world.rubric, world.judge.digest)
    assert (found.num_labels, found.table, found.kappa) == (2, [[0, 1], [0, 1]], 0.0)
    assert Event.objects.filter(action="judgelabel.write", actor="approver").count() == 2


def test_label__twice_by_one_person__is_refused_and_a_second_opinion_does_not_count(world, cast, approver):
    [result] = judged(world, [1])
    label(world.rubric, result, grade=0, by=approver)

    with pytest.raises(AlreadyLabeledError, match="not taken back"):
        label(world.rubric, result, grade=1, by=approver)
    Membership.objects.create(user=cast.second_approver, team=cast.team, role=Role.SUPPORT)
    label(world.rubric, result, grade=1, by=cast.second_approver.as_actor())

    assert [one[:2] for one in comparisons_of(world.rubric, world.judge.digest)] == [(0, 1)]
    assert JudgeLabel.objects.count() == 2


@pytest.mark.parametrize("who", ["auditor", "release_manager", "administrator", "outsider"])
def test_label__without_the_permission__is_refused(world, cast, who):
    [result] = judged(world, [1])

    with pytest.raises(NotPermittedError, match="label_result"):
        label(world.rubric, result, grade=1, by=getattr(cast, who).as_actor())


@pytest.mark.parametrize("who", ["support", "on_call", "second_engineer"])
def test_label__of_the_exam_without_its_permission__is_refused_and_of_an_episode_allowed(world, cast, who):
    [result] = judged(world, [1])
    by = getattr(cast, who).as_actor()

    with pytest.raises(NotPermittedError, match="read_exam"):
        label(world.rubric, result, grade=1, by=by)
    done = label(world.rubric, world.episode, grade=1, by=by)

    assert (done.verdict, done.agrees) == (None, None)
    assert not Event.objects.filter(action="benchmark.read_exam").exists()


def test_label__by_the_machine__is_refused(world):
    with pytest.raises(NotPermittedError, match="what people say"):
        label(world.rubric, world.episode, grade=1, by=MACHINE)


def test_label__of_ones_own_change__is_refused_and_does_not_wait(world, cast):
    [result] = judged(world, [1])
    for role in (Role.APPROVER, Role.AUDITOR):
        Membership.objects.create(user=cast.engineer, team=cast.team, role=role)
    own = cast.engineer.as_actor()

    with pytest.raises(OwnChangeError, match="somebody else"):
        label(world.rubric, result, grade=1, by=own)
    assert not waiting(world.rubric, by=own).exists()


def test_label__of_what_the_rubric_does_not_judge__is_refused(world, approver, other_agent):
    [result] = judged(world, [1])
    stranger = make_episode(other_agent)
    result.run_case.expectations = {"contains": ["x"]}

    with pytest.raises(BadLabelError, match="does not judge"):
        label(world.rubric, result, grade=1, by=approver)
    with pytest.raises(BadRubricError, match="allowed are fail, pass"):
        label(world.rubric, world.episode, grade=2, by=approver)
    for named in ({"episode": stranger.pk}, {"result": stranger.pk}, {}, {"result": result.pk, "episode": stranger.pk}):
        with pytest.raises(BadLabelError):
            item_of(world.rubric, **named)


def test_waiting__order__evens_out_the_arms_and_prefers_new_clusters(world, approver):
    candidate = judged(world, [1] * 14)
    judged(world, [0] * 8, arm="baseline")
    for result in candidate[:2]:
        label(world.rubric, result, grade=1, by=approver)

    order = [(one.result.arm, one.known) for one in waiting(world.rubric, by=approver)]

    assert order == (
        [("baseline", False)] * 6 + [("baseline", True)] * 2 + [("candidate", False)] * 10 + [("candidate", True)] * 2
    )


def test_waiting__order__does_not_follow_the_verdicts(world, approver):
    judged(world, [0, 1] * 20)

    grades = [one.grade for one in waiting(world.rubric, by=approver)]

    assert sum(grades) == 20
    assert grades not in (sorted(grades), sorted(grades, reverse=True), [0, 1] * 20)


def test_waiting__for_who_reads_no_exam__are_episodes_only(world, cast, model):
    judged(world, [1] * 3)
    for name in "abc":
        make_episode(world.run.agent, name)
    assert draw_episodes(world.rubric, 2) == 2
    assert draw_episodes(world.rubric, 200) == 2  # those left of four

    of_support = waiting(world.rubric, by=cast.support.as_actor())
    of_approver = waiting(world.rubric, by=cast.approver.as_actor())

    assert {one.result_id for one in of_support} == {None}
    assert (of_support.count(), of_approver.count()) == (4, 7)
    assert not waiting(world.rubric, by=cast.auditor.as_actor()).exists()


def test_disagreements__are_those_with_the_first_label(world, approver):
    results = judged(world, [1, 0, 1])
    for result, grade in zip(results, (1, 1, 0), strict=True):
        label(world.rubric, result, grade=grade, by=approver, note=f"said {grade}")

    found = list(disagreements(world.rubric, by=approver))

    assert [(one.result_id, one.their_grade, one.their_name, one.their_note) for one in found] == [
        (results[2].pk, 0, "approver", "said 0"),
        (results[1].pk, 1, "approver", "said 1"),
    ]


def test_progress__counts_items_by_arm(world, approver):
    results = judged(world, [1, 0]) + judged(world, [1], arm="baseline")
    for result in results:
        label(world.rubric, result, grade=1, by=approver)
    label(world.rubric, world.episode, grade=1, by=approver)

    found = progress_of(world.rubric, GatePolicy())

    assert found.labels == {"baseline": 1, "candidate": 2, "": 1}
    assert (found.number, found.missing, found.percent) == (4, 96, 4)
    assert "97 more human labels" in found.faults  # the episode has no verdict to compare with


def test_import__labels_of_elsewhere__are_taken_once_all_or_none(world, approver):
    first, second = judged(world, [1, 0])
    lines = [
        {"result": str(first.pk), "grade": "pass", "by": "Reviewer of the agency"},
        {"result": str(second.pk), "grade": 0, "note": "wrong"},
        {"episode": world.episode.external_id, "grade": True},
    ]

    done = import_labels(world.rubric, lines, by=approver)
    again = import_labels(world.rubric, lines, by=approver)

    assert ((done.added, done.known), (again.added, again.known)) == ((3, 0), (0, 3))
    rows = JudgeLabel.objects.order_by("pk")
    assert [one.labeled_by_name for one in rows] == ["Reviewer of the agency", "approver", "approver"]
    assert {one.source for one in rows} == {"import"}
    assert calibration_of(world.rubric, world.judge.digest).num_labels == 2
    with pytest.raises(BadLabelError, match="Label 2: agent"):
        unknown = {"result": str(world.episode.pk), "grade": 1}
        import_labels(world.rubric, [{"episode": str(world.episode.pk), "grade": 1, "by": "x"}, unknown], by=approver)
    assert rows.count() == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (5, "no JSON object"),
        ({"grade": 1}, "name one item"),
        ({"result": "nonsense", "grade": 1}, "no id of a result"),
        ({"result": "00000000-0000-7000-8000-000000000000", "grade": 1}, "no such item"),
        ({"episode": "\x00", "grade": 1}, "'episode' must be"),
        ({"episode": "episode-shop-desk-one"}, "no grade"),
        ({"episode": "episode-shop-desk-one", "grade": "x"}, "no grade"),
        ({"episode": "episode-shop-desk-one", "grade": 1, "by": 7}, "'by' must be"),
        ({"episode": "episode-shop-desk-one", "grade": 1, "note": "\x00"}, "'note' must be"),
        ({"episode": "episode-shop-desk-one", "grade": 1, "verdict": 1}, "unknown fields"),
    ],
)
def test_import__line_that_does_not_say__is_refused_by_number(world, approver, line, words):
    with pytest.raises(BadLabelError, match=f"Label 1: .*{words}"):
        import_labels(world.rubric, [line], by=approver)


def test_import__of_the_exam_by_who_does_not_read_it__is_refused(world, cast):
    [result] = judged(world, [1])

    with pytest.raises(NotPermittedError, match="read_exam"):
        import_labels(world.rubric, [{"result": str(result.pk), "grade": 1}], by=cast.support.as_actor())


def test_rows__of_judges_and_people__are_never_changed(world, approver):
    [result] = judged(world, [1])
    label(world.rubric, result, grade=1, by=approver)
    now = timezone.now()

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL whetstone.test_flush = 'off'")
        for model in (JudgeLabel, JudgeVerdict, JudgeCalibration):
            for statement in ("UPDATE {} SET id = id", "DELETE FROM {}"):
                with pytest.raises((InternalError, IntegrityError), match="never changed"), transaction.atomic():
                    cursor.execute(statement.format(model._meta.db_table))
    assert JudgeLabel.objects.get().labeled_at <= now
