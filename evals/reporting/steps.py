"""Compare what two trials did, step by step: which tools were called, with what arguments, in what order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

__all__ = ["StepLine", "step_diff"]

type Difference = Literal["same", "arguments", "result", "baseline_only", "candidate_only", "moved"]

# What a step was asked, and what came of it; times and ids differ in every trial and mean nothing here.
_ASKED = ("input", "arguments", "query")
_CAME = ("output", "result", "status", "error", "documents", "sources")
# A trial with more steps than this is no small answer; the rest is counted, not compared.
MAX_STEPS = 300


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of either arm, or the same step of both.

    `place` is its number in the baseline or the candidate, counted from 1. `moved` steps are those that both arms took
    with equal arguments at another point of the order; they stand where each arm took them.
    """

    difference: Difference
    kind: str
    name: str
    baseline_place: int | None = None
    candidate_place: int | None = None
    baseline_asked: str = ""
    candidate_asked: str = ""
    baseline_came: str = ""
    candidate_came: str = ""

    @property
    def words(self) -> str:
        """Return the difference as a reviewer reads it."""
        return {
            "same": "same", "arguments": "other arguments", "result": "other result",
            "baseline_only": "only in the baseline", "candidate_only": "only in the candidate", "moved": "other order",
        }[self.difference]  # fmt: skip


def step_diff(baseline: Sequence[Any], candidate: Sequence[Any]) -> list[StepLine]:
    """Return the steps of both arms in one list, aligned by kind and name; what is no step is shown as its text."""
    left, right = ([_read(step) for step in steps[:MAX_STEPS]] for steps in (baseline, candidate))
    matches = SequenceMatcher(None, [one.key for one in left], [one.key for one in right], autojunk=False)
    lines: list[StepLine] = []
    for tag, i, j, k, m in matches.get_opcodes():
        if tag == "equal":
            lines += [_both(i + n, k + n, left[i + n], right[k + n]) for n in range(j - i)]
            continue
        lines += [_one("baseline_only", n, left[n]) for n in range(i, j)]
        lines += [_one("candidate_only", n, right[n]) for n in range(k, m)]
    return _with_moves(lines)


@dataclass(frozen=True, slots=True)
class _Step:
    kind: str
    name: str
    asked: str
    came: str

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name


def _read(step: Any) -> _Step:
    if not isinstance(step, Mapping):
        return _Step("step", "", _text(step), "")
    asked = {name: step[name] for name in _ASKED if step.get(name) not in (None, "", {}, [])}
    came = {name: step[name] for name in _CAME if step.get(name) not in (None, "", {}, [])}
    return _Step(
        str(step.get("kind") or "step"), str(step.get("name") or ""), _text(_single(asked)), _text(_single(came))
    )


def _single(parts: Mapping[str, Any]) -> Any:
    """Return the only value there is without its name, else all of them."""
    return next(iter(parts.values())) if len(parts) == 1 else parts or ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _both(i: int, k: int, left: _Step, right: _Step) -> StepLine:
    difference: Difference = (
        "arguments" if left.asked != right.asked else "result" if left.came != right.came else "same"
    )
    return StepLine(
        difference, left.kind, left.name, i + 1, k + 1, left.asked, right.asked, left.came, right.came
    )  # fmt: skip


def _one(side: Literal["baseline_only", "candidate_only"], place: int, step: _Step) -> StepLine:
    if side == "baseline_only":
        return StepLine(side, step.kind, step.name, place + 1, None, step.asked, "", step.came, "")
    return StepLine(side, step.kind, step.name, None, place + 1, "", step.asked, "", step.came)


def _with_moves(lines: Sequence[StepLine]) -> list[StepLine]:
    """Return the lines, those that one arm merely took earlier or later than the other marked as moved."""
    spare: dict[tuple[str, str, str], list[int]] = {}
    for index, line in enumerate(lines):
        if line.difference == "candidate_only":
            spare.setdefault((line.kind, line.name, line.candidate_asked), []).append(index)
    moved: set[int] = set()
    for index, line in enumerate(lines):
        if line.difference != "baseline_only":
            continue
        if partners := spare.get((line.kind, line.name, line.baseline_asked)):
            moved |= {index, partners.pop(0)}
    return [
        StepLine(
            "moved", line.kind, line.name, line.baseline_place, line.candidate_place, line.baseline_asked,
            line.candidate_asked, line.baseline_came, line.candidate_came,
        )
        if index in moved
        else line
        for index, line in enumerate(lines)
    ]  # fmt: skip
