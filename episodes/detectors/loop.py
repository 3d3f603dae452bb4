"""An agent going in circles: the same call again and again, or a short cycle of calls."""

import json
from collections import defaultdict
from collections.abc import Sequence

from episodes.detectors.readings import Found, StepReading

__all__ = ["detect"]

MIN_REPEATS = 3
_PERIODS = (2, 3)
_MIN_CYCLES = 2


def detect(steps: Sequence[StepReading]) -> Found | None:
    """Return a loop: one tool with the same arguments at least 3 times, or a cycle of 2 or 3 calls twice in a row."""
    calls = [step for step in steps if step.kind == "tool_call"]
    signatures = [_signature(step) for step in calls]
    repeated = _repeated(signatures)
    if repeated:
        return _found([calls[index] for index in repeated], period=1)
    for period in _PERIODS:
        start = _cycle_start(signatures, period)
        if start is not None:
            return _found(calls[start : start + period * _MIN_CYCLES], period=period)
    return None


def _signature(step: StepReading) -> str:
    return f"{step.name} {json.dumps(step.input, sort_keys=True, ensure_ascii=False, default=str)}"


def _repeated(signatures: Sequence[str]) -> list[int]:
    places: dict[str, list[int]] = defaultdict(list)
    for index, signature in enumerate(signatures):
        places[signature].append(index)
    longest = max(places.values(), key=len, default=[])
    return longest if len(longest) >= MIN_REPEATS else []


def _cycle_start(signatures: Sequence[str], period: int) -> int | None:
    for start in range(len(signatures) - period * _MIN_CYCLES + 1):
        cycle = list(signatures[start : start + period])
        again = list(signatures[start + period : start + 2 * period])
        if cycle == again and len(set(cycle)) > 1:
            return start
    return None


def _found(calls: Sequence[StepReading], *, period: int) -> Found:
    evidence = {
        "steps": [call.position for call in calls],
        "tools": list(dict.fromkeys(call.name for call in calls)),
        "period": period,
        "times": len(calls) // period,
    }
    return Found("loop", "workflow", evidence)
