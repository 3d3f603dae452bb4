"""Reads spans of the Langfuse SDKs (Python 3 to 5, JS 4 and later: `langfuse.observation.*`, `langfuse.trace.*`). Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from episodes.otlp.dialects.chat import definitions_of, messages_of
from episodes.otlp.dialects.reading import Kind, Reading, first, number, text, usage_of
from episodes.otlp.plain import loads_or_none
from episodes.otlp.spans import Log, Span

__all__ = ["HEADS", "NAME", "read"]

NAME = "langfuse"
HEADS = frozenset({"langfuse"})

_KINDS: dict[str, Kind] = {
    "generation": "model_call", "embedding": "embedding", "agent": "agent", "tool": "tool_call",
    "retriever": "retrieval", "evaluator": "check", "guardrail": "check", "chain": "workflow",
}  # fmt: skip
_OBSERVATION = "langfuse.observation."


def read(span: Span, logs: Sequence[Log]) -> Reading:
    """Return what the span's `langfuse.*` attributes say."""
    attributes = span.attributes
    kind = _KINDS.get(text(attributes.get(_OBSERVATION + "type")), "")
    given = first(attributes, (_OBSERVATION + "input", "langfuse.trace.input"))
    result = first(attributes, (_OBSERVATION + "output", "langfuse.trace.output"))
    reading = Reading(
        kind=kind,
        name=span.name if kind in {"tool_call", "retrieval", "check"} else "",
        given=given,
        result=result,
        model=text(first(attributes, (_OBSERVATION + "model.name", _OBSERVATION + "model"))),
        usage=_usage(attributes),
        error=_error(attributes),
        agent=span.name if kind == "agent" else "",
        workflow=text(attributes.get("langfuse.trace.name")),
    )
    if kind == "model_call":
        asked = loads_or_none(given)
        reading.messages_in = messages_of(given)
        reading.messages_out = messages_of(result, role="assistant")
        reading.tools = definitions_of(asked.get("tools") or []) if isinstance(asked, dict) else []
    if kind in {"model_call", "embedding"}:
        reading.parameters = _parameters(attributes)
    if kind == "retrieval":
        found = loads_or_none(result)
        reading.documents = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if kind == "check":
        verdict = loads_or_none(result)
        reading.verdict = {"label": verdict} if isinstance(verdict, str) else {}
    return reading


def _parameters(attributes: Mapping[str, Any]) -> dict[str, Any]:
    listed = loads_or_none(attributes.get(_OBSERVATION + "model.parameters"))
    if not isinstance(listed, dict):
        return {}
    # The SDK writes "Infinity" for a limit nobody set.
    return {name: value for name, value in listed.items() if value not in (None, "Infinity", "inf")}


def _usage(attributes: Mapping[str, Any]) -> dict[str, float]:
    usage = usage_of(attributes.get(_OBSERVATION + "usage_details"))
    costs = loads_or_none(attributes.get(_OBSERVATION + "cost_details"))
    if isinstance(costs, dict):
        parts = [amount for part in ("input", "output") if (amount := number(costs.get(part))) is not None]
        total = number(costs.get("total"))
        cost = total if total is not None else sum(parts) if parts else None
        if cost is not None:
            usage["cost_usd"] = cost
    return usage


def _error(attributes: Mapping[str, Any]) -> str:
    if attributes.get(_OBSERVATION + "level") != "ERROR":
        return ""
    return text(attributes.get(_OBSERVATION + "status_message")) or "error"
