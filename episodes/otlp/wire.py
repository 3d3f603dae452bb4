"""Reads OTLP/HTTP bodies, protobuf or JSON, into spans and log records, and writes the answers the protocol asks for.

A body that cannot be read at all is refused as a whole; a single bad span is counted and named, the others are kept.
Source: OpenTelemetry Protocol specification 1.x, sections OTLP/HTTP and Partial Success. Pure.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from episodes.otlp import jsonwire, protocol, protowire
from episodes.otlp.refusals import BadRecordError, UnreadableError
from episodes.otlp.spans import Log, Span

__all__ = ["Received", "UnreadableError", "answer", "error_answer", "read_logs", "read_traces"]

type Signal = Literal["traces", "logs", "metrics"]

_COUNT_NAMES = {"traces": "rejectedSpans", "logs": "rejectedLogRecords", "metrics": "rejectedDataPoints"}
_MAX_REASONS = 3
_MAX_MESSAGE = 2_000


@dataclass(frozen=True, slots=True)
class Received:
    """What one request carried. `rejected` single records are left out; `reason` says why, for the sender."""

    spans: list[Span]
    logs: list[Log]
    rejected: int
    reason: str


def read_traces(body: bytes, *, is_json: bool) -> Received:
    """Return the spans of an ExportTraceServiceRequest; raise `UnreadableError` when the body is none.

    NUL and letters that are not UTF-8 are replaced, numbers that JSON cannot hold become text, values nested deeper
    than 32 become a remark. Spans without valid ids are rejected.
    """
    wire = jsonwire if is_json else protowire
    spans, rejected, reason = _kept(wire.span_records(body), wire.span_of, "span")
    return Received(spans, [], rejected, reason)


def read_logs(body: bytes, *, is_json: bool) -> Received:
    """Return the records of an ExportLogsServiceRequest; raise `UnreadableError` when the body is none.

    A record may lack ids, as the protocol allows; what is changed and rejected is as for spans.
    """
    wire = jsonwire if is_json else protowire
    logs, rejected, reason = _kept(wire.log_records(body), wire.log_of, "log record")
    return Received([], logs, rejected, reason)


def _kept[Row](
    records: Iterable[tuple[Any, dict[str, Any], str]], make: Callable[[Any, dict[str, Any], str], Row], name: str
) -> tuple[list[Row], int, str]:
    kept: list[Row] = []
    reasons: dict[str, int] = {}
    for record, resource, scope in records:
        try:
            kept.append(make(record, resource, scope))
        except BadRecordError as error:
            reasons[str(error)] = reasons.get(str(error), 0) + 1
    rejected = sum(reasons.values())
    if not rejected:
        return kept, 0, ""
    named = "; ".join(f"{reason} ({count}x)" for reason, count in list(reasons.items())[:_MAX_REASONS])
    return kept, rejected, f"{rejected} {name}(s) not taken: {named}. The others were."


def answer(signal: Signal, *, is_json: bool, rejected: int = 0, reason: str = "") -> bytes:
    """Return the Export…ServiceResponse: empty on full success, with `partial_success` when there is something to say."""
    is_full = not rejected and not reason
    if is_json:
        partial: dict[str, Any] = {}
        if rejected:
            # 64-bit integers are text in protobuf's JSON.
            partial[_COUNT_NAMES[signal]] = str(rejected)
        if reason:
            partial["errorMessage"] = reason[:_MAX_MESSAGE]
        return orjson.dumps({} if is_full else {"partialSuccess": partial})
    response = protocol.ExportAnswer()
    if not is_full:
        response.partial_success.rejected = rejected
        response.partial_success.error_message = _encoded(reason)
    return bytes(response.SerializeToString())


def error_answer(code: int, message: str, *, is_json: bool) -> bytes:
    """Return the google.rpc.Status that OTLP/HTTP asks for as the body of every 4xx and 5xx answer."""
    if is_json:
        return orjson.dumps({"code": code, "message": _encoded(message).decode()})
    return bytes(protocol.Status(code=code, message=_encoded(message)).SerializeToString())


def _encoded(text: str) -> bytes:
    return text[:_MAX_MESSAGE].encode("utf-8", "replace")
