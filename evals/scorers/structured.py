"""What the reply says as data: its shape, the values at a path, a number near enough."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evals.scorers.json_parts import OF, UnreadableReplyError, json_part
from evals.scorers.paths import PathExhaustedError, find, problem_of_path
from evals.scorers.patterns import found_in, problem_of
from evals.scorers.reply import Reply
from evals.scorers.schemas import SchemaExhaustedError, errors_of, problem_of_schema
from evals.scorers.scorer import TEXT, Part, Scorer, as_list, json_object, mean_of, some_of
from harness.canonical import DocumentError, Json, clean_json, is_same, pointer

__all__ = ["JSON_PATH", "JSON_SCHEMA", "NUMBER"]


def _reading(score: Callable[[Any, Reply], Part]) -> Callable[[Any, Reply], Part]:
    """Return a scorer for which a reply that cannot be read, or only without end, does not meet the expectation."""

    def read(wanted: Any, reply: Reply) -> Part:
        try:
            return score(wanted, reply)
        except UnreadableReplyError as error:
            return Part(0.0, str(error)[:300])
        except (SchemaExhaustedError, PathExhaustedError):
            return Part(0.0, "the reply is too large to be checked within the steps one check may take")

    return read


def _json_schema(wanted: Mapping[str, Any], reply: Reply) -> Part:
    schema = wanted["schema"]
    value = json_part(reply, wanted.get("of", "text"))
    errors = errors_of(value, schema)
    if not errors:
        return Part(1.0, "fits its JSON Schema")
    first = errors[0]
    where = pointer([str(part) for part in first.absolute_path]) or "/"
    more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
    return Part(
        _share_of_members(value, schema, errors), f"does not fit its JSON Schema: {where}: {first.message[:200]}{more}"
    )


def _share_of_members(value: Json, schema: Mapping[str, Any], errors: list[Any]) -> float:
    """Return the share of the members the schema names that are as they should be; nothing when more is wrong."""
    required = [name for name in schema.get("required", ()) if isinstance(name, str)]
    named = {*schema.get("properties", ()), *required}
    if not isinstance(value, dict) or not named:
        return 0.0
    at_root = {error.validator for error in errors if not error.absolute_path}
    wrong = {error.absolute_path[0] for error in errors if error.absolute_path} | {
        n for n in required if n not in value
    }
    return 1 - len(wrong) / len(named) if at_root <= {"required"} and wrong <= named else 0.0


def _schema_problem(wanted: Mapping[str, Any]) -> str:
    return problem_of_schema(wanted["schema"])


def _json_path(wanted: Any, reply: Reply) -> Part:
    return mean_of([_at_path(wish, reply) for wish in as_list(wanted)])


def _at_path(wish: Mapping[str, Any], reply: Reply) -> Part:
    path = wish["path"]
    values = find(path, json_part(reply, wish.get("of", "text")))
    if "exists" in wish:
        return Part(float(bool(values) == wish["exists"]), f"{path} {'is there' if values else 'is not there'}")
    if not values:
        return Part(0.0, f"{path} is not there")
    if any(_is_wanted(value, wish) for value in values):
        return Part(1.0, f"{path} is as wanted")
    return Part(0.0, f"{path} is {some_of([_short(value) for value in values])}")


def _is_wanted(value: Json, wish: Mapping[str, Any]) -> bool:
    if "matches" in wish:
        return isinstance(value, str) and found_in(wish["matches"], value)
    wanted = clean_json([wish["equals"]] if "equals" in wish else wish["one_of"])
    try:
        found = clean_json(value)
    except DocumentError:
        return False  # an integer no expectation can hold
    return isinstance(wanted, list) and any(is_same(found, one) for one in wanted)


def _short(value: Json) -> Json:
    return value if isinstance(value, bool | int | float | None) else str(value)[:80]


def _path_problem(wanted: Any) -> str:
    for wish in as_list(wanted):
        if len(set(wish) & {"equals", "one_of", "exists", "matches"}) != 1:
            return f"{wish['path']!r} needs exactly one of equals, one_of, exists and matches"
        problem = problem_of_path(wish["path"]) or ("matches" in wish and problem_of(wish["matches"]))
        if problem:
            return problem
    return ""


def _number(wanted: Any, reply: Reply) -> Part:
    told: Mapping[str, Any] = wanted if isinstance(wanted, Mapping) else {"value": wanted}
    value = float(told["value"])
    # What binary fractions lose (0.1 + 0.2) is no difference.
    allowed = max(told.get("tolerance", 0.0), told.get("relative", 0.0) * abs(value)) + 1e-9 * max(1.0, abs(value))
    if "path" in told:
        values = find(told["path"], json_part(reply, told.get("of", "text")))
        numbers = [number for one in values for number in _numbers_in(one)]
    else:
        numbers = [number for text in reply.said for number in _numbers_said(text)]
    if not numbers:
        return Part(0.0, "gives no number")
    nearest = min(numbers, key=lambda number: abs(number - value))
    rationale = f"its nearest number is {nearest:g}, wanted is {value:g} within {allowed:.6g}"
    return Part(float(abs(nearest - value) <= allowed), rationale)


def _numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, str):
        yield from _numbers_said(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        yield float(value)


# Digits with the marks between them, as people write numbers: 1,299.50 and 1.299,50 and 1299.5 and 1e3.
_NUMBER = re.compile(r"(?<![\w.,])(?<![^\W\d][-−])[-−+]?[$€£¥]?(\d[\d.,']{0,40})([eE][+-]?\d{1,3})?(?![\d'])")
_THOUSANDS = re.compile(r"\d{1,3}(?:[,']\d{3})+(?:\.\d+)?")
_THOUSANDS_BY_DOTS = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}")
_DECIMAL_COMMA = re.compile(r"\d+,\d{1,2}")
_PLAIN = re.compile(r"\d+(?:\.\d+)?")


def _numbers_said(text: str) -> Iterator[float]:
    for match in _NUMBER.finditer(text):
        digits = match[1].rstrip(".,'")
        if _THOUSANDS.fullmatch(digits):
            plain = re.sub(r"[,']", "", digits)
        elif _THOUSANDS_BY_DOTS.fullmatch(digits) or _DECIMAL_COMMA.fullmatch(digits):
            plain = digits.replace(".", "").replace(",", ".")
        elif _PLAIN.fullmatch(digits):
            plain = digits
        else:
            continue  # a version, a date, a list without blanks
        number = float(plain + (match[2] or ""))
        if math.isfinite(number):
            yield -number if match[0][0] in "-−" else number


def _number_problem(wanted: Any) -> str:
    if not isinstance(wanted, Mapping) or "path" not in wanted:
        return "of is read with a path only" if isinstance(wanted, Mapping) and "of" in wanted else ""
    return problem_of_path(wanted["path"])


_AT_PATH = json_object(
    {
        "path": TEXT, "of": OF, "equals": {}, "one_of": {"type": "array", "minItems": 1, "maxItems": 100, "items": {}},
        "exists": {"type": "boolean"}, "matches": TEXT,
    },
    "path",
)  # fmt: skip
_NONNEGATIVE = {"type": "number", "minimum": 0}
_ABOUT = json_object(
    {"value": {"type": "number"}, "tolerance": _NONNEGATIVE, "relative": _NONNEGATIVE, "path": TEXT, "of": OF}, "value"
)
JSON_SCHEMA = Scorer(
    "json_schema",
    "The answer is JSON that fits this schema (Draft 2020-12); `of` names what is read: text (the default), output, state, "
    "steps or messages. The score is the share of the named members that are right.",
    json_object({"schema": {"type": "object"}, "of": OF}, "schema"),
    {"schema": {"type": "object", "required": ["status"], "properties": {"status": {"enum": ["open", "closed"]}}}},
    _reading(_json_schema), _schema_problem,
)  # fmt: skip
JSON_PATH = Scorer(
    "json_path",
    "At each of these paths (RFC 9535) a value equals this one, is one_of these, matches a pattern (RE2), or exists; `of` "
    "as for json_schema. The score is the share of paths.",
    {"anyOf": [_AT_PATH, {"type": "array", "items": _AT_PATH, "minItems": 1, "maxItems": 32}]},
    {"path": "$.order.status", "of": "output", "equals": "shipped"}, _reading(_json_path), _path_problem,
)  # fmt: skip
NUMBER = Scorer(
    "number",
    "An answer gives this number within a tolerance, or within a relative one (0.05 is 5 %), whichever is wider; with a "
    "path, the number at that path.",
    {"anyOf": [{"type": "number"}, _ABOUT]}, {"value": 19.99, "tolerance": 0.01}, _reading(_number), _number_problem,
)  # fmt: skip
