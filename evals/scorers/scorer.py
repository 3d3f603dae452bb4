"""What a scorer is: a name, what it checks, the shape of what it is told, and how it reads a reply."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.scorers.reply import Reply

__all__ = [
    "ONE_OR_MORE_TEXTS",
    "TEXT",
    "TEXTS",
    "Part",
    "Scorer",
    "as_list",
    "json_object",
    "mean_of",
    "normal",
    "some_of",
]

NEARLY = 0.999  # what is not met in full never rounds up to it
MAX_TEXT = 20_000
MAX_ITEMS = 100
_SHOWN = 5

# Shapes are written in what JSON Schema and OpenAPI 3.0 share.
TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": r"\S"}
TEXTS: Mapping[str, Any] = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MAX_ITEMS}
ONE_OR_MORE_TEXTS: Mapping[str, Any] = {"anyOf": [TEXT, TEXTS]}


@dataclass(frozen=True, slots=True)
class Part:
    """How far one expectation is met: a share from 0 to 1, why, and what must never happen but did.

    A violation is named in verdicts, which people read who may not read the exam: without its words.
    """

    share: float
    rationale: str
    violations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scorer:
    """One kind of expectation.

    `shape` is the JSON Schema of its value, `example` one such value. `problem` says what else is wrong with a value of
    that shape, or nothing. `forbids` marks what also binds a reply that hands off where a case accepts that.
    """

    name: str
    checks: str
    shape: Mapping[str, Any]
    example: Any
    score: Callable[[Any, Reply], Part]
    problem: Callable[[Any], str] = lambda _: ""
    forbids: bool = False


def normal(text: object) -> str:
    """Return a text as texts are compared: blanks are one, case is none."""
    return re.sub(r"\s+", " ", str(text)).casefold().strip()


def as_list(value: Any) -> list[Any]:
    """Return what an expectation lists; a single one is a list of one."""
    return list(value) if isinstance(value, list | tuple) else [value]


def some_of(names: Sequence[object]) -> str:
    """Return the first few names and how many more there are."""
    more = len(names) - _SHOWN
    return repr(list(names[:_SHOWN])) + (f" and {more} more" if more > 0 else "")


def mean_of(parts: Sequence[Part]) -> Part:
    """Return several readings of one expectation as one: it is met in full only where each is."""
    share = sum(part.share for part in parts) / len(parts)
    unmet = [part.rationale for part in parts if part.share < 1] or [part.rationale for part in parts]
    more = [f"and {len(unmet) - _SHOWN} more"] if len(unmet) > _SHOWN else []
    violations = tuple(violation for part in parts for violation in part.violations)
    return Part(share, ", ".join([*unmet[:_SHOWN], *more]), violations)


def json_object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """Return the shape of an object that has these members and no others."""
    return {
        "type": "object", "properties": dict(properties), "required": list(required), "additionalProperties": False,
    }  # fmt: skip
