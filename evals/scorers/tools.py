"""Which tools were called, with what, and in which order."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import orjson

from evals.scorers.reply import Reply
from evals.scorers.scorer import TEXT, Part, Scorer, as_list, json_object, mean_of, some_of

__all__ = ["STEP_ORDER", "TOOL_CALLED", "TOOL_NOT_CALLED"]

_ARGUMENTS: Mapping[str, Any] = {"type": "object", "maxProperties": 100}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": 1_000}
_MATCH: Mapping[str, Any] = {"type": "string", "enum": ["all", "some"]}
_CALLED = json_object(
    {"name": TEXT, "arguments": _ARGUMENTS, "match": _MATCH, "at_least": _COUNT, "at_most": _COUNT}, "name"
)
_NOT_CALLED = json_object(
    {"name": TEXT, "arguments": _ARGUMENTS, "match": _MATCH, "critical": {"type": "boolean"}}, "name"
)
_STEPS: Mapping[str, Any] = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 32}


def _one_or_more(shape: Mapping[str, Any]) -> dict[str, Any]:
    several = {"type": "array", "items": {"anyOf": [TEXT, shape]}, "minItems": 1, "maxItems": 32}
    return {"anyOf": [TEXT, shape, several]}


def _wishes(value: Any) -> list[Mapping[str, Any]]:
    return [{"name": one} if isinstance(one, str) else one for one in as_list(value)]


def _fitting(wish: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if wish.get("arguments") is None:
        return list(calls)
    return [call for call in calls if _fits(wish["arguments"], _arguments_of(call), wish.get("match", "all"))]


def _called(wish: Mapping[str, Any], reply: Reply) -> Part:
    name = wish["name"]
    calls = [call for call in reply.calls if call.get("name") == name]
    fitting = _fitting(wish, calls)
    least, most = wish.get("at_least", 1), wish.get("at_most")
    if not calls:
        return Part(0.0, f"{name} was not called")
    if not fitting:
        return Part(0.0, f"{name} was called with other arguments")
    if len(fitting) < least:
        return Part(len(fitting) / least, f"{name} was called {len(fitting)} times, not {least}")
    if most is not None and len(fitting) > most:
        return Part(most / len(fitting), f"{name} was called {len(fitting)} times, at most {most} are meant")
    return Part(1.0, f"{name} was called rightly")


def _tool_called(wanted: Any, reply: Reply) -> Part:
    return mean_of([_called(wish, reply) for wish in _wishes(wanted)])


def _counts_problem(wanted: Any) -> str:
    for wish in _wishes(wanted):
        if wish.get("at_most") is not None and wish["at_most"] < wish.get("at_least", 1):
            return f"at_most of {wish['name']!r} is below at_least"
    return ""


def _not_called(wish: Mapping[str, Any], reply: Reply) -> Part:
    name = wish["name"]
    if not _fitting(wish, [call for call in reply.calls if call.get("name") == name]):
        return Part(1.0, f"{name} was not called")
    violations = ("calls a tool it must not",) if wish.get("critical", True) else ()
    return Part(0.0, f"{name} was called", violations)


def _tool_not_called(forbidden: Any, reply: Reply) -> Part:
    part = mean_of([_not_called(wish, reply) for wish in _wishes(forbidden)])
    return Part(float(part.share >= 1), part.rationale, part.violations)


def _arguments_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a call's arguments: an object, one around them, or JSON text as model endpoints send it."""
    given = call.get("input")
    if isinstance(given, Mapping) and set(given) == {"arguments"}:
        given = given["arguments"]
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except ValueError:
            return {}
    return given if isinstance(given, Mapping) else {}


def _fits(wanted: Mapping[str, Any], given: Mapping[str, Any], match: str) -> bool:
    names = {str(name) for name in given}
    if match == "all" and names != set(wanted):
        return False
    return all(name in given and _is_same(value, given[name]) for name, value in wanted.items())


def _is_same(wanted: Any, given: Any) -> bool:
    """Compare as people would: numbers by value, texts by their letters and digits, the rest part by part."""
    match wanted:
        case Mapping():
            return isinstance(given, Mapping) and _fits(wanted, given, "all")
        case list():
            fits = isinstance(given, list | tuple) and len(given) == len(wanted)
            return fits and all(map(_is_same, wanted, given))
        case bool() | None:
            return _letters(wanted) == _letters(given)
        case int() | float():
            return _number(given) == float(wanted)
    return _letters(wanted) == _letters(given)


def _letters(value: object) -> str:
    return re.sub(r"\W+", "", str(value)).casefold()


def _number(value: object) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(str(value)[:100])
    except ValueError:
        return math.nan


def _step_order(wanted: Any, reply: Reply) -> Part:
    order = list(wanted["order"]) if isinstance(wanted, Mapping) else list(wanted)
    only = isinstance(wanted, Mapping) and bool(wanted.get("only"))
    taken = [_labels(step) for step in (reply.calls if only else reply.acts)]
    length = _longest_common(order, taken)
    whole = max(len(order), len(taken)) if only else len(order)
    if length == whole:
        return Part(1.0, "takes its steps in order")
    others = f" among {len(taken)} tool calls" if only and len(taken) > len(order) else ""
    return Part(length / whole, f"takes {length} of {len(order)} steps of {some_of(order)} in that order{others}")


def _labels(step: Mapping[str, Any]) -> set[str]:
    return {label for label in (step.get("name"), step.get("kind")) if isinstance(label, str)}


def _longest_common(order: Sequence[str], taken: Sequence[set[str]]) -> int:
    """Return the length of the longest common subsequence of what is wanted and what was done."""
    row = [0] * (len(order) + 1)
    for step in taken:
        before = row[:]
        for place, (diagonal, above) in enumerate(pairwise(before), start=1):
            row[place] = diagonal + 1 if order[place - 1] in step else max(above, row[place - 1])
    return row[-1]


TOOL_CALLED = Scorer(
    "tool_called",
    "Each of these tools was called: by name, with these arguments and no others (match: all, the default) or with these "
    "among others (match: some), at_least and at_most so often. Numbers are compared by value, texts by letters and digits.",
    _one_or_more(_CALLED), {"name": "lookup_order", "arguments": {"order_id": "KL-2041"}}, _tool_called, _counts_problem,
)  # fmt: skip
TOOL_NOT_CALLED = Scorer(
    "tool_not_called",
    "None of these tools was called, or not with these arguments. A call is a critical violation unless critical is false.",
    _one_or_more(_NOT_CALLED), ["refund_order"], _tool_not_called, forbids=True,
)  # fmt: skip
STEP_ORDER = Scorer(
    "step_order",
    "Steps of these names or kinds came in this order, others between them; with only: true, these tool calls and no "
    "others. The score is the longest part that is in order.",
    {"anyOf": [_STEPS, json_object({"order": _STEPS, "only": {"type": "boolean"}}, "order")]},
    ["verify_identity", "lookup_order", "refund_order"], _step_order,
)  # fmt: skip
