"""Reads pydantic-ai's own attributes beside the GenAI ones (instrumentation versions 1 to 5, with or without logfire). Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from episodes.otlp.dialects.chat import definitions_of, messages_of
from episodes.otlp.dialects.genai import conversed
from episodes.otlp.dialects.reading import Kind, Reading, first, text
from episodes.otlp.plain import loads_or_none
from episodes.otlp.spans import Log, Span

__all__ = ["HEADS", "NAME", "SCOPES", "read"]

NAME = "pydantic_ai"
HEADS = frozenset({"pydantic_ai", "all_messages_events", "model_request_parameters", "tool_arguments"})
SCOPES = frozenset({"pydantic-ai", "pydantic_ai"})


def read(span: Span, logs: Sequence[Log]) -> Reading:
    """Return what the span's attributes of pydantic-ai say."""
    attributes = span.attributes
    kind = _kind(span)
    reading = Reading(kind=kind, agent=text(attributes.get("agent_name")) if kind == "agent" else "")
    if kind == "agent":
        reading.model = text(attributes.get("model_name"))
        reading.result = attributes.get("final_result")
        everything = first(attributes, ("pydantic_ai.all_messages", "all_messages_events"))
        listed = loads_or_none(everything)
        messages = messages_of(listed) if isinstance(listed, list) else []
        spoken = [index for index, message in enumerate(messages) if message["role"] == "user"]
        reading.messages_in = messages[: spoken[-1] + 1] if spoken else []
        reading.messages_out = messages[spoken[-1] + 1 :] if spoken else []
    elif kind == "tool_call":
        reading.name = text(attributes.get("gen_ai.tool.name"))
        reading.given = attributes.get("tool_arguments")
        reading.result = attributes.get("tool_response")
    _read_events(reading, attributes)
    asked = loads_or_none(attributes.get("model_request_parameters"))
    if isinstance(asked, dict):
        listed = [*_list(asked.get("function_tools")), *_list(asked.get("output_tools"))]
        reading.tools = definitions_of(listed)
    return reading


def _kind(span: Span) -> Kind:
    attributes = span.attributes
    if "all_messages_events" in attributes or "pydantic_ai.all_messages" in attributes:
        return "agent"
    if span.name == "agent run" or ("agent_name" in attributes and "model_name" in attributes):
        return "agent"
    if "tool_arguments" in attributes or span.name.startswith("running tool:"):
        return "tool_call"
    return ""


def _read_events(reading: Reading, attributes: Mapping[str, Any]) -> None:
    """Read version 1, which writes a model call's events as one JSON attribute."""
    listed = loads_or_none(attributes.get("events"))
    if not isinstance(listed, list):
        return
    events = [(text(one.get("event.name")), one) for one in listed if isinstance(one, dict)]
    reading.messages_in, reading.messages_out = conversed(events)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
