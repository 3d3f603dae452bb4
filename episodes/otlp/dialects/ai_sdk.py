"""Reads spans of the AI SDK for TypeScript (versions 3.4 to 6: `ai.operationId`, `ai.prompt.*`, `ai.response.*`). Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from episodes.otlp.dialects.chat import definitions_of, messages_of
from episodes.otlp.dialects.reading import Kind, Reading, first, text, usage_of
from episodes.otlp.plain import loads_or_none
from episodes.otlp.spans import Log, Span

__all__ = ["HEADS", "NAME", "read"]

NAME = "ai_sdk"
HEADS = frozenset({"ai"})

_USAGE = "ai.usage."


def read(span: Span, logs: Sequence[Log]) -> Reading:
    """Return what the span's `ai.*` attributes say. `generateText` and the like are runs around their model calls."""
    attributes = span.attributes
    kind = _kind(text(attributes.get("ai.operationId")))
    counts = {name[len(_USAGE) :]: value for name, value in attributes.items() if name.startswith(_USAGE)}
    reading = Reading(
        kind=kind,
        model=text(first(attributes, ("ai.response.model", "ai.model.id"))),
        asked_model=text(attributes.get("ai.model.id")),
        provider=text(attributes.get("ai.model.provider")),
        usage=usage_of({**counts, "input": counts.get("tokens") if kind == "embedding" else None}),
        finish=text(attributes.get("ai.response.finishReason")),
        workflow=text(attributes.get("ai.telemetry.functionId")),
    )
    if kind == "tool_call":
        reading.name = text(attributes.get("ai.toolCall.name"))
        reading.call_id = text(attributes.get("ai.toolCall.id"))
        reading.given = attributes.get("ai.toolCall.args")
        reading.result = attributes.get("ai.toolCall.result")
    elif kind in {"model_call", "workflow"}:
        reading.messages_in = messages_of(first(attributes, ("ai.prompt.messages", "ai.prompt")))
        reading.messages_out = _answer(attributes)
        reading.result = first(attributes, ("ai.response.text", "ai.response.object"))
        tools = loads_or_none(attributes.get("ai.prompt.tools"))
        reading.tools = definitions_of(tools) if isinstance(tools, list) else []
    return reading


def _kind(operation: str) -> Kind:
    if operation == "ai.toolCall":
        return "tool_call"
    if operation.startswith("ai.embed"):
        return "embedding" if operation.endswith("doEmbed") else ""
    if operation.endswith((".doGenerate", ".doStream")):
        return "model_call"
    return "workflow" if operation.startswith(("ai.generate", "ai.stream")) else ""


def _answer(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    said = first(attributes, ("ai.response.text", "ai.response.object"))
    calls = loads_or_none(attributes.get("ai.response.toolCalls"))
    if said is None and not calls:
        return []
    return messages_of(
        {"role": "assistant", "content": said if isinstance(said, str) else None, "tool_calls": calls}, role="assistant"
    )
