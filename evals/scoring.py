"""Score one reply against what a case expects: the door to all scorers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from accounts.exceptions import DomainError
from evals.judges.rubric import read_rubric
from evals.scorers import SCORERS, Part, Reply, problem_of, requires_escalation
from evals.scorers.states import checks
from harness.canonical import DocumentError, Json, clean_json

__all__ = [
    "ACCEPTS_HANDOFF", "FULL", "RUBRIC", "SCORERS", "Reply", "Scored", "UnknownExpectationError", "requires_escalation",
    "score", "validate_expectations",
]  # fmt: skip

FULL = 1_000
ACCEPTS_HANDOFF = "accepts_handoff"
RUBRIC = "rubric"  # scored by a judge, in evals.judges.scoring: no reply tells it by itself
MAX_BYTES = 50_000  # of one expectation


class UnknownExpectationError(DomainError):
    """A case expects something no scorer understands."""

    code = "unknown_expectation"
    http_status = 422


@dataclass(frozen=True)
class Scored:
    """A score in thousandths, whether it passed, what must never happen but did, and why."""

    score: int
    passed: bool
    violations: tuple[str, ...] = ()
    rationale: str = ""


def score(expectations: Mapping[str, Any], reply: Reply) -> Scored:
    """Return the mean of all expectations as thousandths; it passes only when every one is met in full.

    `accepts_handoff` makes a hand-off as good as meeting the others, but for what must not be said or done with it.
    """
    _validate_once(orjson.dumps(expectations, option=orjson.OPT_SORT_KEYS), tuple(checks().items()))
    names = [name for name in SCORERS if name in expectations]
    accepted = bool(expectations.get(ACCEPTS_HANDOFF)) and reply.handed_off
    if RUBRIC in expectations and not accepted:
        raise UnknownExpectationError("A rubric is graded by a judge while the case is played here, and by no rule.")
    if accepted:
        names = [name for name in names if SCORERS[name].forbids]
    parts = [_part(name, expectations[name], reply) for name in names] or [Part(1.0, "says nothing forbidden")]
    share = sum(part.share for part in parts) / len(parts)
    passed = all(part.share >= 1.0 for part in parts)
    rationale = "; ".join(part.rationale for part in parts)
    return Scored(
        # What is not met in full never rounds up to the full score.
        score=round(FULL * share) if passed else min(FULL - 1, round(FULL * share)),
        passed=passed,
        violations=tuple(violation for part in parts for violation in part.violations),
        rationale=f"handed off, which this case accepts; {rationale}" if accepted else rationale,
    )


@lru_cache(maxsize=4_096)
def _validate_once(expectations: bytes, state_checks: tuple[tuple[str, str], ...]) -> None:
    """Validate what a run scores hundreds of times, once for these checks of the installation."""
    validate_expectations(orjson.loads(expectations))


def _part(name: str, expectation: Any, reply: Reply) -> Part:
    try:
        return SCORERS[name].score(expectation, reply)
    except RecursionError:
        return Part(0.0, f"the reply is nested too deeply to be read by {name}")


def validate_expectations(expectations: object) -> None:
    """Raise `UnknownExpectationError` unless every expectation has a scorer and its shape, and there is at least one."""
    known = ", ".join((*SCORERS, RUBRIC))
    if not isinstance(expectations, Mapping):
        raise UnknownExpectationError(f"Expectations are one object, with one or more of {known}.")
    unknown = sorted(map(str, set(expectations) - {*SCORERS, ACCEPTS_HANDOFF, RUBRIC}))
    if unknown or not set(expectations) & {*SCORERS, RUBRIC}:
        raise UnknownExpectationError(
            f"Expectations {sorted(map(str, expectations))!r} cannot be scored; use one or more of {known}."
        )
    if not isinstance(expectations.get(ACCEPTS_HANDOFF, False), bool):
        raise UnknownExpectationError(f"Expectation {ACCEPTS_HANDOFF!r} is true or false, beside others.")
    if RUBRIC in expectations:
        read_rubric(expectations[RUBRIC])
    for name, value in expectations.items():
        problem = problem_of(name, _cleaned(name, value)) if name in SCORERS else ""
        if problem:
            raise UnknownExpectationError(problem)


def _cleaned(name: str, value: Any) -> Json:
    try:
        return clean_json(value, max_bytes=MAX_BYTES)
    except DocumentError as error:
        raise UnknownExpectationError(f"Expectation {name!r} is no plain JSON of a fair size: {error}") from error
