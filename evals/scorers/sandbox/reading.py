"""Read the text of an expression into a tree of which every node is on the list, or say what is not allowed."""

import ast
from collections.abc import Collection, Iterator

from evals.scorers.sandbox.functions import FUNCTIONS, METHODS
from evals.scorers.sandbox.limits import ExpressionError, Limits

__all__ = ["read"]

_ALLOWED: frozenset[type[ast.AST]] = frozenset({
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.List, ast.Tuple, ast.Dict, ast.Set,
    ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow,
    ast.BitAnd, ast.BitOr, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
    ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.IfExp, ast.Subscript, ast.Slice, ast.Call, ast.keyword, ast.Attribute,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.JoinedStr, ast.FormattedValue,
})  # fmt: skip
_WORDS: dict[type[ast.AST], str] = {
    ast.Lambda: "a function of its own", ast.NamedExpr: "an assignment", ast.Await: "await", ast.Yield: "yield",
    ast.YieldFrom: "yield", ast.Starred: "a star", ast.LShift: "a shift", ast.RShift: "a shift", ast.MatMult: "the sign @",
    ast.BitXor: "the sign ^", ast.Invert: "the sign ~",
}  # fmt: skip


def read(source: str, names: Collection[str], limits: Limits | None = None) -> ast.Expression:
    """Return the expression's tree; raise `ExpressionError` unless it uses these names and nothing that is not listed."""
    limits = limits or Limits()
    if len(source) > limits.source:
        raise ExpressionError(f"has {len(source):,} characters; {limits.source:,} are allowed")
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        said = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply or holds what is no text"
        raise ExpressionError(f"is no Python expression: {said}") from error
    _check_size(tree, limits)
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    _check_bound(bound)
    for node in ast.walk(tree):
        _check(node, {*names, *bound}, limits)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for stray in _uncalled(tree, called):
        raise ExpressionError(stray)
    return tree


def _check_size(tree: ast.AST, limits: Limits) -> None:
    number, level = 0, [tree]
    for _ in range(limits.depth):
        number += len(level)
        if number > limits.nodes:
            raise ExpressionError(f"has more than {limits.nodes} parts; write a shorter one")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ExpressionError(f"is nested deeper than {limits.depth} levels")


def _check_bound(bound: Collection[str]) -> None:
    for name in bound:
        if name in FUNCTIONS or name.startswith("_"):
            raise ExpressionError(f"cannot call a variable {name!r}")


def _check(node: ast.AST, names: Collection[str], limits: Limits) -> None:
    if type(node) not in _ALLOWED:
        what = _WORDS.get(type(node), type(node).__name__)
        raise ExpressionError(f"uses {what}, which is not allowed in an expression")
    match node:
        case ast.Constant(value=value):
            _check_constant(value, limits)
        case ast.Name(id=name) if name not in names and name not in FUNCTIONS:
            raise ExpressionError(f"uses the name {name!r}; there are {', '.join(sorted(names))}")
        case ast.Compare(ops=ops, comparators=others):
            pairs = zip(ops, others, strict=True)
            if any(isinstance(op, ast.Is | ast.IsNot) and not _is_none(other) for op, other in pairs):
                raise ExpressionError("compares with 'is' what is not None; use ==")
        case ast.Dict(keys=keys) if None in keys:
            raise ExpressionError("uses a star, which is not allowed in an expression")
        case ast.FormattedValue(conversion=conversion, format_spec=form) if conversion != -1 or form is not None:
            raise ExpressionError("formats a value; use round() and plain braces")
        case ast.comprehension(target=target, is_async=is_async):
            _check_target(target)
            if is_async:
                raise ExpressionError("uses async, which is not allowed in an expression")
        case ast.Call():
            _check_call(node)


def _check_constant(value: object, limits: Limits) -> None:
    if not (value is None or isinstance(value, bool | int | float | str)):
        raise ExpressionError(f"holds {type(value).__name__}, which is no JSON value")
    if isinstance(value, int) and value.bit_length() > limits.integer_bits:
        raise ExpressionError(f"holds a whole number of more than {limits.integer_bits} bits")


def _check_target(target: ast.expr) -> None:
    plain = target.elts if isinstance(target, ast.Tuple) else [target]
    if not plain or not all(isinstance(one, ast.Name) for one in plain):
        raise ExpressionError("loops into something that is no variable")


def _check_call(node: ast.Call) -> None:
    match node.func:
        case ast.Name(id=name) if name in FUNCTIONS:
            allowed = FUNCTIONS[name].keywords
        case ast.Attribute(attr=name) if name in METHODS:
            allowed = frozenset()
        case ast.Attribute(attr=name):
            raise ExpressionError(f"calls .{name}(); there are {', '.join(sorted(METHODS))}")
        case _:
            raise ExpressionError(f"calls what is no function; there are {', '.join(sorted(FUNCTIONS))}")
    for keyword in node.keywords:
        if keyword.arg not in allowed:
            raise ExpressionError(f"calls {name} with {keyword.arg or '**'}=, which it does not take")


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _uncalled(tree: ast.AST, called: Collection[int]) -> Iterator[str]:
    """Yield what is wrong with functions and methods that are named without being called: nothing may hold one."""
    for node in ast.walk(tree):
        if id(node) in called:
            continue
        if isinstance(node, ast.Attribute):
            yield f"reads the attribute .{node.attr}; members are read with [{node.attr!r}], and methods are called"
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in FUNCTIONS:
            yield f"names the function {node.id} without calling it"
