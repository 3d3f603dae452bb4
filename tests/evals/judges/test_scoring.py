"""Scores with a rubric: how the judge's grade joins what else is expected, and what becomes of a trial without one."""

import pytest

from evals.benchmarks import add_cases
from evals.freezing import begin_run
from evals.judges.appointing import JudgeMissingError, appoint_judge
from evals.judges.rubric import BadRubricError, read_rubric
from evals.judges.scoring import outcome_of, score_case
from evals.models import Case, JudgeRubric
from evals.runners import InfrastructureError
from evals.scoring import Reply, score
from tests.console.world import make_episode, make_proposal
from tests.evals.judges.conftest import RUBRIC, make_exam
from tests.evals.judges.model import grading

ORDINAL = {
    "text": "How clear is it?", "scale": "ordinal", "top": 4, "pass_mark": 3, "anchors": {"0": "not", "4": "fully"},
}  # fmt: skip
SAID = Reply(output={"text": "By card."})
HANDED_OFF = Reply(output={"text": "A colleague takes over.", "handoff": True})


def outcome(world, expectations, played=SAID):
    row = world.run.run_cases.first()
    row.expectations = expectations
    return outcome_of(world.run, row, played)


def test_rubric_alone__grade__is_the_score_with_the_judges_reasons(world, model):
    model.answer = grading(lambda _: 3)

    found = outcome(world, {"rubric": ORDINAL})

    assert (found["score"], found["passed"], found["violations"]) == (750, True, [])
    assert found["rationale"] == "the judge says 3: because of what it says"
    said = found["judgment"]
    assert (said["judge"], said["grade"]) == (world.run.judge_digest, 3)
    assert said["rubric"] == read_rubric(ORDINAL).digest


@pytest.mark.parametrize(
    ("grade", "text", "score_wanted", "passed"),
    [(1, "By card.", 1000, True), (0, "By card.", 500, False), (1, "By cash.", 500, False)],
)
def test_rubric_beside_others__is_one_expectation_among_them(world, model, grade, text, score_wanted, passed):
    model.answer = grading(lambda _: grade)

    found = outcome(world, {"contains": ["card"], "rubric": RUBRIC}, Reply(output={"text": text}))

    assert (found["score"], found["passed"]) == (score_wanted, passed)
    assert "the judge says" in found["rationale"]


def test_rubric_beside_two_others__weighs_a_third(world, model):
    model.answer = grading(lambda _: 0)

    found = outcome(world, {"contains": ["card"], "excludes": ["cash"], "rubric": RUBRIC})

    assert found["score"] == 667


def test_handoff_that_the_case_accepts__asks_no_judge(world, model):
    found = outcome(world, {"rubric": RUBRIC, "accepts_handoff": True}, HANDED_OFF)

    assert (found["passed"], found["judgment"], model.asked) == (True, None, [])


def test_handoff_accepted_but_not_made__is_judged(world, model):
    found = outcome(world, {"rubric": RUBRIC, "accepts_handoff": True})

    assert (found["passed"], len(model.asked)) == (True, 1)


def test_judge_that_fails__drops_the_trial_and_says_nothing_of_quality(world, model):
    model.answer = lambda _: 503

    found = outcome(world, {"contains": ["card"], "rubric": RUBRIC})

    assert (found["dropped"], found["score"], found["passed"]) == (True, 0, False)
    assert "gave no grade" in found["rationale"]


def test_case_outside_of_a_run__is_judged_by_the_judge_of_the_moment_or_not_played(world, model):
    case = Case.objects.get(name="refund-0")

    assert score_case(case, SAID).passed is True
    model.answer = lambda _: 503
    with pytest.raises(InfrastructureError, match="no grade"):
        score_case(case, SAID)


def test_case_without_a_rubric__asks_nobody(world, model):
    expectations = {"contains": ["card"]}

    found = outcome(world, expectations)

    assert (found["score"], found["judgment"], model.asked) == (1000, None, [])
    assert score(expectations, SAID).passed


def test_add_cases__rubric_that_cannot_be_graded_by__is_refused(other_agent, cast):
    with pytest.raises(BadRubricError, match="text"):
        make_exam(other_agent, cast.outsider.as_actor(), expectations={"rubric": {"scale": "binary"}})


def test_add_cases__each_wording_of_a_rubric__is_kept_once(exam, cast, agent):
    item = {"kind": "edge", "split": "dev", "messages": [], "expectations": {"rubric": RUBRIC | {"name": "other name"}}}
    other = {**item, "name": "y", "expectations": {"rubric": {"text": "It is kind."}}}
    add_cases(exam, [{**item, "name": "x"}, other, {**other, "name": "z"}], by=cast.approver.as_actor())

    assert sorted(JudgeRubric.objects.filter(agent=agent).values_list("name", flat=True)) == ["It is kind.", "refund"]


def submitted(agent, author):
    proposal = make_proposal(agent, make_episode(agent), author=author)
    proposal.submit(by=author.as_actor(), reason="ready")
    return proposal


def test_begin_run__with_rubrics__fixes_one_judge_for_both_arms(other_agent, cast, model):
    make_exam(other_agent, cast.outsider.as_actor(), number=1)
    proposal = submitted(other_agent, cast.outsider)
    with pytest.raises(JudgeMissingError, match="appoint a judge"):
        begin_run(proposal)
    proposal.refresh_from_db()
    own = appoint_judge(other_agent, by=cast.outsider.as_actor(), reason="somebody must")

    run = begin_run(proposal)

    run.refresh_from_db()
    assert (run.judge_version, run.judge_model, len(run.judge_digest)) == (own.stable, "small", 64)


def test_begin_run__without_rubrics__needs_no_judge(other_agent, cast):
    make_exam(other_agent, cast.outsider.as_actor(), number=1, expectations={"contains": ["card"]})

    run = begin_run(submitted(other_agent, cast.outsider))

    assert (run.judge_version, run.judge_digest) == (None, "")
