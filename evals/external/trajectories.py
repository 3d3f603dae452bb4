"""Recorded trajectories of tau-bench and tau2-bench as results from outside. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from episodes.importing.entries import BadLine, Entry, Line, Note, Options, number
from episodes.importing.formats import FORMATS
from episodes.importing.framing import records

__all__ = ["Recorded", "RecordedSet", "TrajectoriesError", "read_trajectories"]

# By the benchmarks' own words: a provider or the simulated user gave out, which says nothing of the agent.
_INFRASTRUCTURE = frozenset({"rate_limit", "infra_provider", "infrastructure_error", "user_error"})
# The run was ended by an error and by nobody's decision. A run that used up its steps was played, and is no crash.
_CRASHES = frozenset({"harness_crash", "agent_error", "too_many_errors"})
_LISTS = ("results", "simulations")
_TAU2_MARKS = frozenset({"termination_reason", "reward_info", "agent_impl", "user_model", "simulations"})
_NAMED_TRIAL = re.compile(r":(\d+)$")


class TrajectoriesError(ValueError):
    """Files of trajectories do not hold what is needed; the sentence says what is missing."""


@dataclass(frozen=True)
class Recorded:
    """One recorded trajectory, in the form of a posted result but for its arm.

    `fault` says that the benchmark injected failures into the tools' answers: another task than the same one without.
    """

    variant: str
    task: str
    trial: int
    domain: str
    ended: str
    fault: bool
    item: Mapping[str, Any]


@dataclass
class RecordedSet:
    """The trajectories of a file by variant, and what of the file could not be read."""

    file: str
    variants: dict[str, list[Recorded]] = field(default_factory=lambda: defaultdict(list))
    bad: list[BadLine] = field(default_factory=list)

    def chosen(self, name: str) -> tuple[str, list[Recorded]]:
        """Return the variant called `name` (its own name, or with the agent's kind before it), or the only one."""
        told = ", ".join(f"{one!r} ({len(rows)})" for one, rows in sorted(self.variants.items()))
        if not self.variants:
            reason = f"; line {self.bad[0].number}: {self.bad[0].reason}" if self.bad else ""
            raise TrajectoriesError(f"{self.file} holds no tau-bench or tau2-bench trajectory{reason}.")
        found = [one for one in self.variants if not name or one == name or one.endswith(f" {name}")]
        if len(found) != 1:
            what = f"no variant {name!r}" if name and not found else f"{len(found)} variants to choose from"
            raise TrajectoriesError(f"{self.file} has {what}; name one of: {told}.")
        return found[0], self.variants[found[0]]


def read_trajectories(file: str, lines: Sequence[Line]) -> RecordedSet:
    """Return every trajectory of a file, whichever of the two formats it has and how many variants it holds."""
    found = RecordedSet(file)
    seen: set[tuple[str, str, int]] = set()
    next_trial: Counter[tuple[str, str]] = Counter()
    for entry in FORMATS[_format_of(lines)].read(lines, Options()):
        if isinstance(entry, BadLine):
            found.bad.append(entry)
            continue
        if isinstance(entry, Note):
            continue
        recorded = _recorded(entry, next_trial)
        key = (recorded.variant, recorded.task, recorded.trial)
        if key in seen:
            reason = f"task {recorded.task!r}, trial {recorded.trial} of {recorded.variant!r} is there already"
            found.bad.append(BadLine(entry.file, entry.number, reason))
            continue
        seen.add(key)
        found.variants[recorded.variant].append(recorded)
    return found


def _format_of(lines: Iterable[Line]) -> str:
    """Tell the format by the first record: tau2-bench says who simulated the user, and what its reward is made of."""
    for record in _objects(lines):
        return "tau2-bench" if _TAU2_MARKS & (record.keys()) else "tau-bench"
    return "tau-bench"


def _objects(lines: Iterable[Line]) -> Iterator[Mapping[str, Any]]:
    for record in records(lines, lists=_LISTS):
        if not isinstance(record, BadLine):
            yield {**record.head, **record.value}


def _recorded(entry: Entry, next_trial: Counter[tuple[str, str]]) -> Recorded:
    item, told = entry.item, entry.item["attributes"]
    variant = item["workflow"] or "recorded"
    task = item["external_refs"]["task"] or item["id"]
    trial = number(told.get("trial"))
    if trial is None or trial != int(trial) or trial < 0:
        trial = next_trial[variant, task]
    next_trial[variant, task] += 1
    usage = item.get("usage") or {}
    ended = str(told.get("crash_class") or told.get("termination") or "")
    dropped, crashed = _how(told, entry)
    passed = bool(entry.endings) and entry.endings[0].name == "resolved"
    posted: dict[str, Any] = {
        "case": task, "trial": int(trial), "output": item["output"], "steps": item["steps"],
        "latency_ms": usage.get("latency_ms"), "cost_usd": usage.get("cost_usd"), "crashed": crashed, "dropped": dropped,
        "error": (_error_of(item) or ended) if crashed or dropped else "",
    }  # fmt: skip
    if not crashed and not dropped:
        posted["passed"] = passed
    return Recorded(variant, task, int(trial), entry.domain, ended, told.get("injected_fault") is True, posted)


def _how(told: Mapping[str, Any], entry: Entry) -> tuple[bool, bool]:
    """Return whether the run says nothing of the agent, and whether the agent crashed; no verdict is no result either."""
    words = {str(told.get("crash_class") or ""), str(told.get("termination") or "")}
    if words & _INFRASTRUCTURE:
        return True, False
    if told.get("crash_class") or words & _CRASHES:
        return False, True
    return not entry.endings, False


def _error_of(item: Mapping[str, Any]) -> str:
    """Return the last line of what the run broke with, where it says."""
    told = [str(step["error"]) for step in item["steps"] if step.get("kind") == "model_call" and step.get("error")]
    lines = told[-1].strip().splitlines() if told else []
    return lines[-1][:400] if lines else ""
