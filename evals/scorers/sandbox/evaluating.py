"""Walk the tree of an expression over plain values."""

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evals.scorers.sandbox.functions import FUNCTIONS, as_text, call_method, items_of, make_set, member_name
from evals.scorers.sandbox.limits import ExpressionError, Meter
from evals.scorers.sandbox.operators import calculate, compare, negate, pick

__all__ = ["evaluate"]

type _Names = Mapping[str, Any]

_FAILURES = (TypeError, ValueError, LookupError, ArithmeticError, RecursionError, MemoryError)


def evaluate(tree: ast.Expression, names: _Names, meter: Meter) -> Any:
    """Return the value of an expression that `read` let through, over plain JSON values.

    Raise `TooMuchError` when it does or holds more than the meter allows, `ExpressionError` when it fails on this data.
    """
    try:
        return _Walk(meter).value(tree.body, names)
    except _FAILURES as error:
        raise ExpressionError(f"fails on this reply: {type(error).__name__}: {str(error)[:200]}") from error


class _Walk:
    """One evaluation. A comprehension's variables live in names of its own, so nothing outlives it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def value(self, node: ast.AST, names: _Names) -> Any:
        self.meter.spend()
        return _WALKS[type(node)](self, node, names)

    def values(self, nodes: list[ast.expr], names: _Names) -> list[Any]:
        return [self.value(node, names) for node in nodes]

    def constant(self, node: ast.Constant, names: _Names) -> Any:
        return node.value

    def name(self, node: ast.Name, names: _Names) -> Any:
        if node.id not in names:
            raise ExpressionError(f"reads the variable {node.id!r} outside of its loop")
        return names[node.id]

    def list_(self, node: ast.List, names: _Names) -> list[Any]:
        self.meter.hold(len(node.elts))
        return self.values(node.elts, names)

    def tuple_(self, node: ast.Tuple, names: _Names) -> tuple[Any, ...]:
        self.meter.hold(len(node.elts))
        return tuple(self.values(node.elts, names))

    def set_(self, node: ast.Set, names: _Names) -> set[Any]:
        return make_set(self.meter, self.values(node.elts, names))

    def dict_(self, node: ast.Dict, names: _Names) -> dict[Any, Any]:
        self.meter.hold(2 * len(node.keys))
        keys = [member_name(self.meter, self.value(key, names)) for key in node.keys if key is not None]
        return dict(zip(keys, self.values(node.values, names), strict=True))

    def unary(self, node: ast.UnaryOp, names: _Names) -> Any:
        return negate(self.meter, node.op, self.value(node.operand, names))

    def binary(self, node: ast.BinOp, names: _Names) -> Any:
        return calculate(self.meter, node.op, self.value(node.left, names), self.value(node.right, names))

    def logical(self, node: ast.BoolOp, names: _Names) -> Any:
        stops_at = isinstance(node.op, ast.Or)
        answer: Any = None
        for part in node.values:
            answer = self.value(part, names)
            if bool(answer) is stops_at:
                return answer
        return answer

    def comparison(self, node: ast.Compare, names: _Names) -> bool:
        left = self.value(node.left, names)
        for sign, other in zip(node.ops, node.comparators, strict=True):
            right = self.value(other, names)
            if not compare(self.meter, sign, left, right):
                return False
            left = right
        return True

    def choice(self, node: ast.IfExp, names: _Names) -> Any:
        return self.value(node.body if self.value(node.test, names) else node.orelse, names)

    def part(self, node: ast.Subscript, names: _Names) -> Any:
        return pick(self.meter, self.value(node.value, names), self.value(node.slice, names))

    def slice_(self, node: ast.Slice, names: _Names) -> slice:
        bounds = (node.lower, node.upper, node.step)
        return slice(*(None if bound is None else self.value(bound, names) for bound in bounds))

    def call(self, node: ast.Call, names: _Names) -> Any:
        arguments = self.values(node.args, names)
        if isinstance(node.func, ast.Attribute):
            return call_method(self.meter, self.value(node.func.value, names), node.func.attr, arguments)
        assert isinstance(node.func, ast.Name)  # nothing else was let through
        by_name = {str(one.arg): self.value(one.value, names) for one in node.keywords}
        return FUNCTIONS[node.func.id].call(self.meter, *arguments, **by_name)

    def text(self, node: ast.JoinedStr, names: _Names) -> str:
        parts = [as_text(self.meter, self.value(part, names)) for part in node.values]
        self.meter.hold(sum(map(len, parts)))
        return "".join(parts)

    def filled(self, node: ast.FormattedValue, names: _Names) -> Any:
        return self.value(node.value, names)

    def listed(self, node: ast.ListComp | ast.GeneratorExp, names: _Names) -> list[Any]:
        return self._collected(node.elt, node.generators, names)

    def set_listed(self, node: ast.SetComp, names: _Names) -> set[Any]:
        return make_set(self.meter, self._collected(node.elt, node.generators, names))

    def dict_listed(self, node: ast.DictComp, names: _Names) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for inner in self._loop(node.generators, names):
            self.meter.hold(2)
            name = member_name(self.meter, self.value(node.key, inner))
            made[name] = self.value(node.value, inner)
            self.meter.collection(len(made))
        return made

    def _collected(self, element: ast.expr, loops: list[ast.comprehension], names: _Names) -> list[Any]:
        made = []
        for inner in self._loop(loops, names):
            self.meter.hold(1)
            made.append(self.value(element, inner))
        return made

    def _loop(self, loops: list[ast.comprehension], names: _Names) -> Iterator[_Names]:
        """Yield the names of each round of nested loops."""
        if not loops:
            yield names
            return
        first, *others = loops
        for item in items_of(self.meter, self.value(first.iter, names)):
            self.meter.spend()
            inner = {**names, **_bound(first.target, item)}
            if all(self.value(test, inner) for test in first.ifs):
                yield from self._loop(others, inner)


def _bound(target: ast.expr, item: Any) -> dict[str, Any]:
    if isinstance(target, ast.Name):
        return {target.id: item}
    assert isinstance(target, ast.Tuple)  # nothing else was let through
    names = [name.id for name in target.elts if isinstance(name, ast.Name)]
    if not isinstance(item, list | tuple) or len(item) != len(names):
        raise ExpressionError(f"loops with {len(names)} variables over what does not have {len(names)} parts")
    return dict(zip(names, item, strict=True))


_WALKS: Mapping[type[ast.AST], Callable[[_Walk, Any, _Names], Any]] = {
    ast.Constant: _Walk.constant, ast.Name: _Walk.name, ast.List: _Walk.list_, ast.Tuple: _Walk.tuple_, ast.Set: _Walk.set_,
    ast.Dict: _Walk.dict_, ast.UnaryOp: _Walk.unary, ast.BinOp: _Walk.binary, ast.BoolOp: _Walk.logical,
    ast.Compare: _Walk.comparison, ast.IfExp: _Walk.choice, ast.Subscript: _Walk.part, ast.Slice: _Walk.slice_,
    ast.Call: _Walk.call, ast.JoinedStr: _Walk.text, ast.FormattedValue: _Walk.filled, ast.ListComp: _Walk.listed,
    ast.GeneratorExp: _Walk.listed, ast.SetComp: _Walk.set_listed, ast.DictComp: _Walk.dict_listed,
}  # fmt: skip
