"""Score one reply against what a case expects. Pure; the first scorers: contains, hand-off, tool called, source cited."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accounts.exceptions import DomainError

__all__ = ["FULL", "SCORERS", "Scored", "UnknownExpectationError", "score", "validate_expectations"]

FULL = 1_000


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


@dataclass(frozen=True)
class _Part:
    share: float
    rationale: str
    violations: tuple[str, ...] = field(default=())


def score(expectations: Mapping[str, Any], output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Scored:
    """Return the mean of all expectations as thousandths; it passes only when every one is met in full.

    `accepts_handoff` makes a hand-off as good as meeting the others, but for what must not be said with it.
    """
    validate_expectations(expectations)
    if expectations.get("accepts_handoff") and output.get("handoff"):
        forbidden = _excludes(expectations.get("excludes", ()), output, steps)
        rationale = f"handed off, which this case accepts; {forbidden.rationale}"
        return Scored(
            round(FULL * forbidden.share),
            not forbidden.violations,
            violations=forbidden.violations,
            rationale=rationale,
        )
    parts = [scorer(expectations[name], output, steps) for name, scorer in SCORERS.items() if name in expectations]
    share = sum(part.share for part in parts) / len(parts)
    return Scored(
        score=round(FULL * share),
        passed=all(part.share >= 1.0 for part in parts),
        violations=tuple(violation for part in parts for violation in part.violations),
        rationale="; ".join(part.rationale for part in parts),
    )


def validate_expectations(expectations: Mapping[str, Any]) -> None:
    """Raise `UnknownExpectationError` unless every expectation has a scorer and there is at least one."""
    unknown = sorted(set(expectations) - set(SCORERS) - {"accepts_handoff"})
    if unknown or not set(expectations) & set(SCORERS):
        raise UnknownExpectationError(
            f"Expectations {sorted(expectations)!r} cannot be scored; use one or more of {', '.join(SCORERS)}."
        )


def _normal(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).casefold().strip()


def _contains(wanted: Sequence[str], output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> _Part:
    said = _normal(output.get("text", ""))
    missing = [text for text in wanted if _normal(text) not in said]
    share = 1 - len(missing) / len(wanted) if wanted else 1.0
    return _Part(share, f"lacks {missing!r}" if missing else "says what it must")


def _excludes(forbidden: Sequence[str], output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> _Part:
    said = _normal(output.get("text", ""))
    found = [f"says {text!r}" for text in forbidden if _normal(text) in said]
    # A violation is named in verdicts, which people read who may not read the exam: without its words.
    violations = ("says what it must not",) * len(found)
    return _Part(0.0 if found else 1.0, ", ".join(found) or "says nothing forbidden", violations)


def _handoff(
    wanted: bool, output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]
) -> _Part:  # the case's own value
    happened = bool(output.get("handoff"))
    return _Part(float(happened == wanted), f"hand-off {'happened' if happened else 'did not happen'}")


def _tool_called(wanted: Mapping[str, Any], output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> _Part:
    calls = [step for step in steps if step.get("kind") == "tool_call" and step.get("name") == wanted["name"]]
    arguments = wanted.get("arguments")
    if not calls:
        return _Part(0.0, f"{wanted['name']} was not called")
    if arguments is None or any(_normal_arguments(call.get("input")) == _normal_arguments(arguments) for call in calls):
        return _Part(1.0, f"{wanted['name']} was called rightly")
    return _Part(0.0, f"{wanted['name']} was called with other arguments")


def _normal_arguments(arguments: Any) -> dict[str, str]:
    plain = arguments if isinstance(arguments, Mapping) else {}
    return {str(name): re.sub(r"\W+", "", str(value)).casefold() for name, value in plain.items()}


def _cites(wanted: Sequence[str], output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> _Part:
    missing = sorted(set(wanted) - set(output.get("sources", [])))
    return _Part(
        1 - len(missing) / len(wanted) if wanted else 1.0, f"does not cite {missing!r}" if missing else "cites"
    )


type _Scorer = Callable[[Any, Mapping[str, Any], Sequence[Mapping[str, Any]]], _Part]
SCORERS: dict[str, _Scorer] = {
    "contains": _contains,
    "excludes": _excludes,
    "handoff": _handoff,
    "tool_called": _tool_called,
    "cites": _cites,
}
