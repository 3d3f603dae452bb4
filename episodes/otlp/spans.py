"""Spans and log records as they are kept: plain values with a compact JSON form that loses nothing. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import orjson

__all__ = ["Log", "Span", "dump_fragment", "load_fragment"]

_FRAGMENT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Span:
    """One span. Ids are lower-case hex (32 and 16 digits), `parent_id` empty for none; times are Unix nanoseconds.

    `end_ns` 0 means that it has not ended. `status`: 0 unset, 1 ok, 2 error. Values of attributes are plain JSON;
    bytes are base64 text. Events are `{"name", "time_ns", "attributes"}`.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status: int
    status_message: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str
    events: list[dict[str, Any]]

    @property
    def duration_ms(self) -> float | None:
        """How long the span took, a whole number where it is one; `None` where it has not ended or ends too early."""
        if not self.end_ns >= self.start_ns > 0:
            return None
        whole, rest = divmod(self.end_ns - self.start_ns, 1_000_000)
        return whole + rest / 1e6 if rest else whole

    def said(self) -> list[Any]:
        """Return whatever of the span may hold text of people, but its resource: no ids, no times."""
        events = [[event["name"], event["attributes"]] for event in self.events]
        return [self.name, self.status_message, self.attributes, self.scope, events]

    def to_json(self) -> list[Any]:
        """Return the fields in the order of the class, resource included."""
        return _row(self, self.resource)

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> Self:
        return cls(*row)


@dataclass(frozen=True, slots=True)
class Log:
    """One log record; `trace_id` and `span_id` are empty when it was written outside of any span.

    `name` is the event's name, `time_ns` when it happened or, where that is unknown, when it was seen.
    """

    trace_id: str
    span_id: str
    time_ns: int
    name: str
    body: Any
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str

    def said(self) -> list[Any]:
        """Return whatever of the record may hold text of people, but its resource: no ids, no times."""
        return [self.name, self.body, self.attributes, self.scope]

    def to_json(self) -> list[Any]:
        """Return the fields in the order of the class, resource included."""
        return _log_row(self, self.resource)

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> Self:
        return cls(*row)


def _row(span: Span, resource: Any) -> list[Any]:
    return [
        span.trace_id, span.span_id, span.parent_id, span.name, span.kind, span.start_ns, span.end_ns, span.status,
        span.status_message, span.attributes, resource, span.scope, span.events,
    ]  # fmt: skip


def _log_row(log: Log, resource: Any) -> list[Any]:
    return [log.trace_id, log.span_id, log.time_ns, log.name, log.body, log.attributes, resource, log.scope]


def dump_fragment(spans: Iterable[Span], logs: Iterable[Log]) -> bytes:
    """Return the bytes to store for part of a trace. A resource that several share (as one object) is written once."""
    places: dict[int, int] = {}
    resources: list[dict[str, Any]] = []

    def place(resource: dict[str, Any]) -> int:
        found = places.get(id(resource))
        if found is None:
            found = places[id(resource)] = len(resources)
            resources.append(resource)
        return found

    span_rows = [_row(span, place(span.resource)) for span in spans]
    log_rows = [_log_row(log, place(log.resource)) for log in logs]
    return orjson.dumps([_FRAGMENT_VERSION, resources, span_rows, log_rows])


def load_fragment(fragment: bytes) -> tuple[list[Span], list[Log]]:
    """Return what `dump_fragment` wrote; raise `ValueError` for other bytes."""
    version, resources, span_rows, log_rows = orjson.loads(fragment)
    if version != _FRAGMENT_VERSION:
        raise ValueError(f"A fragment of version {version!r} cannot be read; this code reads {_FRAGMENT_VERSION}.")
    return _filled(Span, 10, span_rows, resources), _filled(Log, 6, log_rows, resources)


def _filled[Row](
    make: Callable[..., Row], position: int, rows: list[list[Any]], resources: list[dict[str, Any]]
) -> list[Row]:
    for row in rows:
        row[position] = resources[row[position]]
    return [make(*row) for row in rows]
