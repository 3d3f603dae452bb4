"""What no other scorer says: a Python expression in the sandbox."""

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from accounts.exceptions import DomainError
from evals.scorers.reply import Reply
from evals.scorers.sandbox import ExpressionError, Limits, Meter, TooMuchError, evaluate, read
from evals.scorers.scorer import Part, Scorer
from harness.canonical import clean_json

__all__ = ["EXPRESSION", "NAMES"]

LIMITS = Limits()
MAX_BYTES = 1_000_000

NAMES: Mapping[str, Callable[[Reply], Any]] = {
    "text": lambda reply: reply.text,
    "said": lambda reply: list(reply.said),
    "output": lambda reply: reply.answer,
    "steps": lambda reply: [dict(step) for step in reply.acts],
    "tools": lambda reply: [call.get("name") for call in reply.calls],
    "sources": lambda reply: list(reply.sources),
    "state": lambda reply: dict(reply.final_state),
    "messages": lambda reply: [dict(turn) for turn in reply.turns],
    "handed_off": lambda reply: reply.handed_off,
}
"""What an expression may read of a reply."""


@lru_cache(maxsize=512)
def _tree(source: str) -> ast.Expression:
    return read(source, NAMES, LIMITS)


def _share(source: str, reply: Reply) -> float:
    """Return the score an expression gives a reply; raise `ExpressionError` when it gives none."""
    tree = _tree(source)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & set(NAMES)
    try:
        values = {name: clean_json(NAMES[name](reply), max_bytes=MAX_BYTES, allow_big_integers=True) for name in used}
    except DomainError as error:
        raise ExpressionError(f"cannot read this reply: {error}") from error
    answer = evaluate(tree, values, Meter(LIMITS))
    if isinstance(answer, bool | int | float) and 0 <= answer <= 1:
        return float(answer)
    raise ExpressionError("gives neither true or false nor a number from 0 to 1")


def _expression(wanted: str, reply: Reply) -> Part:
    try:
        share = _share(wanted, reply)
    except ExpressionError as error:
        return Part(0.0, f"the expression {error}")
    return Part(share, "the expression holds" if share >= 1 else f"the expression gives {share:g}")


def _problem(wanted: str) -> str:
    """Say what is not allowed, and try the expression on an empty reply: what runs away there always does."""
    try:
        _tree(wanted)
    except ExpressionError as error:
        return f"the expression {error}"
    try:
        _share(wanted, Reply())
    except TooMuchError as error:
        return f"the expression {error}"
    except ExpressionError:
        return ""  # an empty reply may lack what it reads
    return ""


EXPRESSION = Scorer(
    "expression",
    f"A Python expression over {', '.join(NAMES)} gives true, or a score from 0 to 1. It runs in a sandbox: no attributes, "
    "imports or functions of its own, and a bounded number of steps; what fails or does too much scores 0 and says so.",
    {"type": "string", "minLength": 1, "maxLength": LIMITS.source, "pattern": r"\S"},
    "len(text.split()) <= 80 and 'refund_order' not in tools", _expression, _problem,
)  # fmt: skip
