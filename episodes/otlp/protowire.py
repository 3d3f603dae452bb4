"""Reads the protobuf encoding of OTLP. Pure."""

import base64
import math
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from episodes.otlp import protocol
from episodes.otlp.plain import MAX_DEPTH, TOO_DEEP
from episodes.otlp.refusals import BadRecordError, UnreadableError
from episodes.otlp.spans import Log, Span

__all__ = ["log_of", "log_records", "span_of", "span_records"]

_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def span_records(body: bytes) -> Iterator[tuple[bytes, dict[str, Any], str]]:
    """Yield the undecoded spans of an ExportTraceServiceRequest with their resource's attributes and scope's name."""
    for group in _request(protocol.TraceRequest, body, "ExportTraceServiceRequest").resource_spans:
        resource = _members(group.resource.attributes)
        for scoped in group.scope_spans:
            scope = _text(scoped.scope.name)
            for record in scoped.spans:
                yield record, resource, scope


def log_records(body: bytes) -> Iterator[tuple[bytes, dict[str, Any], str]]:
    """Yield the undecoded records of an ExportLogsServiceRequest with their resource's attributes and scope's name."""
    for group in _request(protocol.LogsRequest, body, "ExportLogsServiceRequest").resource_logs:
        resource = _members(group.resource.attributes)
        for scoped in group.scope_logs:
            scope = _text(scoped.scope.name)
            for record in scoped.log_records:
                yield record, resource, scope


def span_of(record: bytes, resource: dict[str, Any], scope: str) -> Span:
    """Return the span; raise `BadRecordError` when it cannot be decoded or its ids are not valid."""
    raw = _decoded(protocol.Span, record)
    code = raw.status.code
    return Span(
        _id(raw.trace_id, _NO_TRACE, "trace_id"),
        _id(raw.span_id, _NO_SPAN, "span_id"),
        _parent(raw.parent_span_id),
        _text(raw.name),
        raw.kind,
        raw.start_time_unix_nano,
        raw.end_time_unix_nano,
        code if code in {1, 2} else 0,
        _text(raw.status.message),
        _members(raw.attributes),
        resource,
        scope,
        [
            {"name": _text(event.name), "time_ns": event.time_unix_nano, "attributes": _members(event.attributes)}
            for event in raw.events
        ],
    )


def log_of(record: bytes, resource: dict[str, Any], scope: str) -> Log:
    """Return the log record; raise `BadRecordError` when it cannot be decoded or its ids are not valid."""
    raw = _decoded(protocol.LogRecord, record)
    attributes = _members(raw.attributes)
    trace_id, span_id = raw.trace_id, raw.span_id
    return Log(
        _id(trace_id, _NO_TRACE, "trace_id") if trace_id.strip(b"\x00") else "",
        _id(span_id, _NO_SPAN, "span_id") if span_id.strip(b"\x00") else "",
        raw.time_unix_nano or raw.observed_time_unix_nano,
        _text(raw.event_name) or str(attributes.get("event.name") or ""),
        _value(raw.body, MAX_DEPTH),
        attributes,
        resource,
        scope,
    )


def _request(kind: Any, body: bytes, name: str) -> Any:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        sentence = (
            f"The body is not a protobuf {name}: {error}. Send that message with Content-Type application/x-protobuf, "
            "or its JSON form with application/json."
        )
        raise UnreadableError(sentence) from error


def _decoded(kind: Any, record: bytes) -> Any:
    try:
        return kind.FromString(record)
    except DecodeError as error:
        raise BadRecordError("it is not a readable protobuf message, or nested too deeply") from error


def _id(value: bytes, nothing: bytes, name: str) -> str:
    if len(value) != len(nothing):
        raise BadRecordError(f"{name} has {len(value)} bytes instead of {len(nothing)}")
    if value == nothing:
        raise BadRecordError(f"{name} is all zeros")
    return value.hex()


def _parent(value: bytes) -> str:
    return _id(value, _NO_SPAN, "parent_span_id") if value and value != _NO_SPAN else ""


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return text.replace("\x00", _REPLACEMENT) if "\x00" in text else text


def _members(pairs: Iterable[Any]) -> dict[str, Any]:
    """Return attributes as a dict, the last of equal names. Texts, by far the most frequent, take the short way."""
    members: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        text = value.string_value
        members[_text(pair.key)] = _text(text) if text else _value(value, MAX_DEPTH)
    return members


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return None
        case "string_value":
            return _text(value.string_value)
        case "double_value":
            return _double(value.double_value)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "array_value" | "kvlist_value" if depth <= 1:
            return TOO_DEEP
        case "array_value":
            return [_value(part, depth - 1) for part in value.array_value.values]
        case "kvlist_value":
            return {_text(pair.key): _value(pair.value, depth - 1) for pair in value.kvlist_value.values}
    return getattr(value, kind)


def _double(number: float) -> float | str:
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
