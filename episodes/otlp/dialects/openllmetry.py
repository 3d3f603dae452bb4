"""Reads OpenLLMetry spans (traceloop-sdk and opentelemetry-instrumentation-* 0.30 to 0.62). Pure.

What newer versions say in GenAI names is left to that dialect; here are `traceloop.*` and the older `llm.*` names.
"""

from collections.abc import Sequence

from episodes.otlp.dialects.chat import definitions_of
from episodes.otlp.dialects.reading import Kind, Reading, first, nested, text, usage_of
from episodes.otlp.spans import Log, Span

__all__ = ["HEADS", "NAME", "read"]

NAME = "openllmetry"
# Other emitters write `llm.*` too; this name was OpenLLMetry's own.
HEADS = frozenset({"traceloop", "llm.request.type"})

_KINDS: dict[str, Kind] = {
    "workflow": "workflow", "agent": "agent", "tool": "tool_call", "handoff": "handoff", "guardrail": "check",
}  # fmt: skip
_REQUESTS: dict[str, Kind] = {
    "chat": "model_call", "completion": "model_call", "embedding": "embedding", "rerank": "retrieval",
}  # fmt: skip


def read(span: Span, logs: Sequence[Log]) -> Reading:
    """Return what the span's `traceloop.*` and `llm.*` attributes say."""
    attributes = span.attributes
    kind = _KINDS.get(text(attributes.get("traceloop.span.kind")), "")
    if not kind and "traceloop.span.kind" not in attributes:
        kind = _REQUESTS.get(text(attributes.get("llm.request.type")), "")
    name = text(attributes.get("traceloop.entity.name"))
    counts = {key: attributes.get(f"llm.usage.{key}") for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return Reading(
        kind=kind,
        name=(name or span.name.removesuffix(".tool")) if kind in {"tool_call", "check"} else "",
        given=attributes.get("traceloop.entity.input"),
        result=attributes.get("traceloop.entity.output"),
        model=text(first(attributes, ("llm.response.model", "llm.request.model"))),
        asked_model=text(attributes.get("llm.request.model")),
        provider=text(attributes.get("llm.vendor")),
        parameters={
            key: attributes[f"llm.{key}"]
            for key in ("temperature", "top_p", "frequency_penalty", "presence_penalty")
            if f"llm.{key}" in attributes
        },
        tools=definitions_of(nested(attributes, "llm.request.functions") or []),
        usage=usage_of(counts),
        agent=name if kind == "agent" else text(attributes.get("gen_ai.handoff.to_agent")) if kind == "handoff" else "",
        workflow=text(attributes.get("traceloop.workflow.name")),
    )
