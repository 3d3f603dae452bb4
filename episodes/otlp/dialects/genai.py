"""Reads the OpenTelemetry GenAI semantic conventions, semconv 1.27 to 1.41 and the separate GenAI repository. Pure.

Old names (`gen_ai.system`, `gen_ai.usage.prompt_tokens`, messages in events and log records `gen_ai.user.message` …
`gen_ai.choice`) and current ones (`gen_ai.provider.name`, `gen_ai.input.messages`, the event
`gen_ai.client.inference.operation.details`, `gen_ai.tool.call.arguments`, `gen_ai.retrieval.documents`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from episodes.otlp.dialects.chat import Message, definitions_of, messages_of, system_messages
from episodes.otlp.dialects.reading import Kind, Reading, first, nested, number, text, usage_of
from episodes.otlp.plain import loads_or_none
from episodes.otlp.spans import Log, Span

__all__ = ["HEADS", "NAME", "conversed", "is_message_event", "read"]

NAME = "genai"
HEADS = frozenset({"gen_ai"})

_KINDS: dict[str, Kind] = {
    "chat": "model_call", "text_completion": "model_call", "generate_content": "model_call", "completion": "model_call",
    "embeddings": "embedding", "execute_tool": "tool_call", "retrieval": "retrieval", "invoke_agent": "agent",
    "invoke_workflow": "workflow", "handoff": "handoff",
}  # fmt: skip
_DETAILS = "gen_ai.client.inference.operation.details"
_EVALUATION = "gen_ai.evaluation.result"
_ROLE_EVENTS = {
    "gen_ai.system.message": "system", "gen_ai.user.message": "user", "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}  # fmt: skip


def is_message_event(name: str) -> bool:
    """Tell whether an event's name says that it carries messages or a verdict of these conventions."""
    return name in _ROLE_EVENTS or name in {
        "gen_ai.choice", _DETAILS, _EVALUATION, "gen_ai.content.prompt", "gen_ai.content.completion",
    }  # fmt: skip


def read(span: Span, logs: Sequence[Log]) -> Reading:
    """Return what the span's `gen_ai.*` attributes, events and log records say."""
    attributes = span.attributes
    events = [(event["name"], event["attributes"]) for event in span.events] + [
        (log.name, {**log.attributes, **log.body} if isinstance(log.body, dict) else log.attributes) for log in logs
    ]
    reading = Reading(
        kind=_kind(attributes, events),
        model=text(first(attributes, ("gen_ai.response.model", "gen_ai.request.model"))),
        asked_model=text(attributes.get("gen_ai.request.model")),
        provider=text(first(attributes, ("gen_ai.provider.name", "gen_ai.system"))),
        parameters=_under(attributes, "gen_ai.openai.request.") | _under(attributes, "gen_ai.request.", but="model"),
        tools=definitions_of(attributes.get("gen_ai.tool.definitions")),
        usage=_usage(attributes),
        call_id=text(attributes.get("gen_ai.tool.call.id")),
        agent=text(attributes.get("gen_ai.agent.name")),
        workflow=text(attributes.get("gen_ai.workflow.name")),
        finish=_finish(attributes.get("gen_ai.response.finish_reasons")),
    )
    reading.name = text(attributes.get("gen_ai.tool.name")) if reading.kind == "tool_call" else ""
    _read_messages(reading, attributes, events)
    _read_values(reading, attributes)
    _read_evaluation(reading, attributes, events)
    return reading


def _kind(attributes: Mapping[str, Any], events: Iterable[tuple[str, Any]]) -> Kind:
    operation = attributes.get("gen_ai.operation.name")
    if isinstance(operation, str) and operation:
        return _KINDS.get(operation, "")
    if "gen_ai.tool.name" in attributes:
        return "tool_call"
    if "gen_ai.evaluation.name" in attributes:
        return "check"
    speaks = any(name in _ROLE_EVENTS or name == "gen_ai.choice" for name, _ in events)
    asked = any(name in attributes for name in ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.prompt"))
    return "model_call" if speaks or asked or "gen_ai.prompt.0.role" in attributes else ""


def _under(attributes: Mapping[str, Any], start: str, but: str = "") -> dict[str, Any]:
    cut = len(start)
    return {name[cut:]: attributes[name] for name in attributes if name.startswith(start) and name[cut:] != but}


def _usage(attributes: Mapping[str, Any]) -> dict[str, float]:
    usage = usage_of(_under(attributes, "gen_ai.usage."))
    cost = number(first(attributes, ("operation.cost", "gen_ai.usage.cost", "gen_ai.usage.total_cost")))
    return usage if cost is None else {**usage, "cost_usd": cost}


def _finish(value: Any) -> str:
    listed = loads_or_none(value)
    return text(listed[0] if isinstance(listed, list) and listed else value)


def _read_messages(reading: Reading, attributes: Mapping[str, Any], events: Sequence[tuple[str, Any]]) -> None:
    carriers = [attributes, *(payload for name, payload in events if name == _DETAILS)]
    carriers += [payload for name, payload in events if name in {"gen_ai.content.prompt", "gen_ai.content.completion"}]
    for carrier in carriers:
        given = first(carrier, ("gen_ai.input.messages", "gen_ai.prompt"))
        made = first(carrier, ("gen_ai.output.messages", "gen_ai.completion"))
        system = system_messages(carrier.get("gen_ai.system_instructions"))
        if not reading.messages_in:
            reading.messages_in = messages_of(given) or messages_of(nested(carrier, "gen_ai.prompt"))
        if system and not any(message["role"] == "system" for message in reading.messages_in):
            reading.messages_in = [*system, *reading.messages_in]
        if not reading.messages_out:
            made = made if made is not None else nested(carrier, "gen_ai.completion")
            reading.messages_out = messages_of(made, role="assistant")
        reading.tools = reading.tools or definitions_of(carrier.get("gen_ai.tool.definitions"))
    heard, answered = conversed(events)
    reading.messages_in = reading.messages_in or heard
    reading.messages_out = reading.messages_out or answered


def conversed(events: Iterable[tuple[str, Any]]) -> tuple[list[Message], list[Message]]:
    """Return the messages of single-message events: what the model was given, and what it answered."""
    heard: list[Message] = []
    answered: list[Message] = []
    for name, payload in events:
        if name in _ROLE_EVENTS:
            said = {"content": None, **payload, "role": payload.get("role") or _ROLE_EVENTS[name]}
            said["content"] = said["content"] if said["content"] is not None else payload.get("gen_ai.event.content")
            heard += messages_of(_opened_calls(said), role=_ROLE_EVENTS[name])
        elif name == "gen_ai.choice":
            message = loads_or_none(payload.get("message", payload))
            message = message if isinstance(message, dict) else {"content": payload.get("message")}
            answered += messages_of(_opened_calls({"content": None, "role": "assistant", **message}), role="assistant")
    return heard, answered


def _opened_calls(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message with its calls opened: span events may carry only flat values, so JSON text."""
    return {**message, "tool_calls": loads_or_none(message.get("tool_calls"))}


def _read_values(reading: Reading, attributes: Mapping[str, Any]) -> None:
    if reading.kind == "tool_call":
        reading.given = first(attributes, ("gen_ai.tool.call.arguments", "gen_ai.tool.arguments"))
        reading.result = first(attributes, ("gen_ai.tool.call.result", "gen_ai.tool.result", "gen_ai.tool.message"))
    elif reading.kind == "retrieval":
        reading.name = text(attributes.get("gen_ai.data_source.id"))
        reading.given = attributes.get("gen_ai.retrieval.query.text")
        found = loads_or_none(attributes.get("gen_ai.retrieval.documents"))
        reading.documents = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _read_evaluation(reading: Reading, attributes: Mapping[str, Any], events: Sequence[tuple[str, Any]]) -> None:
    for payload in (attributes, *(payload for name, payload in events if name == _EVALUATION)):
        if "gen_ai.evaluation.name" not in payload:
            continue
        verdict: dict[str, Any] = {
            "name": text(payload["gen_ai.evaluation.name"]),
            "score": number(payload.get("gen_ai.evaluation.score.value")),
            "label": text(payload.get("gen_ai.evaluation.score.label")),
            "reason": text(payload.get("gen_ai.evaluation.explanation")),
        }
        reading.verdict = {name: value for name, value in verdict.items() if value not in {None, ""}}
        if reading.kind == "check":
            reading.name = verdict["name"] or ""
