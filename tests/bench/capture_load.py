"""What capture is measured with: one kind of episode, told as REST items and as OTLP traces."""

import random
from collections.abc import Iterable
from typing import Any

import orjson

from episodes.otlp.protocol import Span, TraceRequest

__all__ = ["episode", "traces"]

_WORDS = [
    "parcel",
    "order",
    "please",
    "refund",
    "invoice",
    "address",
    "because",
    "yesterday",
    "again",
    "never",
    "arrived",
    "blue",
    "kettle",
    "size",
    "large",
    "small",
    "wrong",
    "broken",
    "late",
    "could",
    "would",
    "you",
    "tell",
    "me",
    "when",
    "where",
    "which",
    "how",
    "much",
    "it",
    "is",
    "the",
    "a",
    "of",
    "my",
    "your",
    "to",
    "for",
    "with",
    "and",
]


def _said(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def episode(number: int, run: str) -> dict[str, Any]:
    """Return one episode of about 5 KB: a question, a model call, a tool call, a retrieval, the answer."""
    chance = random.Random(f"{run}-{number}")  # the same load every time
    question, answer = _said(chance, 40), _said(chance, 60)
    ask = [{"role": "system", "content": _said(chance, 120)}, {"role": "user", "content": question}]
    found = [{"id": f"document-{n}", "score": round(chance.random(), 3), "text": _said(chance, 60)} for n in range(3)]
    steps = [
        {"kind": "model_call", "name": "chat", "input": {"model": "m-1", "messages": ask},
         "output": {"tool_calls": [{"name": "find_order", "arguments": {"order": f"A-{number:06d}"}}]}, "latency_ms": 812.4},
        {"kind": "tool_call", "name": "find_order", "input": {"order": f"A-{number:06d}"},
         "output": {"status": "sent", "items": [{"sku": f"s-{n}", "quantity": n} for n in range(4)]}, "latency_ms": 31.5},
        {"kind": "retrieval", "name": "documents", "input": {"query": question[:80]}, "output": {"documents": found},
         "latency_ms": 12.25},
        {"kind": "model_call", "name": "chat", "input": {"model": "m-1", "messages": ask[1:]}, "output": {"text": answer},
         "latency_ms": 640.1},
    ]  # fmt: skip
    return {
        "id": f"{run}-{number}", "conversation": f"{run}-talk-{number // 2}", "subject": f"user-{number // 2}",
        "started_at": "2026-11-01T10:00:00Z", "ended_at": "2026-11-01T10:00:02Z",
        "input": {"messages": [{"role": "user", "content": question}]}, "output": {"text": answer}, "steps": steps,
        "usage": {"input_tokens": 812, "output_tokens": 90}, "external_refs": {"ticket": f"T-{number}"},
        "attributes": {"channel": "web"},
    }  # fmt: skip


def traces(numbers: Iterable[int], run: str) -> bytes:
    """Return a protobuf body with one trace of 8 spans, about 20 KB, for each number: the same kind of episode."""
    request = TraceRequest()
    resource = request.resource_spans.add()
    _attribute(resource.resource.attributes, "service.name", "desk")
    scope = resource.scope_spans.add()
    scope.scope.name = b"bench"
    for number in numbers:
        chance = random.Random(f"{run}-{number}")  # the same load every time
        scope.spans.extend(span.SerializeToString() for span in _spans(chance, number, run))
    return bytes(request.SerializeToString())


def _spans(chance: random.Random, number: int, run: str) -> Iterable[Any]:
    trace_id = chance.randbytes(16)
    ids = [chance.randbytes(8) for _ in range(8)]
    started = 1_793_000_000_000_000_000 + number * 1_000_000_000
    question, answer = _said(chance, 60), _said(chance, 90)
    talk = [{"role": "system", "parts": [{"type": "text", "content": _said(chance, 430)}]},
            {"role": "user", "parts": [{"type": "text", "content": question}]}]  # fmt: skip
    for place, span_id in enumerate(ids):
        span = Span(trace_id=trace_id, span_id=span_id, start_time_unix_nano=started + place * 1_000_000)
        span.end_time_unix_nano = span.start_time_unix_nano + 900_000_000
        told: dict[str, Any]
        if place == 0:
            span.name, told = b"invoke_agent desk", {
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk", "session.id": f"talk-{run}-{number}",
                "user.id": f"user-{number}",
            }  # fmt: skip
        else:
            span.parent_span_id = ids[0]
            if place % 2:
                talk = [*talk, {"role": "assistant", "parts": [{"type": "text", "content": _said(chance, 40)}]}]
                span.name, told = b"chat m-1", {
                    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m-1",
                    "gen_ai.usage.input_tokens": 812, "gen_ai.usage.output_tokens": 90,
                    "gen_ai.input.messages": orjson.dumps(talk).decode(),
                    "gen_ai.output.messages": orjson.dumps(
                        [{"role": "assistant", "parts": [{"type": "text", "content": answer}], "finish_reason": "stop"}]
                    ).decode(),
                }  # fmt: skip
            else:
                span.name, told = b"execute_tool find_order", {
                    "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find_order",
                    "gen_ai.tool.call.id": f"call-{place}", "gen_ai.tool.call.arguments": f'{{"order": "A-{number:06d}"}}',
                    "gen_ai.tool.call.result": orjson.dumps({"status": "sent", "note": _said(chance, 60)}).decode(),
                }  # fmt: skip
        for name, value in told.items():
            _attribute(span.attributes, name, value)
        yield span


def _attribute(attributes: Any, name: str, value: str | int) -> None:
    one = attributes.add()
    one.key = name.encode()
    if isinstance(value, int):
        one.value.int_value = value
    else:
        one.value.string_value = value.encode()
