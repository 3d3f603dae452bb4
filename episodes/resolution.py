"""How a conversation ended, by the strongest voice that spoke: customer's system, staff, detector, the agent itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["RESOLUTIONS", "TRUTH_ORDER", "Reading", "Statement", "derive"]

RESOLUTIONS = frozenset({"resolved", "failed", "abandoned", "escalated", "blocked"})
"""Outcome names that end a conversation; any other name is a business outcome beside it."""

TRUTH_ORDER = ("customer", "staff", "detector", "agent")

_HAPPENED = 0.5


@dataclass(frozen=True)
class Statement:
    """One outcome as it was reported; `order` breaks ties of `at` (later rows win)."""

    name: str
    value: float
    source: str
    at: datetime
    order: str = ""


@dataclass(frozen=True)
class Reading:
    """The conversation's end and whose word it is; `open` and nobody's while nothing credible was said."""

    resolution: str = "open"
    source: str = ""


def derive(statements: Iterable[Statement], *, last_at: datetime, order: Sequence[str] = TRUTH_ORDER) -> Reading:
    """Return the newest statement of the strongest source in `order`.

    A value below .5 says that it did not happen: `resolved` of 0 is a failure, any other name of 0 says nothing. What
    a detector concluded before the conversation went on (`last_at`) is out of date.
    """
    by_source: dict[str, list[tuple[datetime, str, str]]] = {}
    for statement in statements:
        name = _meaning(statement)
        is_stale = statement.source == "detector" and statement.at < last_at
        if name and not is_stale:
            by_source.setdefault(statement.source, []).append((statement.at, statement.order, name))
    for source in order:
        if source in by_source:
            return Reading(max(by_source[source])[2], source)
    return Reading()


def _meaning(statement: Statement) -> str:
    if statement.name not in RESOLUTIONS:
        return ""
    if statement.value >= _HAPPENED:
        return statement.name
    return "failed" if statement.name == "resolved" else ""
