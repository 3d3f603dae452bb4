"""What an expression may call: our own functions over plain values, each of which counts what it costs first."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from evals.scorers.patterns import found_in, problem_of
from evals.scorers.sandbox.limits import ExpressionError, Meter, kind_of

__all__ = ["FUNCTIONS", "METHODS", "Function", "as_text", "call_method", "items_of", "make_set", "member_name"]

_MAX_NUMERAL = 60
_PATTERN_STEPS = 1_000  # compiling a pattern costs more than it looks
_LARGEST_NAME = 2**60  # below it every whole number has a hash of its own

type _Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Function:
    """One function: what it does with a meter and the arguments, and which it takes by name."""

    call: _Call
    keywords: frozenset[str] = frozenset()


def as_text(meter: Meter, value: Any) -> str:
    """Return a single value as text; lists and objects have no text of their own."""
    if isinstance(value, dict | list | tuple | set):
        raise ExpressionError(f"makes text of {kind_of(value)}; join its parts instead")
    meter.hold(len(value) if isinstance(value, str) else 80)
    return str(value)


def items_of(meter: Meter, value: Any) -> list[Any]:
    """Return what a loop over the value meets, in a fixed order."""
    if isinstance(value, set):
        raise ExpressionError("loops over a set, which has no order; use sorted()")
    if not isinstance(value, list | tuple | dict | str):
        raise ExpressionError(f"loops over {kind_of(value)}")
    meter.hold(len(value))
    return list(value)


def member_name(meter: Meter, value: Any) -> Any:
    """Return a value that may name a member of an object or be one of a set."""
    meter.weigh(value)
    parts = list(value) if isinstance(value, tuple) else [value]
    for part in parts:
        if isinstance(part, dict | list | set | tuple):
            raise ExpressionError(f"puts {kind_of(part)} into a set, or names a member by it")
        if isinstance(part, int) and abs(part) >= _LARGEST_NAME:
            raise ExpressionError("puts a whole number beyond 2^60 into a set")
    return value


def make_set(meter: Meter, values: list[Any]) -> set[Any]:
    """Return the set of these values."""
    meter.collection(len(values))
    meter.hold(len(values) * 8)
    return {member_name(meter, value) for value in values}


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise ExpressionError(f"calculates with {kind_of(value)}")
    return value


def _abs(meter: Meter, value: Any) -> Any:
    return abs(_number(value))


def _bool(meter: Meter, value: Any) -> bool:
    return bool(value)


def _length(meter: Meter, value: Any) -> int:
    if not isinstance(value, str | list | tuple | dict | set):
        raise ExpressionError(f"takes the length of {kind_of(value)}")
    return len(value)


def _extreme(choose: Callable[..., Any], meter: Meter, *values: Any, **more: Any) -> Any:
    found = _all_items(meter, values[0]) if len(values) == 1 else list(values)
    meter.weigh(found)
    if not found and "default" in more:
        return more["default"]
    return choose(found)


def _all_items(meter: Meter, value: Any) -> list[Any]:
    """Return what is in a value where the order does not matter."""
    if isinstance(value, set):
        meter.hold(len(value))
        return list(value)
    return items_of(meter, value)


def _sum(meter: Meter, values: Any) -> Any:
    found = [_number(value) for value in _all_items(meter, values)]
    return math.fsum(found) if any(isinstance(value, float) for value in found) else _whole(meter, sum(found))


def _whole(meter: Meter, number: Any) -> Any:
    meter.integer(int(number).bit_length() if isinstance(number, int) else 0)
    return number


def _round(meter: Meter, number: Any, digits: Any = None) -> Any:
    if digits is not None and not (isinstance(digits, int) and abs(digits) <= 20):
        raise ExpressionError("rounds to more than 20 digits")
    return round(_number(number), digits) if digits is not None else _whole(meter, round(_number(number)))


def _sorted(meter: Meter, values: Any, *, reverse: Any = False) -> list[Any]:
    found = _all_items(meter, values)
    for _ in range(max(1, len(found).bit_length())):
        meter.weigh(found)
    return sorted(found, reverse=bool(reverse))


def _numeral(kind: type[int] | type[float], meter: Meter, value: Any) -> Any:
    if not isinstance(value, str | int | float) or (isinstance(value, str) and len(value) > _MAX_NUMERAL):
        raise ExpressionError(f"reads a number from {kind_of(value)}")
    return _whole(meter, kind(value))


def _range(meter: Meter, *bounds: Any) -> list[int]:
    if not all(isinstance(bound, int) and abs(bound) < 2**31 for bound in bounds):
        raise ExpressionError("counts to what is no whole number below 2^31")
    numbers = range(*bounds)
    meter.hold(len(numbers))
    meter.spend(len(numbers))
    return list(numbers)


def _zip(meter: Meter, *values: Any) -> list[tuple[Any, ...]]:
    found = [items_of(meter, value) for value in values]
    return list(zip(*found, strict=False))


def _enumerate(meter: Meter, values: Any) -> list[tuple[int, Any]]:
    return list(enumerate(items_of(meter, values)))


def _matches(meter: Meter, pattern: Any, text: Any) -> bool:
    if not isinstance(pattern, str) or not isinstance(text, str):
        raise ExpressionError("matches(pattern, text) takes two texts")
    meter.spend(_PATTERN_STEPS + len(pattern) * (1 + len(text) // 256))
    if problem := problem_of(pattern):
        raise ExpressionError(problem)
    return found_in(pattern, text)


FUNCTIONS: Mapping[str, Function] = {
    "abs": Function(_abs),
    "all": Function(lambda meter, values: all(_all_items(meter, values))),
    "any": Function(lambda meter, values: any(_all_items(meter, values))),
    "bool": Function(_bool),
    "enumerate": Function(_enumerate),
    "float": Function(partial(_numeral, float)),
    "int": Function(partial(_numeral, int)),
    "len": Function(_length),
    "list": Function(items_of),
    "matches": Function(_matches),
    "max": Function(partial(_extreme, max), frozenset({"default"})),
    "min": Function(partial(_extreme, min), frozenset({"default"})),
    "range": Function(_range),
    "reversed": Function(lambda meter, values: items_of(meter, values)[::-1]),
    "round": Function(_round),
    "set": Function(lambda meter, values: make_set(meter, _all_items(meter, values))),
    "sorted": Function(_sorted, frozenset({"reverse"})),
    "str": Function(as_text),
    "sum": Function(_sum),
    "zip": Function(_zip),
}


def _texts(*values: Any) -> None:
    if not all(isinstance(value, str) for value in values):
        raise ExpressionError("calls a method of text with what is no text")


def _of_text(method: Callable[..., Any], meter: Meter, text: str, *arguments: Any) -> Any:
    """Call a method that looks at a text once and whose answer is about as long at most."""
    _texts(*arguments)
    meter.hold(len(text) + sum(map(len, arguments)))
    answer = method(text, *arguments)
    meter.hold(len(answer) if isinstance(answer, str | list) else 0)
    return answer


def _replace(meter: Meter, text: str, old: Any, new: Any) -> str:
    _texts(old, new)
    meter.spend(1 + len(text) // 4)
    meter.hold(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _join(meter: Meter, text: str, parts: Any) -> str:
    found = items_of(meter, parts)
    _texts(*found)
    meter.hold(len(text) * len(found) + sum(map(len, found)))
    return text.join(found)


def _count(meter: Meter, values: Any, value: Any) -> int:
    meter.weigh(values, [value])
    return values.count(value)  # type: ignore[no-any-return]  # of a list or tuple


def _index(meter: Meter, values: Any, value: Any) -> int:
    meter.weigh(values, [value])
    return values.index(value)  # type: ignore[no-any-return]  # of a list or tuple


def _get(meter: Meter, members: dict[Any, Any], name: Any, default: Any = None) -> Any:
    return members.get(member_name(meter, name), default)


def _views(view: Callable[[dict[Any, Any]], Any], meter: Meter, members: dict[Any, Any]) -> list[Any]:
    meter.hold(len(members))
    return list(view(members))


def _of_sets(method: Callable[..., Any], meter: Meter, one: set[Any], other: Any) -> Any:
    if not isinstance(other, set):
        raise ExpressionError(f"calls a method of sets with {kind_of(other)}; use set()")
    meter.hold(len(one) + len(other))
    return method(one, other)


_IN_TEXT = (
    "lower", "upper", "casefold", "title", "strip", "lstrip", "rstrip", "startswith", "endswith", "removeprefix",
    "removesuffix", "split", "splitlines", "find", "count", "isdigit", "isalpha", "isspace",
)  # fmt: skip
_IN_SETS = ("union", "intersection", "difference", "issubset", "issuperset", "isdisjoint")
_BY_KIND: Mapping[type, Mapping[str, _Call]] = {
    str: {name: partial(_of_text, getattr(str, name)) for name in _IN_TEXT} | {"replace": _replace, "join": _join},
    list: {"count": _count, "index": _index},
    tuple: {"count": _count, "index": _index},
    dict: {
        "get": _get, "keys": partial(_views, dict.keys), "values": partial(_views, dict.values),
        "items": partial(_views, dict.items),
    },
    set: {name: partial(_of_sets, getattr(set, name)) for name in _IN_SETS},
}  # fmt: skip
METHODS = frozenset(name for methods in _BY_KIND.values() for name in methods)


def call_method(meter: Meter, owner: Any, name: str, arguments: list[Any]) -> Any:
    """Call a method of a plain value by our own table; Python never looks the name up."""
    method = _BY_KIND.get(type(owner), {}).get(name)
    if method is None:
        raise ExpressionError(f"calls .{name}() of {kind_of(owner)}")
    return method(meter, owner, *arguments)
