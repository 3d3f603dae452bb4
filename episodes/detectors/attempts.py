"""Reads from an episode's steps how often its run tried, and whether the first and the last attempt passed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Attempts", "attempts_of"]


@dataclass(frozen=True)
class Attempts:
    """How a run went that checked itself: attempts made, whether the first passed, whether it passed in the end."""

    number: int
    passed_first: bool
    passed: bool


def attempts_of(steps: Sequence[Mapping[str, Any]], iteration: object = None) -> Attempts | None:
    """Return how a run's attempts went; `None` for a run that no check judged.

    `steps` are an episode's in order, as stored; a check judges where its output says `passed`, true or false. Of
    several checks each must have passed. An attempt that broke off before its check did not pass. `iteration` is the
    attribute under which the client library sums up its loop; it alone knows of a loop that never reached a check.
    """
    told = _told(iteration)
    verdicts: dict[str, list[tuple[int, bool]]] = {}
    tried = 1
    for step in steps:
        attempt = step.get("attempt", 1)
        tried = max(tried, attempt)
        passed = (step.get("output") or {}).get("passed")
        if step.get("kind") == "check" and isinstance(passed, bool):
            verdicts.setdefault(step.get("name", ""), []).append((attempt, passed))
    if not verdicts:
        return told
    first = all(_passed_first(judged) for judged in verdicts.values())
    last = all(judged[-1][1] for judged in verdicts.values()) and max(j[-1][0] for j in verdicts.values()) == tried
    if told is None:
        return Attempts(tried, first, last)
    return Attempts(max(tried, told.number), first and told.passed_first, last and told.passed)


def _passed_first(judged: Sequence[tuple[int, bool]]) -> bool:
    firsts = [passed for attempt, passed in judged if attempt == 1]
    return bool(firsts) and all(firsts)


def _told(iteration: object) -> Attempts | None:
    match iteration:
        case {"attempts": int(number), "first_pass": bool(first), "passed": bool(passed)} if number >= 1:
            return Attempts(number, first, passed)
    return None
