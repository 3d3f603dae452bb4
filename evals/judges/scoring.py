"""Score what was played, the judge asked where the case has a rubric: what a result says, and what its judge said."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evals.judges.appointing import Judge, current_judge, judge_of_run
from evals.judges.asking import JudgeFailedError, ask, no_connection_left
from evals.judges.material import material_to
from evals.judges.rubric import read_rubric
from evals.models import Case, Run, RunCase
from evals.runners import InfrastructureError
from evals.scoring import ACCEPTS_HANDOFF, RUBRIC, Reply, Scored, score
from harness.models import Agent

__all__ = ["outcome_of", "score_case"]


def outcome_of(run: Run, row: RunCase, reply: Reply) -> dict[str, Any]:
    """Return the fields of a result that say how it went.

    A judge that gave no grade drops the trial, as any failing infrastructure does: in both arms.
    """
    try:
        scored, judgment = _scored(row.expectations, row.messages, reply, lambda: judge_of_run(run), run.agent)
    except JudgeFailedError as error:
        return {"score": 0, "passed": False, "dropped": True, "rationale": str(error)}
    return {
        "score": scored.score, "passed": scored.passed, "violations": list(scored.violations),
        "rationale": scored.rationale, "judgment": judgment,
    }  # fmt: skip


def score_case(case: Case, reply: Reply) -> Scored:
    """Return how a case went that is played outside of any run, by the judge of the moment.

    Raises `InfrastructureError` where the judge gave no grade: the trial is as good as not played.
    """
    agent = case.benchmark.agent
    try:
        return _scored(case.expectations, case.messages, reply, lambda: current_judge(agent), agent)[0]
    except JudgeFailedError as error:
        raise InfrastructureError(str(error)) from error


def _scored(
    expectations: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], reply: Reply,
    judge_of: Callable[[], Judge], agent: Agent,
) -> tuple[Scored, dict[str, Any] | None]:  # fmt: skip
    """Return the score of all expectations, and what the judge said where it was asked."""
    accepted = expectations.get(ACCEPTS_HANDOFF) and reply.handed_off
    if RUBRIC not in expectations or accepted:
        return score(expectations, reply), None
    rubric = read_rubric(expectations[RUBRIC])
    with no_connection_left():
        judge = judge_of()
        given = ask(judge, rubric, material_to(messages, reply), agent=agent)
    judgment = {
        "judge": judge.digest, "rubric": rubric.digest, "grade": given.grade, "rationale": given.rationale,
        "call": str(given.call_id),
    }  # fmt: skip
    own = Scored(
        score=rubric.score(given.grade), passed=rubric.passes(given.grade),
        rationale=f"the judge says {rubric.word(given.grade)}: {given.rationale}",
    )  # fmt: skip
    others = {name: value for name, value in expectations.items() if name != RUBRIC}
    number = len(others.keys() - {ACCEPTS_HANDOFF})
    return (_together(score(others, reply), number, own) if number else own), judgment


def _together(rest: Scored, number: int, own: Scored) -> Scored:
    """Return the mean of `number` other expectations and the rubric; it passes only where both do."""
    return replace(
        rest, score=round((rest.score * number + own.score) / (number + 1)), passed=rest.passed and own.passed,
        rationale=f"{rest.rationale}; {own.rationale}",
    )  # fmt: skip
