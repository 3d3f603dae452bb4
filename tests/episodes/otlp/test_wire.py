"""OTLP bodies become spans and records; what cannot be read is refused whole, what is merely bad singly."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.otlp.plain import TOO_DEEP
from episodes.otlp.spans import dump_fragment, load_fragment
from episodes.otlp.wire import UnreadableError, answer, error_answer, read_logs, read_traces
from tests.episodes.otlp.making import (
    DATA,
    START,
    TRACE,
    a_log,
    a_span,
    attribute,
    field,
    json_body,
    pb_body,
    pb_span,
    raw_span,
    span_id,
    varint,
)


def one(body: bytes, *, is_json: bool) -> Any:
    received = read_traces(body, is_json=is_json)
    assert received.rejected == 0, received.reason
    (span,) = received.spans
    return span


def test_read_traces__the_same_span_in_both_encodings__is_the_same() -> None:
    values = {
        "text": (field(1, "größe".encode()), {"stringValue": "größe"}, "größe"),
        "empty": (field(1, b""), {"stringValue": ""}, ""),
        "true": (field(2, 1), {"boolValue": True}, True),
        "int": (field(3, 2**62), {"intValue": str(2**62)}, 2**62),
        "negative": (field(3, 2**64 - 5), {"intValue": "-5"}, -5),
        "double": (b"\x21" + b"\x00\x00\x00\x00\x00\x00\xf0\x3f", {"doubleValue": 1}, 1.0),
        "nan": (b"\x21" + b"\x00\x00\x00\x00\x00\x00\xf8\x7f", {"doubleValue": "NaN"}, "NaN"),
        "infinite": (b"\x21" + b"\x00\x00\x00\x00\x00\x00\xf0\x7f", {"doubleValue": "Infinity"}, "Infinity"),
        "list": (
            field(5, field(1, field(1, b"a")) + field(1, field(3, 1))),
            {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": 1}]}},
            ["a", 1],
        ),
        "map": (
            field(6, field(1, attribute(b"k", field(1, b"v")))),
            {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}},
            {"k": "v"},
        ),
        "bytes": (field(7, b"\x00\xff"), {"bytesValue": "AP8="}, base64.b64encode(b"\x00\xff").decode()),
        "nothing": (b"", {}, None),
    }
    pairs = [{"key": name, "value": value} for name, (_, value, _) in values.items()]
    in_json = json_body(
        raw_span(kind=3, attributes=pairs),
        resource={"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
    )
    in_protobuf = pb_body(
        pb_span(*(attribute(name.encode(), raw) for name, (raw, _, _) in values.items())),
        resource=field(1, attribute(b"service.name", field(1, b"shop"))),
    )

    from_json, from_protobuf = one(in_json, is_json=True), one(in_protobuf, is_json=False)

    assert from_json == from_protobuf
    assert from_json.attributes == {name: expected for name, (_, _, expected) in values.items()}
    assert isinstance(from_json.attributes["double"], float)
    assert (from_json.trace_id, from_json.span_id, from_json.parent_id) == (TRACE, span_id(1), "")
    assert (from_json.start_ns, from_json.end_ns, from_json.kind) == (START, START + 10**9, 3)
    assert (from_json.resource, from_json.scope) == ({"service.name": "shop"}, "test")


def test_read_traces__ids_in_json__are_hex_and_never_base64() -> None:
    upper = one(json_body(raw_span(traceId=TRACE.upper(), parentSpanId="0" * 16)), is_json=True)
    naive = raw_span(traceId=base64.b64encode(bytes.fromhex(TRACE)).decode())

    received = read_traces(json_body(naive), is_json=True)

    assert (upper.trace_id, upper.parent_id) == (TRACE, "")
    assert (received.spans, received.rejected) == ([], 1)
    assert "hexadecimal" in received.reason


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"traceId": "ab"}, "traceId"),
        ({"traceId": "0" * 32}, "all zeros"),
        ({"spanId": None}, "spanId"),
        ({"spanId": "g" * 16}, "spanId"),
        ({"parentSpanId": "abc"}, "parentSpanId"),
        ({"startTimeUnixNano": "soon"}, "startTimeUnixNano"),
        ({"endTimeUnixNano": 2**64}, "endTimeUnixNano"),
    ],
)
def test_read_traces__a_bad_span__is_rejected_with_its_reason_and_the_others_are_kept(
    changes: dict[str, Any], named: str
) -> None:
    received = read_traces(json_body(raw_span(**changes), raw_span(), "no span"), is_json=True)  # type: ignore[arg-type]

    assert len(received.spans) == 1
    assert received.rejected == 2
    assert named in received.reason
    assert "not an object" in received.reason


def test_read_traces__bad_spans_in_protobuf__cost_only_themselves() -> None:
    deep = field(1, b"x")
    for _ in range(70):
        deep = field(5, field(1, deep))
    bad = [
        pb_span(trace="ab" * 15),
        pb_span(span="00" * 8),
        pb_span(parent="abcd"),
        b"\xff\xff\xff",
        pb_span(attribute(b"deep", deep)),
    ]

    received = read_traces(pb_body(*bad, pb_span()), is_json=False)

    assert [span.name for span in received.spans] == ["chat"]
    assert received.rejected == 5
    assert "trace_id has 15 bytes" in received.reason


def test_read_traces__hostile_texts__are_replaced_not_refused() -> None:
    in_protobuf = one(pb_body(pb_span(attribute(b"\xffk", field(1, b"a\x00b\xfe")), name=b"n\x00")), is_json=False)
    lone = json_body(raw_span(name="cut")).replace(b'"cut"', b'"cut \\ud83d here"')
    broken = json_body(raw_span(name="cut")).replace(b'"cut"', b'"cut \xff"')

    assert in_protobuf.attributes == {"�k": "a�b�"}
    assert in_protobuf.name == "n�"
    assert one(json_body(raw_span(name="a\x00b")), is_json=True).name == "a�b"
    assert one(lone, is_json=True).name.startswith("cut ")
    assert one(broken, is_json=True).name == "cut �"
    json.dumps(one(lone, is_json=True).to_json()).encode()


def test_read_traces__nested_too_deeply__keeps_a_remark() -> None:
    value: Any = {"stringValue": "x"}
    raw = field(1, b"x")
    for _ in range(40):
        value = {"arrayValue": {"values": [value]}}
        raw = field(5, field(1, raw))

    from_json = one(json_body(raw_span(attributes=[{"key": "deep", "value": value}])), is_json=True)
    from_protobuf = one(pb_body(pb_span(attribute(b"deep", raw))), is_json=False)

    assert TOO_DEEP in json.dumps(from_json.attributes, ensure_ascii=False)
    assert from_json.attributes == from_protobuf.attributes


def test_read_traces__repeated_names__the_last_counts() -> None:
    pairs = [{"key": "a", "value": {"intValue": 1}}, {"key": "a", "value": {"intValue": 2}}]
    raw = [attribute(b"a", field(3, 1)), attribute(b"a", field(3, 2))]

    assert one(json_body(raw_span(attributes=pairs)), is_json=True).attributes == {"a": 2}
    assert one(pb_body(pb_span(*raw)), is_json=False).attributes == {"a": 2}


def test_read_traces__integers_out_of_range__become_text() -> None:
    pairs = [{"key": "a", "value": {"intValue": str(2**63)}}, {"key": "b", "value": {"intValue": "9" * 5_000}}]

    attributes = one(json_body(raw_span(attributes=pairs)), is_json=True).attributes

    assert attributes["a"] == str(2**63)
    assert isinstance(attributes["b"], str)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"null", b"[" * 100_000, b'{"resourceSpans": 1}', b'{"resource_spans": []}',
     b'{"resourceLogs": []}', b"\x0a\x05"],
)  # fmt: skip
def test_read_traces__a_body_that_is_none__is_refused_with_a_sentence(body: bytes) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_traces(body, is_json=True)

    assert len(str(caught.value)) > 20


def test_read_traces__cut_protobuf__is_refused_and_an_empty_one_is_empty() -> None:
    with pytest.raises(UnreadableError, match="not a protobuf ExportTraceServiceRequest"):
        read_traces(pb_body(pb_span())[:-3], is_json=False)

    assert read_traces(b"", is_json=False).spans == []
    assert read_traces(b"{}", is_json=True).spans == []


def test_read_logs__with_and_without_span__are_read() -> None:
    record = {
        "observedTimeUnixNano": str(START),
        "body": {"kvlistValue": {"values": [{"key": "content", "value": {"stringValue": "hello"}}]}},
        "attributes": [{"key": "event.name", "value": {"stringValue": "gen_ai.user.message"}}],
    }
    records = [{**record, "traceId": TRACE, "spanId": span_id(2)}, record, {**record, "traceId": "xyz"}]
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()

    received = read_logs(body, is_json=True)

    inside, outside = received.logs
    assert (inside.trace_id, inside.span_id, outside.trace_id, outside.span_id) == (TRACE, span_id(2), "", "")
    assert (inside.name, inside.body, inside.time_ns) == ("gen_ai.user.message", {"content": "hello"}, START)
    assert received.rejected == 1


@pytest.mark.parametrize("name", ["examples_trace.json", "examples_logs.json", "examples_events.json"])
def test_read__examples_of_the_protocol__are_read(name: str) -> None:
    path = DATA / "otel_fixtures" / "opentelemetry-proto" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    read = read_traces if "trace" in name else read_logs

    received = read(path.read_bytes(), is_json=True)

    (record,) = received.spans or received.logs
    assert record.resource == {"service.name": "my.service"}
    assert record.scope == "my.library"
    assert record.trace_id in {"5b8efff798038103d269b633813fc60c", ""}


def test_answer__full_and_partial_success__are_worded_as_the_protocol_asks() -> None:
    assert answer("traces", is_json=True) == b"{}"
    assert answer("metrics", is_json=False) == b""
    assert json.loads(answer("traces", is_json=True, rejected=2, reason="bad ids")) == {
        "partialSuccess": {"rejectedSpans": "2", "errorMessage": "bad ids"}
    }
    assert json.loads(answer("logs", is_json=True, rejected=1)) == {"partialSuccess": {"rejectedLogRecords": "1"}}
    assert answer("logs", is_json=False, rejected=3, reason="bad") == field(1, field(1, 3) + field(2, b"bad"))


def test_error_answer__in_both_encodings__is_a_status() -> None:
    assert json.loads(error_answer(3, "no", is_json=True)) == {"code": 3, "message": "no"}
    assert error_answer(3, "no", is_json=False) == field(1, 3) + field(2, b"no")
    assert error_answer(13, "\ud800", is_json=True)


def test_fragment__there_and_back__loses_nothing_and_shares_resources() -> None:
    shared = {"service.name": "shop"}
    spans = [a_span(number, resource=shared, attributes={"n": [1, {"a": None}]}) for number in (1, 2)]
    logs = [a_log(1, "gen_ai.user.message", {"content": "hi"}, resource=shared)]

    fragment = dump_fragment(spans, logs)

    assert load_fragment(fragment) == (spans, logs)
    assert fragment.count(b"shop") == 1
    assert [type(one).from_json(one.to_json()) for one in (*spans, *logs)] == [*spans, *logs]
    with pytest.raises(ValueError, match="version"):
        load_fragment(b"[2,[],[],[]]")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["resourceSpans", "resource", "scopeSpans", "spans", "attributes", "key", "value", "stringValue", "intValue",
             "doubleValue", "bytesValue", "arrayValue", "kvlistValue", "values", "traceId", "spanId", "events", "status",
             "code", "startTimeUnixNano", "resourceLogs", "scopeLogs", "logRecords", "body"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@given(json_values)
def test_read__any_json__never_raises_but_unreadable(value: Any) -> None:
    body = json.dumps(value).encode("utf-8", "replace")

    for read in (read_traces, read_logs):
        try:
            received = read(body, is_json=True)
        except UnreadableError:
            continue
        dump_fragment(received.spans, received.logs)


@given(
    st.dictionaries(
        st.sampled_from(["attributes", "events", "status", "name", "kind", "parentSpanId", "endTimeUnixNano"]),
        json_values,
    )
)
def test_read_traces__any_members_of_a_span__give_a_span_or_a_reason(members: dict[str, Any]) -> None:
    received = read_traces(json_body(raw_span(**members)), is_json=True)

    assert len(received.spans) + received.rejected == 1
    spans, logs = load_fragment(dump_fragment(received.spans, []))
    assert [replace(span) for span in spans] == received.spans
    assert logs == []


@given(st.binary(max_size=200), st.integers(0, 200))
def test_read__any_bytes__never_raise_but_unreadable(noise: bytes, place: int) -> None:
    whole = pb_body(pb_span(attribute(b"k", field(1, b"v"))))
    mangled = whole[:place] + noise + whole[place:]

    for body in (noise, mangled, field(1, noise), pb_body(noise)):
        for read in (read_traces, read_logs):
            for is_json in (True, False):
                try:
                    received = read(body, is_json=is_json)
                except UnreadableError:
                    continue
                dump_fragment(received.spans, received.logs)


def test_read_traces__a_huge_array__is_read() -> None:
    values = field(1, field(3, 7)) * 100_000
    body = pb_body(pb_span(attribute(b"big", field(5, values))))

    assert len(one(body, is_json=False).attributes["big"]) == 100_000
    assert varint(300) == b"\xac\x02"
