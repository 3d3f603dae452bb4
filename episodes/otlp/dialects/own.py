"""Reads this project's own attributes: what the client library and hand-made spans say about an act. Pure.

`whetstone.kind` (one of a step's kinds, or `agent`), `whetstone.name`, `whetstone.input`, `whetstone.output`,
`whetstone.check` (a check's name), `whetstone.check.passed`, `.score`, `.label`, `.reason`.
"""

from collections.abc import Sequence
from typing import Any, cast, get_args

from episodes.otlp.dialects.chat import messages_of
from episodes.otlp.dialects.reading import Kind, Reading, number, text
from episodes.otlp.plain import loads_or_none
from episodes.otlp.spans import Log, Span

__all__ = ["HEADS", "NAME", "read"]

NAME = "whetstone"
HEADS = frozenset({"whetstone"})

_KINDS = frozenset(get_args(Kind.__value__)) - {""}


def read(span: Span, logs: Sequence[Log]) -> Reading:
    """Return what the span's `whetstone.*` attributes say."""
    attributes = span.attributes
    check = text(attributes.get("whetstone.check"))
    named = attributes.get("whetstone.kind")
    kind = cast("Kind", named) if isinstance(named, str) and named in _KINDS else "check" if check else ""
    reading = Reading(
        kind=kind,
        name=check or text(attributes.get("whetstone.name")),
        given=loads_or_none(attributes.get("whetstone.input")) or attributes.get("whetstone.input"),
        result=loads_or_none(attributes.get("whetstone.output")) or attributes.get("whetstone.output"),
        agent=text(attributes.get("whetstone.name")) if kind == "agent" else "",
    )
    if kind == "model_call":
        reading.messages_in = messages_of(reading.given)
        reading.messages_out = messages_of(reading.result, role="assistant")
    verdict = {
        "passed": _truth(attributes.get("whetstone.check.passed")),
        "score": number(attributes.get("whetstone.check.score")),
        "label": text(attributes.get("whetstone.check.label")),
        "reason": text(attributes.get("whetstone.check.reason")),
    }
    reading.verdict = {name: value for name, value in verdict.items() if value not in (None, "")}
    return reading


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(text(value).lower())
