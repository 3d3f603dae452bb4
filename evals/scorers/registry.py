"""Every kind of expectation there is, and the door that refuses what is none."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError, best_match

from evals.scorers.expressions import EXPRESSION
from evals.scorers.handoffs import ESCALATION, HANDOFF
from evals.scorers.meaning import SIMILAR
from evals.scorers.scorer import Scorer
from evals.scorers.sources import CITES
from evals.scorers.states import STATE
from evals.scorers.structured import JSON_PATH, JSON_SCHEMA, NUMBER
from evals.scorers.texts import CONTAINS, EXACT, EXCLUDES, REGEX
from evals.scorers.tools import STEP_ORDER, TOOL_CALLED, TOOL_NOT_CALLED
from harness.canonical import pointer

__all__ = ["SCORERS", "problem_of"]

SCORERS: Mapping[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        CONTAINS, EXCLUDES, EXACT, REGEX, SIMILAR, NUMBER, JSON_SCHEMA, JSON_PATH, CITES, TOOL_CALLED, TOOL_NOT_CALLED,
        STEP_ORDER, HANDOFF, ESCALATION, STATE, EXPRESSION,
    )
}  # fmt: skip


@cache
def _shape_of(name: str) -> Any:
    return jsonschema.Draft202012Validator(dict(SCORERS[name].shape))


def problem_of(name: str, value: Any) -> str:
    """Return what is wrong with an expectation as a sentence, with one as it should look; nothing when it is right.

    `value` is clean JSON.
    """
    scorer = SCORERS[name]
    error = best_match(_shape_of(name).iter_errors(value), key=lambda error: -len(error.absolute_path))
    said = _said(_meant(error)) if error is not None else scorer.problem(value)
    if not said:
        return ""
    example = json.dumps({name: scorer.example}, ensure_ascii=False)
    return f"Expectation {name!r}: {said}. Write it like {example}."


def _meant(error: ValidationError) -> ValidationError:
    """Return what is wrong within the one form that was meant, where several are allowed: the one of the same type."""
    while error.validator == "anyOf":
        forms: dict[Any, list[ValidationError]] = {}
        for one in error.context or ():
            forms.setdefault(one.schema_path[0], []).append(one)
        same_type = [
            errors for errors in forms.values()
            if not any(one.validator == "type" and one.instance is error.instance for one in errors)
        ]  # fmt: skip
        if len(same_type) != 1:
            break
        error = same_type[0][0]
    return error


def _said(error: ValidationError) -> str:
    where = pointer([str(part) for part in error.absolute_path])
    return f"{where or 'it'} {_wrong(error)}"


def _wrong(error: ValidationError) -> str:
    """Return what is wrong without quoting more of the value than a reader can take in."""
    found: Any = error.instance
    limit: Any = error.validator_value
    match error.validator:
        case "pattern":
            return "is blank"
        case "minLength" | "minItems":
            return "is empty" if not found else f"has {len(found)} parts; at least {limit} are needed"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"has {len(found):,} parts; at most {limit:,} are allowed"
        case "enum":
            return f"must be one of {json.dumps(limit)}"
        case "type" | "anyOf":
            return f"cannot be {json.dumps(found, ensure_ascii=False)[:80]}"
    return f"is wrong: {error.message[:200]}"
