"""A case of a run, both arms beside each other trial by trial; texts only for those who may read the exam."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evals.models import Result, RunCase
from evals.reporting.steps import StepLine, step_diff
from evals.reporting.words import Passage, word_diff
from evals.secrecy import ExamReader

__all__ = ["CasePage", "Side", "TrialPage", "case_page"]


@dataclass(frozen=True)
class Side:
    """One arm's trial. A crash or a drop is named as such: neither says anything about the quality of an answer.

    `said` and `rest` are the output's text and its other fields.
    """

    result: Result | None
    said: tuple[Passage, ...] = ()
    rest: tuple[Passage, ...] = ()

    @property
    def state(self) -> str:
        if self.result is None:
            return "not played"
        if self.result.dropped:
            return "dropped"
        if self.result.crashed:
            return "crashed"
        return "passed" if self.result.passed else "failed"

    @property
    def score(self) -> float | None:
        """Return the score as a fraction; there is none without an answer."""
        return None if self.state not in {"passed", "failed"} or self.result is None else self.result.score / 1000

    @property
    def rationale(self) -> str:
        return self.result.rationale if self.result else ""


@dataclass(frozen=True)
class TrialPage:
    """One trial in both arms, and what differs in its steps where both answered. Numbered from 1."""

    number: int
    baseline: Side
    candidate: Side
    steps: tuple[StepLine, ...]

    @property
    def is_compared(self) -> bool:
        """Return whether both arms answered."""
        return _answered(self.baseline.result) and _answered(self.candidate.result)

    @property
    def num_differing(self) -> int:
        return sum(step.difference != "same" for step in self.steps)


@dataclass(frozen=True)
class CasePage:
    """A case of a run as one reader may see it; without `is_read` there are numbers and no text."""

    row: RunCase
    is_read: bool
    trials: tuple[TrialPage, ...]
    messages: tuple[Any, ...] = ()
    expectations: tuple[tuple[str, Any], ...] = ()
    user_state: tuple[tuple[str, Any], ...] = ()


def case_page(row: RunCase, reader: ExamReader) -> CasePage:
    """Return the case for this reader; that text of an exam was shown is written down by asking for it."""
    is_read = reader.reads(row.case.benchmark, row.split)
    results = row.results.order_by("trial", "arm")
    if not is_read:
        results = results.defer("output", "steps", "rationale")
    trials: dict[int, dict[str, Result]] = {}
    for result in results:
        trials.setdefault(result.trial, {})[result.arm] = result
    # The first trial is 0 or 1, by who played it; people count from 1 either way.
    pages = tuple(_trial(n, arms, is_read=is_read) for n, arms in enumerate(trials.values(), 1))
    if not is_read:
        return CasePage(row, is_read, pages)
    return CasePage(row, is_read, pages, tuple(row.messages), _fields(row.expectations), _fields(row.user_state))


def _fields(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the fields as pairs: a template would take a field named `items` for the method."""
    return tuple(
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
        for name, value in mapping.items()
    )


def _trial(number: int, arms: Mapping[str, Result], *, is_read: bool) -> TrialPage:
    baseline, candidate = arms.get("baseline"), arms.get("candidate")
    if not is_read:
        return TrialPage(number, Side(baseline), Side(candidate), ())
    if baseline is None or candidate is None or not (_answered(baseline) and _answered(candidate)):
        # Only answers are compared: nothing is different about what is not there.
        return TrialPage(number, _alone(baseline), _alone(candidate), ())
    said = word_diff(_said(baseline), _said(candidate))
    rest = word_diff(_rest(baseline), _rest(candidate))
    steps = step_diff(baseline.steps, candidate.steps)
    return TrialPage(
        number,
        Side(baseline, tuple(said[0]), tuple(rest[0])),
        Side(candidate, tuple(said[1]), tuple(rest[1])),
        tuple(steps),
    )


def _answered(result: Result | None) -> bool:
    return result is not None and not result.crashed and not result.dropped


def _alone(result: Result | None) -> Side:
    said, rest = (word_diff(text, text)[0] for text in (_said(result), _rest(result)))
    return Side(result, tuple(said), tuple(rest))


def _output(result: Result | None) -> Mapping[str, Any]:
    output: Any = result.output if result else {}
    return output if isinstance(output, Mapping) else {"text": output}


def _said(result: Result | None) -> str:
    said = _output(result).get("text", "")
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)


def _rest(result: Result | None) -> str:
    rest = {name: value for name, value in _output(result).items() if name != "text"}
    return json.dumps(rest, indent=1, sort_keys=True, ensure_ascii=False, default=str) if rest else ""
