"""Whatever an exporter sends: no crash, good records kept, bad ones counted, an answer in the encoding of the request."""

import gzip
import itertools
import json
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from episodes.assembling import assemble_due
from episodes.content import names_content
from episodes.models import Episode, Trace, TraceFragment
from episodes.otlp.spans import load_fragment
from harness.models import Agent
from tests.episodes.otlp.making import START, attribute, field, fixed64, json_body, pb_body, pb_span, raw_span, span_id
from tests.episodes.otlp.test_order import KIND_NAMES, KIND_WORDS, NAMES, hostile
from tests.harness.json_values import TEXTS

pytestmark = pytest.mark.django_db

JSON, PROTOBUF = "application/json", "application/x-protobuf"
TRACES, LOGS = ("/v1/traces", "/api/public/otel/v1/traces"), ("/v1/logs", "/api/public/otel/v1/logs")
UNHURRIED = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
# Examples share one database, so every one has traces of its own.
FRESH = itertools.count(1)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def post(key: str, path: str, body: bytes, kind: str, encoding: str = "") -> Any:
    headers = {"authorization": f"Bearer {key}", "content-type": kind} | (
        {"content-encoding": encoding} if encoding else {}
    )
    return Client(raise_request_exception=False).generic("POST", path, body, content_type=kind, headers=headers)


def rejected_of(answer: Any, kind: str) -> int:
    """Return the count of the partial success, which comes with a reason."""
    assert answer.status_code == 200, (answer.status_code, answer.content)
    assert answer["Content-Type"] == kind
    if kind == JSON:
        partial = answer.json().get("partialSuccess", {})
        assert set(partial) <= {"rejectedSpans", "rejectedLogRecords", "errorMessage"}
        count = int(partial.get("rejectedSpans", partial.get("rejectedLogRecords", "0")))
        assert bool(count) == bool(partial.get("errorMessage"))
        return count
    if not answer.content:
        return 0
    assert answer.content[0] == field(1, b"")[0]
    inner = answer.content[2:] if answer.content[1] < 0x80 else answer.content[3:]
    assert inner[0] == field(1, 1)[0]
    assert len(inner) > 4
    return int(inner[1])


@dataclass(frozen=True)
class Record:
    """One span or log record in both encodings, and whether it is to be taken."""

    as_json: Any
    as_protobuf: bytes
    is_good: bool


def _id(number: int, digits: int) -> str:
    return f"{number:0{digits}x}"


ANY_VALUES = st.recursive(
    st.one_of(
        TEXTS.map(lambda text: ({"stringValue": text}, field(1, text.encode()))),
        st.booleans().map(lambda flag: ({"boolValue": flag}, field(2, int(flag)))),
        st.integers(-(2**63), 2**63 - 1).map(lambda n: ({"intValue": str(n)}, field(3, n % 2**64))),
        st.sampled_from(["nan", "Infinity", "-Infinity", 1e308, -0.0, 0.1]).map(
            lambda n: ({"doubleValue": n}, b"\x21" + struct.pack("<d", float(n)))
        ),
        st.binary(max_size=8).map(lambda raw: ({"stringValue": raw.decode("utf-8", "replace")}, field(1, raw))),
        st.just(({}, b"")),
    ),
    lambda inner: st.lists(inner, max_size=3).map(
        lambda parts: (
            {"arrayValue": {"values": [one for one, _ in parts]}},
            field(5, b"".join(field(1, raw) for _, raw in parts)),
        )
    ),
    max_leaves=6,
)


@st.composite
def records(draw: st.DrawFn, number: int) -> list[Record]:
    """Spans of one trace, some of them bad."""
    made = []
    trace = _id(number, 32)
    for place in range(1, draw(st.integers(1, 6)) + 1):
        how = draw(st.sampled_from(["good", "good", "good", "zeros", "short", "none", "parent", "times"]))
        given_trace = {"zeros": "0" * 32, "short": trace[:30], "none": ""}.get(how, trace)
        parent = "ab" if how == "parent" else span_id(place - 1) if place > 1 else ""
        attributes = draw(st.lists(st.tuples(st.sampled_from(NAMES) | TEXTS, ANY_VALUES), max_size=4))
        kinds = draw(st.lists(st.tuples(st.sampled_from(KIND_NAMES), KIND_WORDS), max_size=2))
        attributes += [(name, ({"stringValue": word}, field(1, word.encode()))) for name, word in kinds]
        start = draw(st.sampled_from([START + place, 0, 2**64 - 1]))
        written = {
            "traceId": given_trace, "spanId": span_id(place), "parentSpanId": parent, "name": "n",
            "startTimeUnixNano": "-1" if how == "times" else str(start),
            "attributes": [{"key": name, "value": value} for name, (value, _) in attributes],
        }  # fmt: skip
        raw = field(1, bytes.fromhex(given_trace)) + field(2, bytes.fromhex(span_id(place)))
        raw += field(4, bytes.fromhex(parent)) + field(5, b"n") + fixed64(7, start)
        raw += b"".join(field(9, attribute(name.encode(), value)) for name, (_, value) in attributes)
        raw = raw + b"\x0a\xff" if how == "times" else raw
        made.append(Record(written, raw, how == "good"))
    return made


@settings(UNHURRIED, max_examples=25)
@given(st.data(), st.sampled_from(TRACES), st.sampled_from([JSON, PROTOBUF]), st.booleans())
def test_traces__good_and_bad_spans__are_kept_and_counted_and_become_episodes(
    agent: Agent, agent_key: str, data: st.DataObject, path: str, kind: str, is_packed: bool
) -> None:
    number = next(FRESH)
    spans = data.draw(records(number))
    body = json_body(*(one.as_json for one in spans)) if kind == JSON else pb_body(*(one.as_protobuf for one in spans))
    good = sum(one.is_good for one in spans)

    for _ in range(2):  # an exporter that heard no answer sends again
        answer = post(agent_key, path, gzip.compress(body) if is_packed else body, kind, "gzip" if is_packed else "")
        assert rejected_of(answer, kind) == len(spans) - good

    fragments = TraceFragment.objects.filter(agent=agent, trace_id=_id(number, 32))
    assert [len(load_fragment(bytes(one.body))[0]) for one in fragments] == ([good] * 2 if good else [])
    Trace.objects.waiting().update(due_at=timezone.now(), last_at=timezone.now() - timedelta(hours=1))
    assemble_due()
    assert set(Trace.objects.values_list("error", flat=True)) <= {""}
    told = Episode.objects.filter(external_id__startswith=_id(number, 32))
    assert all(names_content(row.body_digest, row.content()) for row in told.select_related("conversation"))


MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "double"]), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
    min_size=1,
    max_size=4,
)


def mutated(body: bytes, mutations: list[tuple[str, float, bytes]]) -> bytes:
    for how, where, noise in mutations:
        place = int(where * len(body))
        head, tail = body[:place], body[place:]
        body = {"flip": head + noise + tail[len(noise) :], "cut": head, "insert": head + noise + tail, "double": head + tail + tail}[
            how
        ]  # fmt: skip
    return body


WHOLE = pb_body(*(pb_span(attribute(b"gen_ai.operation.name", field(1, b"chat")), span=span_id(n)) for n in (1, 2, 3)))
WHOLE_JSON = json_body(
    *(raw_span(spanId=span_id(n), attributes=[{"key": "a", "value": {"intValue": "5"}}]) for n in (1, 2))
)


@settings(UNHURRIED, max_examples=50)
@given(MUTATIONS, st.sampled_from([*TRACES, *LOGS, "/v1/metrics"]), st.sampled_from([JSON, PROTOBUF]),
       st.sampled_from([JSON, PROTOBUF]), st.sampled_from(["", "", "gzip", "deflate"]))  # fmt: skip
def test_export__mangled_bodies__are_taken_or_refused_with_a_status(
    agent_key: str, mutations: list[tuple[str, float, bytes]], path: str, kind: str, named: str, encoding: str
) -> None:
    body = mutated(WHOLE_JSON if kind == JSON else WHOLE, mutations)

    answer = post(agent_key, path, gzip.compress(body) if encoding == "gzip" else body, named, encoding)

    assert answer.status_code in {200, 400}, (answer.status_code, answer.content)
    assert answer["Content-Type"] == named
    if answer.status_code == 400:
        assert answer.content
        assert named == PROTOBUF or answer.json()["message"]
    elif path != "/v1/metrics":
        rejected_of(answer, named)
    Trace.objects.waiting().update(due_at=timezone.now(), last_at=timezone.now() - timedelta(hours=1))
    assemble_due()
    assert set(Trace.objects.values_list("error", flat=True)) <= {""}


@settings(UNHURRIED, max_examples=30)
@given(hostile, st.lists(st.dictionaries(st.sampled_from(["traceId", "spanId", "timeUnixNano", "body", "attributes", "eventName", "severityNumber"]), hostile), max_size=4),
       st.sampled_from(LOGS))  # fmt: skip
def test_logs__any_members__are_counted_one_by_one(agent_key: str, group: Any, members: list[Any], path: str) -> None:
    rows = [{"traceId": _id(next(FRESH), 32), "eventName": "gen_ai.user.message", **one} for one in members]
    body = json.dumps(
        {"resourceLogs": [{"resource": group, "scopeLogs": [{"scope": group, "logRecords": rows}]}, group]}
    )

    answer = post(agent_key, path, body.encode(), JSON)

    assert rejected_of(answer, JSON) <= len(rows)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("1e400", "Infinity"), ("-1e400", "-Infinity"), ("NaN", "NaN"), ("9" * 400, "Infinity"), ("1" + "0" * 5_000, "Infinity")],
)  # fmt: skip
def test_traces__a_number_beyond_all_bounds__costs_no_span(agent_key: str, text: str, kept: Any) -> None:
    body = json_body(raw_span(attributes=[{"key": "a", "value": {"doubleValue": 7.25}}])).replace(
        b"7.25", text.encode()
    )

    assert rejected_of(post(agent_key, "/v1/traces", body, JSON), JSON) == 0

    [fragment] = TraceFragment.objects.all()
    assert load_fragment(bytes(fragment.body))[0][0].attributes == {"a": kept}


@pytest.mark.parametrize("depth", [40, 500, 2_000])
def test_traces__a_value_nested_without_end__costs_that_value(agent_key: str, depth: int) -> None:
    deep = '{"arrayValue":{"values":[' * depth + "]}}" * depth
    body = json_body(raw_span(), raw_span(spanId=span_id(2), attributes=[{"key": "a", "value": "deep"}]))
    raw = b""
    for _ in range(depth):
        raw = field(5, field(1, raw))
    packed = pb_body(pb_span(), pb_span(attribute(b"a", raw), span=span_id(2)))

    answers = [
        post(agent_key, "/v1/traces", body.replace(b'"deep"', deep.encode()), JSON),
        post(agent_key, "/v1/traces", packed, PROTOBUF),
    ]

    assert rejected_of(answers[0], JSON) == 0
    # Protobuf's own reader gives up at a hundred levels: that span is left out and said so.
    assert rejected_of(answers[1], PROTOBUF) == (depth > 40)
    kept = [len(load_fragment(bytes(one.body))[0]) for one in TraceFragment.objects.order_by("id")]
    assert kept == [2, 1 if depth > 40 else 2]


def test_traces__nested_beyond_any_reader__is_refused_with_a_reason(agent_key: str) -> None:
    deep = '{"arrayValue":{"values":[' * 100_000 + "]}}" * 100_000
    body = json_body(raw_span(attributes=[{"key": "a", "value": "deep"}])).replace(b'"deep"', deep.encode())

    answer = post(agent_key, "/v1/traces", body, JSON)

    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert "nested too deeply" in answer.json()["message"]


def test_traces__half_characters_everywhere__are_replaced(agent_key: str) -> None:
    half = {"key": "k\ud800", "value": {"arrayValue": {"values": [{"stringValue": "\udc00"}, {"intValue": "\ud800"}]}}}
    more = [{"key": "n\udfff", "value": {"doubleValue": "\ud83d"}}, {"key": "b", "value": {"bytesValue": "\ud83d"}}]
    event = {"name": "\ud800", "attributes": [half]}
    span = raw_span(
        name="\ud800", kind="\ud800", attributes=[half, *more], events=[event], status={"code": "\ud800", "message": "\ud800"}
    )  # fmt: skip
    bad = [raw_span(spanId="\ud800"), raw_span(startTimeUnixNano="\ud800"), raw_span(parentSpanId="\udc00" * 16)]

    answer = post(agent_key, "/v1/traces", json_body(span, *bad, resource={"attributes": [half]}), JSON)

    assert rejected_of(answer, JSON) == 3
    [fragment] = TraceFragment.objects.all()
    [kept], _ = load_fragment(bytes(fragment.body))
    assert kept.name == kept.status_message == kept.events[0]["name"] == "\N{REPLACEMENT CHARACTER}"
    assert kept.resource == {"k\N{REPLACEMENT CHARACTER}": ["\N{REPLACEMENT CHARACTER}"] * 2}
