"""Reads OpenInference spans (semantic conventions 0.1.x as written by openinference-instrumentation-* 0.1). Pure.

Lists are flattened: `llm.input_messages.0.message.tool_calls.0.tool_call.function.name`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from episodes.otlp.dialects.chat import Message, definitions_of, messages_of
from episodes.otlp.dialects.reading import Kind, Reading, first, nested, number, text, usage_of
from episodes.otlp.plain import loads_or_none
from episodes.otlp.spans import Log, Span

__all__ = ["HEADS", "NAME", "read"]

NAME = "openinference"
HEADS = frozenset({"openinference"})

_KINDS: dict[str, Kind] = {
    "LLM": "model_call", "EMBEDDING": "embedding", "CHAIN": "workflow", "RETRIEVER": "retrieval",
    "RERANKER": "retrieval", "TOOL": "tool_call", "AGENT": "agent", "GUARDRAIL": "check", "EVALUATOR": "check",
}  # fmt: skip
_COUNTS = {
    "llm.token_count.prompt": "input_tokens",
    "llm.token_count.completion": "output_tokens",
    "llm.token_count.total": "total_tokens",
    "llm.token_count.prompt_details.cache_read": "cached_tokens",
    "llm.token_count.completion_details.reasoning": "reasoning_tokens",
}


def read(span: Span, logs: Sequence[Log]) -> Reading:
    """Return what the span's OpenInference attributes say."""
    attributes = span.attributes
    parameters = loads_or_none(
        first(attributes, ("llm.invocation_parameters", "embedding.invocation_parameters")) or "{}"
    )
    reading = Reading(
        kind=_KINDS.get(text(attributes.get("openinference.span.kind")).upper(), ""),
        model=text(first(attributes, ("llm.model_name", "llm.response.model_name", "llm.request.model_name",
                                      "embedding.model_name", "reranker.model_name"))),
        asked_model=_asked_model(attributes, parameters),
        provider=text(first(attributes, ("llm.provider", "llm.system"))),
        parameters={k: v for k, v in parameters.items() if k != "model"} if isinstance(parameters, dict) else {},
        usage=_usage(attributes),
        call_id=text(first(attributes, ("tool.id", "tool_call.id"))),
        finish=text(attributes.get("llm.finish_reason")),
        agent=text(attributes.get("agent.name")),
        given=attributes.get("input.value"),
        result=attributes.get("output.value"),
    )  # fmt: skip
    if reading.kind == "tool_call":
        reading.name = text(attributes.get("tool.name")) or span.name
        called = first(attributes, ("tool_call.function.arguments",))
        reading.given = called if called is not None else reading.given
    elif reading.kind in {"model_call", "embedding"}:
        _read_call(reading, attributes)
    elif reading.kind == "retrieval":
        _read_documents(reading, attributes)
    elif reading.kind == "check":
        _read_verdict(reading, attributes)
    return reading


def _asked_model(attributes: Mapping[str, Any], parameters: Any) -> str:
    named = parameters.get("model") if isinstance(parameters, dict) else None
    return text(named) or text(attributes.get("llm.request.model_name"))


def _usage(attributes: Mapping[str, Any]) -> dict[str, float]:
    usage = usage_of({known: attributes.get(name) for name, known in _COUNTS.items()})
    cost = number(attributes.get("llm.cost.total"))
    return usage if cost is None else {**usage, "cost_usd": cost}


def _read_call(reading: Reading, attributes: Mapping[str, Any]) -> None:
    reading.messages_in = _flattened(attributes, "llm.input_messages") or messages_of(reading.given)
    reading.messages_out = _flattened(attributes, "llm.output_messages") or messages_of(
        reading.result, role="assistant"
    )
    prompts = nested(attributes, "llm.prompts")
    if not reading.messages_in and isinstance(prompts, list):
        texts = [text(_inner(_inner(prompt, "prompt"), "text")) for prompt in prompts]
        reading.messages_in = messages_of([one for one in texts if one])
    listed = nested(attributes, "llm.tools")
    schemas = [_inner(_inner(entry, "tool"), "json_schema") for entry in listed] if isinstance(listed, list) else []
    reading.tools = definitions_of(schemas)
    if not reading.tools:
        asked = loads_or_none(reading.given)
        reading.tools = definitions_of(asked.get("tools") or []) if isinstance(asked, dict) else []
    if reading.kind == "embedding":
        reading.messages_out = []


def _flattened(attributes: Mapping[str, Any], prefix: str) -> list[Message]:
    listed = nested(attributes, prefix)
    found: list[Message] = []
    for entry in listed if isinstance(listed, list) else []:
        message = _inner(entry, "message")
        if not isinstance(message, dict):
            continue
        parts = message.get("contents")
        content = message.get("content")
        if isinstance(parts, list):
            content = [_inner(part, "message_content") for part in parts]
        calls = message.get("tool_calls")
        found += messages_of(
            {
                **message,
                "content": content,
                "tool_calls": [_inner(call, "tool_call") for call in calls] if isinstance(calls, list) else None,
            }
        )
    return found


def _inner(value: Any, name: str) -> Any:
    return value.get(name, value) if isinstance(value, dict) else value


def _read_documents(reading: Reading, attributes: Mapping[str, Any]) -> None:
    listed = nested(attributes, "retrieval.documents") or nested(attributes, "reranker.output_documents")
    documents = [_inner(entry, "document") for entry in listed] if isinstance(listed, list) else []
    reading.documents = [document for document in documents if isinstance(document, dict)]
    query = attributes.get("reranker.query")
    reading.given = query if query is not None else reading.given
    reading.result = None if reading.documents else reading.result


def _read_verdict(reading: Reading, attributes: Mapping[str, Any]) -> None:
    for start in ("evaluation", "annotation", "evaluations.0.evaluation", "annotations.0.annotation"):
        verdict: dict[str, Any] = {
            "name": text(attributes.get(f"{start}.name")),
            "score": number(attributes.get(f"{start}.score")),
            "label": text(attributes.get(f"{start}.label")),
            "reason": text(attributes.get(f"{start}.explanation")),
        }
        said = {name: value for name, value in verdict.items() if value not in {None, ""}}
        if said:
            reading.verdict = said
            reading.name = verdict["name"] or ""
            return
