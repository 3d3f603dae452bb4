"""Operators over plain values; what would grow is counted before it is made."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from evals.scorers.sandbox.functions import member_name
from evals.scorers.sandbox.limits import ExpressionError, Meter, kind_of

__all__ = ["calculate", "compare", "negate", "pick"]

_SIGNS: Mapping[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add), ast.Sub: ("-", operator.sub), ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv), ast.FloorDiv: ("//", operator.floordiv), ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", operator.pow), ast.BitAnd: ("&", operator.and_), ast.BitOr: ("|", operator.or_),
}  # fmt: skip
_ORDERS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip


def calculate(meter: Meter, sign: ast.operator, left: Any, right: Any) -> Any:
    """Return what an operator makes of two values; sets have &, | and -, texts and lists have + and *."""
    written, act = _SIGNS[type(sign)]
    if (
        isinstance(left, int | float)
        and isinstance(right, int | float)
        and not isinstance(sign, ast.BitAnd | ast.BitOr)
    ):
        return _number(meter, sign, act, left, right)
    if isinstance(left, set) and isinstance(right, set) and written in "&|-":
        meter.hold(len(left) + len(right))
        return act(left, right)
    if written == "+" and type(left) is type(right) and isinstance(left, str | list | tuple):
        meter.hold(len(left) + len(right))
        return act(left, right)
    if written == "*":
        return _repeated(meter, left, right)
    raise ExpressionError(f"calculates {kind_of(left)} {written} {kind_of(right)}")


def _number(meter: Meter, sign: ast.operator, act: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        bits = int(left).bit_length(), int(right).bit_length()
        if isinstance(sign, ast.Pow) and abs(left) > 1:
            meter.integer(bits[0] * abs(right) if bits[1] < 32 else 2**32)
        meter.integer(max(bits))
    answer = act(left, right)
    if isinstance(answer, int):
        meter.integer(int(answer).bit_length())
    if not isinstance(answer, int | float):
        raise ExpressionError("takes a root of a negative number")
    return answer


def _repeated(meter: Meter, left: Any, right: Any) -> Any:
    whole, times = (right, left) if isinstance(left, int) else (left, right)
    if not isinstance(whole, str | list | tuple) or not isinstance(times, int):
        raise ExpressionError(f"calculates {kind_of(left)} * {kind_of(right)}")
    meter.hold(len(whole) * max(0, times))
    return whole * times


def negate(meter: Meter, sign: ast.unaryop, value: Any) -> Any:
    """Return what a sign before a value makes of it."""
    if isinstance(sign, ast.Not):
        return not value
    if not isinstance(value, int | float):
        raise ExpressionError(f"puts a sign before {kind_of(value)}")
    return -value if isinstance(sign, ast.USub) else +value


def compare(meter: Meter, sign: ast.cmpop, left: Any, right: Any) -> bool:
    """Return whether a comparison holds; whatever Python would walk for it is counted first."""
    if isinstance(sign, ast.Is | ast.IsNot):  # with None alone
        return (left is right) is isinstance(sign, ast.Is)
    if isinstance(sign, ast.In | ast.NotIn):
        return _is_in(meter, left, right) is isinstance(sign, ast.In)
    meter.weigh(left, right)
    return bool(_ORDERS[type(sign)](left, right))


def _is_in(meter: Meter, value: Any, whole: Any) -> bool:
    if isinstance(whole, dict | set):
        return member_name(meter, value) in whole
    if isinstance(whole, str):
        if not isinstance(value, str):
            raise ExpressionError(f"looks for {kind_of(value)} in text")
        meter.spend(1 + (len(whole) + len(value)) // 4)
        return value in whole
    if not isinstance(whole, list | tuple):
        raise ExpressionError(f"looks for something in {kind_of(whole)}")
    meter.weigh(whole, [value])
    return value in whole


def pick(meter: Meter, whole: Any, place: Any) -> Any:
    """Return a member of an object, an item or a slice of a list or text."""
    if isinstance(whole, dict):
        name = member_name(meter, place)
        if name not in whole:
            raise ExpressionError(f"reads the member {str(place)[:80]!r}, and there is none")
        return whole[name]
    if not isinstance(whole, list | tuple | str):
        raise ExpressionError(f"reads a part of {kind_of(whole)}")
    if isinstance(place, slice):
        bounds = (place.start, place.stop, place.step)
        if not all(bound is None or isinstance(bound, int) for bound in bounds):
            raise ExpressionError("slices by what is no whole number")
        meter.hold(len(whole))
        return whole[place]
    if not isinstance(place, int):
        raise ExpressionError(f"reads an item by {kind_of(place)}")
    if not -len(whole) <= place < len(whole):
        raise ExpressionError(f"reads item {place if abs(place) < 2**60 else '…'} of {len(whole)}")
    return whole[place]
