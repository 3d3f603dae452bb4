"""Reads the JSON encoding of OTLP: lowerCamelCase names, ids as hex, 64-bit integers as text or number. Pure."""

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from episodes.otlp.plain import MAX_DEPTH, TOO_DEEP, clean_text
from episodes.otlp.refusals import BadRecordError, UnreadableError
from episodes.otlp.spans import Log, Span

__all__ = ["log_of", "log_records", "span_of", "span_records"]

_MAX_INT64 = 2**63 - 1
_MAX_FIXED64 = 2**64 - 1
_MAX_DIGITS = 20
_HEX = re.compile(r"[0-9a-fA-F]*")
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_STATUS = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_KINDS = {
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}

type _Record = tuple[Any, dict[str, Any], str]


def span_records(body: bytes) -> Iterator[_Record]:
    """Yield the spans of an ExportTraceServiceRequest with their resource's attributes and scope's name."""
    return _records(body, "resourceSpans", "scopeSpans", "spans")


def log_records(body: bytes) -> Iterator[_Record]:
    """Yield the records of an ExportLogsServiceRequest with their resource's attributes and scope's name."""
    return _records(body, "resourceLogs", "scopeLogs", "logRecords")


def span_of(record: Any, resource: dict[str, Any], scope: str) -> Span:
    """Return the span; raise `BadRecordError` when it is none or its ids or times are not valid."""
    raw = _object(record)
    status = raw.get("status")
    status = status if isinstance(status, dict) else {}
    events = [_object(event) for event in _list(raw, "events")]
    parent = raw.get("parentSpanId")
    return Span(
        _id(raw, "traceId", 32),
        _id(raw, "spanId", 16),
        _id(raw, "parentSpanId", 16) if isinstance(parent, str) and parent.strip("0") else "",
        _text(raw.get("name")),
        _enum(raw.get("kind"), _KINDS, 2**31 - 1),
        _time(raw, "startTimeUnixNano"),
        _time(raw, "endTimeUnixNano"),
        _enum(status.get("code"), _STATUS, 2),
        _text(status.get("message")),
        _members(_list(raw, "attributes"), MAX_DEPTH),
        resource,
        scope,
        [
            {
                "name": _text(event.get("name")),
                "time_ns": _time(event, "timeUnixNano"),
                "attributes": _members(_list(event, "attributes"), MAX_DEPTH),
            }
            for event in events
        ],
    )


def log_of(record: Any, resource: dict[str, Any], scope: str) -> Log:
    """Return the log record; raise `BadRecordError` when it is none or its ids or times are not valid."""
    raw = _object(record)
    attributes = _members(_list(raw, "attributes"), MAX_DEPTH)
    trace, span = raw.get("traceId") or "", raw.get("spanId") or ""
    return Log(
        _id(raw, "traceId", 32) if str(trace).strip("0") else "",
        _id(raw, "spanId", 16) if str(span).strip("0") else "",
        _time(raw, "timeUnixNano") or _time(raw, "observedTimeUnixNano"),
        _text(raw.get("eventName")) or str(attributes.get("event.name") or ""),
        _value(raw.get("body"), MAX_DEPTH),
        attributes,
        resource,
        scope,
    )


def _records(body: bytes, groups: str, scopes: str, name: str) -> Iterator[_Record]:
    request = _parsed(body)
    if not isinstance(request, dict):
        raise UnreadableError(f"The body is a JSON {type(request).__name__}, not an object with {groups!r}.")
    listed = request.get(groups)
    if listed is not None and not isinstance(listed, list):
        raise UnreadableError(f"{groups!r} is no list. Send OTLP/JSON in lowerCamelCase.")
    if not request.get(groups) and request:
        _refuse_other_names(request, groups)
    for group in listed or []:
        resource = _members(_list(_part(group, "resource"), "attributes"), MAX_DEPTH)
        for scoped in _list(_mapping(group), scopes):
            scope = _text(_part(scoped, "scope").get("name"))
            for record in _list(_mapping(scoped), name):
                yield record, resource, scope


def _refuse_other_names(request: Mapping[str, Any], groups: str) -> None:
    """Refuse snake_case and the other signals' bodies, which would otherwise be taken for empty ones."""
    named = [
        name for name in ("resourceSpans", "resourceLogs", "resourceMetrics") if name in request and name != groups
    ]
    named += [name for name in ("resource_spans", "resource_logs", "resource_metrics") if name in request]
    if named:
        raise UnreadableError(f"The body holds {named[0]!r} where {groups!r} was expected. Check the endpoint's path.")


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # Exporters in JavaScript cut texts inside surrogate pairs, and some write numbers that no double holds. One such value
    # must not cost the whole request, which nobody would send again, so the patient reader is asked; texts are cleaned later.
    try:
        text = body.decode("utf-8-sig", "replace")
        return json.loads(text, parse_constant=str, parse_int=_whole_or_text, parse_float=_double_or_text)
    except (ValueError, RecursionError) as error:
        sentence = (
            f"The body is not JSON: {_why(error)}. Send OTLP/JSON with Content-Type application/json, or protobuf "
            "with application/x-protobuf."
        )
        raise UnreadableError(sentence) from error


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _whole_or_text(text: str) -> int | str:
    return int(text) if len(text) <= _MAX_DIGITS else text


def _double_or_text(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _part(value: Any, name: str) -> Mapping[str, Any]:
    return _mapping(_mapping(value).get(name))


def _list(value: Mapping[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRecordError(f"it is a JSON {type(value).__name__}, not an object")
    return value


def _id(raw: Mapping[str, Any], name: str, digits: int) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or len(value) != digits or not _HEX.fullmatch(value):
        raise BadRecordError(
            f"{name} is {str(value)[:40]!r} instead of {digits} hexadecimal digits (base64 is not OTLP/JSON)"
        )
    if not value.strip("0"):
        raise BadRecordError(f"{name} is all zeros")
    return value.lower()


def _text(value: Any) -> str:
    return clean_text(value) if isinstance(value, str) else ""


def _time(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    if value is None or value == "":
        return 0
    number = _integer(value)
    if number is None or not 0 <= number <= _MAX_FIXED64:
        raise BadRecordError(f"{name} is {str(value)[:40]!r} instead of nanoseconds since 1970")
    return number


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _enum(value: Any, names: Mapping[str, int], most: int) -> int:
    number = names.get(value) if isinstance(value, str) and value in names else _integer(value)
    return number if number is not None and 0 <= number <= most else 0


def _members(pairs: list[Any], depth: int) -> dict[str, Any]:
    """Return attributes as a dict, the last of equal names; what has no name as text is passed over."""
    return {
        clean_text(pair["key"]): _value(pair.get("value"), depth)
        for pair in pairs
        if isinstance(pair, dict) and isinstance(pair.get("key"), str)
    }


def _value(value: Any, depth: int) -> Any:
    if not isinstance(value, dict) or not value:
        return None
    name, inner = next(iter(value.items()))
    match name:
        case "stringValue":
            return _text(inner)
        case "boolValue":
            return inner is True or inner == "true"
        case "intValue":
            number = _integer(inner)
            return number if number is not None and abs(number) <= _MAX_INT64 else clean_text(str(inner))
        case "doubleValue":
            return _double(inner)
        case "bytesValue":
            return _base64(inner)
        case "arrayValue" | "kvlistValue" if depth <= 1:
            return TOO_DEEP
        case "arrayValue":
            return [_value(part, depth - 1) for part in _list(_mapping(inner), "values")]
        case "kvlistValue":
            return _members(_list(_mapping(inner), "values"), depth - 1)
    return None


def _double(value: Any) -> float | str | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return clean_text(value) if isinstance(value, str) else None
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _base64(value: Any) -> str:
    """Return base64 in its one form: senders may use the URL alphabet and leave the padding out."""
    text = _text(value).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64encode(base64.b64decode(text + "=" * (-len(text) % 4), validate=True)).decode()
    except ValueError:
        return text
