"""Smallest valid spans, records and bodies, and an encoder of protobuf that shares nothing with the reader."""

import json
import struct
from pathlib import Path
from typing import Any

from episodes.otlp.spans import Log, Span

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

TRACE = "5b8efff798038103d269b633813fc60c"
START = 1_795_227_000_000_000_000


def span_id(number: int) -> str:
    return f"{number:016x}"


def a_span(number: int = 1, parent: int = 0, *, seconds: tuple[float, float] | None = None, **changes: Any) -> Span:
    """A span whose time follows from its number, so that spans have an order without saying so."""
    start, end = seconds or (number, number + 0.5)
    values: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": span_id(number),
        "parent_id": span_id(parent) if parent else "",
        "name": f"span {number}",
        "kind": 1,
        "start_ns": START + int(start * 1e9),
        "end_ns": START + int(end * 1e9),
        "status": 0,
        "status_message": "",
        "attributes": {},
        "resource": {"service.name": "shop"},
        "scope": "test",
        "events": [],
    }
    return Span(**(values | changes))


def a_log(number: int, name: str, body: Any, *, second: float = 1, **changes: Any) -> Log:
    values: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": span_id(number),
        "time_ns": START + int(second * 1e9),
        "name": name,
        "body": body,
        "attributes": {},
        "resource": {},
        "scope": "test",
    }
    return Log(**(values | changes))


def chat(asked: str = "Where is my order?", answered: str = "On its way.", **more: Any) -> dict[str, Any]:
    """Attributes of one model call in the current GenAI names."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": asked}]}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": answered}]}]),
        **more,
    }


AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shop agent"}


def json_body(*spans: dict[str, Any], resource: Any = None) -> bytes:
    scoped = [{"scope": {"name": "test"}, "spans": list(spans)}]
    return json.dumps({"resourceSpans": [{"resource": resource or {}, "scopeSpans": scoped}]}).encode()


def raw_span(**changes: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": span_id(1),
        "name": "chat",
        "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 10**9),
        **changes,
    }


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    """One length-delimited or varint field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed64(number: int, value: int) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def attribute(name: bytes, any_value: bytes) -> bytes:
    return field(1, name) + field(2, any_value)


def pb_span(
    *attributes: bytes, trace: str = TRACE, span: str = span_id(1), parent: str = "", name: bytes = b"chat"
) -> bytes:
    raw = field(1, bytes.fromhex(trace)) + field(2, bytes.fromhex(span))
    raw += (field(4, bytes.fromhex(parent)) if parent else b"") + field(5, name) + field(6, 3)
    raw += fixed64(7, START) + fixed64(8, START + 10**9)
    return raw + b"".join(field(9, one) for one in attributes)


def pb_body(*spans: bytes, resource: bytes = b"") -> bytes:
    scoped = field(1, field(1, b"test")) + b"".join(field(2, span) for span in spans)
    return field(1, field(1, resource) + field(2, scoped))
