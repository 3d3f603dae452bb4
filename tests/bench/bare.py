"""Bare Django views: the limit that the platform's own are measured against, in the same process model."""

from collections.abc import Iterator
from typing import Any

import orjson
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from episodes.otlp.protocol import Span, TraceRequest

__all__ = ["TABLES", "copy_spans", "insert_one"]

TABLES = """
CREATE TABLE bench_episode (id uuid PRIMARY KEY, agent_id uuid NOT NULL, external_id text NOT NULL, at timestamptz NOT NULL,
  body jsonb NOT NULL);
CREATE UNIQUE INDEX ON bench_episode (agent_id, external_id);
CREATE INDEX ON bench_episode (agent_id, at);
CREATE TABLE bench_span (trace_id bytea NOT NULL, span_id bytea NOT NULL, parent_id bytea, name text NOT NULL,
  start_ns bigint NOT NULL, end_ns bigint NOT NULL, attributes jsonb NOT NULL, PRIMARY KEY (trace_id, span_id));
CREATE INDEX ON bench_span (start_ns);
"""


@csrf_exempt
def copy_spans(request: HttpRequest) -> HttpResponse:
    """Parse an OTLP body and copy one row a span."""
    sent = TraceRequest.FromString(request.body)
    with connection.cursor() as cursor, cursor.copy("COPY bench_span FROM STDIN") as copy:
        for row in _rows(sent):
            copy.write_row(row)
    return HttpResponse(b"", content_type="application/x-protobuf")


def _rows(sent: Any) -> Iterator[tuple[Any, ...]]:
    for resource in sent.resource_spans:
        for scope in resource.scope_spans:
            for body in scope.spans:
                span = Span.FromString(body)
                attributes = {one.key.decode(): _value(one.value) for one in span.attributes}
                yield (
                    span.trace_id, span.span_id, span.parent_span_id, span.name.decode(), span.start_time_unix_nano,
                    span.end_time_unix_nano, orjson.dumps(attributes).decode(),
                )  # fmt: skip


def _value(value: Any) -> Any:
    found = getattr(value, value.WhichOneof("value"))
    return found.decode() if isinstance(found, bytes) else found


@csrf_exempt
def insert_one(request: HttpRequest) -> HttpResponse:
    """Read one episode and insert one row."""
    body = orjson.loads(request.body)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bench_episode VALUES (gen_random_uuid(), gen_random_uuid(), %s, now(), %s)",
            [body["id"], request.body.decode()],
        )
    return HttpResponse(b"{}", status=202, content_type="application/json")
