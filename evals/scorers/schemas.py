"""JSON Schema with an end: whatever a schema and a reply are, checking takes a bounded number of steps.

A keyword is charged for what it looks at, patterns are read by RE2, and a schema that could fetch something or that uses
a keyword whose work cannot be counted is refused at the door.
"""

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, wraps
from itertools import islice
from typing import Any

import jsonschema
import orjson
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry

from evals.scorers.patterns import found_in, problem_of
from harness.canonical import Json, canonical_bytes, pointer

__all__ = ["SchemaExhaustedError", "errors_of", "problem_of_schema"]

MAX_STEPS = 30_000
MAX_ERRORS = 50
_UNSUPPORTED = {
    "$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "patternProperties", "unevaluatedItems",
    "unevaluatedProperties",
}  # fmt: skip
_NAMES_SCHEMAS = {"properties", "$defs", "definitions", "dependentSchemas"}
_HOLDS_VALUES = {"const", "enum", "default", "examples", "required"}

# What a schema is tried on at the door: one value of each type.
_PROBES: tuple[Json, ...] = ({}, [], "", 0, None)

_steps_left: ContextVar[list[int]] = ContextVar("schema_steps_left")


class SchemaExhaustedError(Exception):
    """Checking took more steps than one check may take."""


def _spend(steps: int) -> None:
    left = _steps_left.get()
    left[0] -= steps
    if left[0] < 0:
        raise SchemaExhaustedError


def _charged(keyword: str, check: Any) -> Any:
    @wraps(check)
    def charged(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        alternatives = len(value) if isinstance(value, dict | list) else 1
        deep = keyword in {"const", "enum", "uniqueItems"}
        _spend(1 + alternatives + (alternatives * _weight(instance) if deep else _length(instance)))
        return check(validator, value, instance, schema)

    return charged


def _length(instance: Any) -> int:
    return len(instance) if isinstance(instance, dict | list) else 0


def _weight(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + sum(map(_weight, value.values() if isinstance(value, dict) else value))
    return 1 + len(value) // 64 if isinstance(value, str) else 1


def _pattern(validator: Validator, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not found_in(pattern, instance):
        yield ValidationError(f"{instance[:80]!r} does not match {pattern!r}")


def _unique_items(validator: Validator, unique: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if unique and isinstance(instance, list) and len({canonical_bytes(item) for item in instance}) < len(instance):
        yield ValidationError("has the same item twice")


_DRAFT: Any = jsonschema.Draft202012Validator
_OWN: dict[str, Any] = {"pattern": _pattern, "uniqueItems": _unique_items}
_KEYWORDS = {name: _charged(name, check) for name, check in (_DRAFT.VALIDATORS | _OWN).items()}
_extend: Any = extend  # has no types
_Bounded: Any = _extend(_DRAFT, validators=_KEYWORDS)


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    # A registry of its own without a way to retrieve anything: nothing is ever fetched.
    return _Bounded(orjson.loads(schema), registry=Registry())


def errors_of(instance: Json, schema: Mapping[str, Any]) -> list[ValidationError]:
    """Return what is wrong with clean JSON by this schema, the first of it; raise `SchemaExhaustedError` past the end."""
    token = _steps_left.set([MAX_STEPS])
    try:
        return list(islice(_validator(orjson.dumps(schema)).iter_errors(instance), MAX_ERRORS))
    except RecursionError as error:
        raise SchemaExhaustedError from error
    finally:
        _steps_left.reset(token)


def problem_of_schema(schema: Mapping[str, Any]) -> str:
    """Return what is wrong with a schema, or nothing."""
    found = next(_problems(schema, schema, ()), "")
    if found:
        return found
    try:
        _DRAFT.check_schema(schema, format_checker=None)  # patterns were read by RE2, not by Python
    except (jsonschema.SchemaError, RecursionError, OverflowError) as error:
        where = pointer([str(part) for part in getattr(error, "absolute_path", ())])
        said = str(getattr(error, "message", error))[:200]
        return f"{where or '/'} of the schema is not JSON Schema (Draft 2020-12): {said}"
    try:
        for instance in _PROBES:
            errors_of(instance, schema)
    except SchemaExhaustedError:
        return "the schema refers to itself without end, or takes too many steps"
    return ""


def _problems(part: Any, root: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield what is wrong with keywords, through everything that is a schema and nothing that is a value."""
    if isinstance(part, list):
        for index, item in enumerate(part):
            yield from _problems(item, root, (*path, str(index)))
    if not isinstance(part, dict):
        return
    for name, value in part.items():
        here = (*path, name)
        if name in _UNSUPPORTED:
            yield f"{pointer(here)} of the schema is not supported, because its work has no bound; write it without"
        elif name == "$ref":
            yield from _reference_problem(value, root, here)
        elif name == "pattern" and isinstance(value, str) and (problem := problem_of(value)):
            yield f"{pointer(here)} of the schema: {problem}"
        elif name in _NAMES_SCHEMAS and isinstance(value, dict):
            for member, schema in value.items():
                yield from _problems(schema, root, (*here, member))
        elif name not in _HOLDS_VALUES:
            yield from _problems(value, root, here)


def _reference_problem(reference: Any, root: Any, path: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        yield f"{pointer(path)} of the schema refers to {reference!r}; only '#' and '#/…' are followed, copy it under $defs"
        return
    place = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        place = place.get(name) if isinstance(place, dict) else None
    if not isinstance(place, dict | bool):
        yield f"{pointer(path)} of the schema refers to {reference!r}, and there is no schema"
