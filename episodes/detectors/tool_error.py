"""A tool call that failed, and whether the agent got past it."""

from collections.abc import Sequence

from episodes.detectors.readings import Found, StepReading

__all__ = ["detect"]

_STORM_ERRORS = 3
_STORM_CALLS = 5
_MAX_QUOTES = 5
_MAX_QUOTE_CHARACTERS = 300


def detect(steps: Sequence[StepReading]) -> Found | None:
    """Return the failed tool calls of an episode; `None` when every call succeeded.

    `recovered` says that each tool that failed succeeded later; `storm` that 3 of 5 calls in a row failed.
    """
    calls = [step for step in steps if step.kind == "tool_call"]
    failed = [step for step in calls if step.has_failed]
    if not failed:
        return None
    lost = [step for step in failed if not _succeeds_later(step, calls)]
    evidence = {
        "steps": [step.position for step in failed],
        "tools": list(dict.fromkeys(step.name for step in lost or failed)),
        "quotes": [step.error[:_MAX_QUOTE_CHARACTERS] for step in (lost or failed)[:_MAX_QUOTES]],
        "arguments": [dict(step.input) for step in (lost or failed)[:_MAX_QUOTES]],
        "recovered": not lost,
        "storm": _is_storm(calls),
    }
    return Found("tool_error", "tools", evidence)


def _succeeds_later(failed: StepReading, calls: Sequence[StepReading]) -> bool:
    return any(call.name == failed.name and call.position > failed.position and not call.has_failed for call in calls)


def _is_storm(calls: Sequence[StepReading]) -> bool:
    windows = (calls[start : start + _STORM_CALLS] for start in range(max(1, len(calls) - _STORM_CALLS + 1)))
    return any(sum(call.has_failed for call in window) >= _STORM_ERRORS for window in windows)
