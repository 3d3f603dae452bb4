"""Langfuse exports: parts from anywhere become one episode a trace, and each score is its giver's word."""

import json
from typing import Any

import pytest

from episodes.importing.entries import BadLine
from tests.episodes.reading import acts, ends, entry, read, spoken

TRACE = {
    "id": "t-1", "timestamp": "2025-03-01T12:00:00.000Z", "name": "support chat", "sessionId": "s-1", "userId": "u-1",
    "input": {"messages": [{"role": "user", "content": "Where is my parcel?"}]},
    "output": {"role": "assistant", "content": "On its way."}, "metadata": {"channel": "web"}, "tags": ["eu"],
    "release": "2025.9", "latency": 2.5, "totalCost": 0.0042, "observations": ["o-1"], "scores": ["sc-1"],
    "htmlPath": "/trace/t-1",
}  # fmt: skip


def observation(name: str, kind: str, second: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"o-{name}", "traceId": "t-1", "type": kind, "name": name, "level": "DEFAULT",
        "startTime": f"2025-03-01T12:00:0{second}.000Z", "endTime": f"2025-03-01T12:00:0{second}.500Z",
        "parentObservationId": "o-root", **changes,
    }  # fmt: skip


PARTS = [
    observation("answer", "GENERATION", 3, model="gpt-x", output="On its way.", usageDetails={"input": 20, "output": 5, "total": 25}),
    observation("root", "AGENT", 0, parentObservationId=None),
    observation("plan", "GENERATION", 1, model="gpt-x", usage={"input": 10, "output": 2, "unit": "TOKENS"}, input='{"a": 1}'),
    observation("track", "SPAN", 2, input={"parcel": 7}, level="ERROR", statusMessage="timed out"),
    observation("search", "RETRIEVER", 2, output=[{"id": "d-1"}]),
]  # fmt: skip


def score(name: str, value: Any = None, source: str = "API", kind: str = "NUMERIC", **more: Any) -> dict[str, Any]:
    return {
        "id": f"sc-{name}", "traceId": "t-1", "name": name, "value": value, "source": source, "dataType": kind,
        "timestamp": "2025-03-02T08:00:00.000Z", "observationId": None, "comment": None, **more,
    }  # fmt: skip


def test_langfuse__trace_with_observations_from_anywhere__is_one_episode() -> None:
    one = entry("langfuse", *PARTS[:2], TRACE, *PARTS[2:])

    assert (one.item["id"], one.item["conversation"], one.item["subject"]) == ("t-1", "s-1", "u-1")
    assert spoken(one) == [("user", "Where is my parcel?")]
    assert one.item["output"]["text"] == "On its way."
    assert acts(one) == [
        ("model_call", "gpt-x"),
        ("tool_call", "track"),
        ("retrieval", "search"),
        ("model_call", "gpt-x"),
    ]
    failed = one.item["steps"][1]
    assert (failed["status"], failed["error"], failed["latency_ms"]) == ("error", "timed out", 500.0)
    assert one.item["steps"][0]["input"] == {"a": 1}
    assert one.item["usage"] == {"input_tokens": 30, "output_tokens": 7, "cost_usd": 0.0042, "latency_ms": 2_500}
    assert one.item["ended_at"] == "2025-03-01T12:00:03.500000+00:00"
    assert one.item["attributes"]["spans"] == [{"name": "root", "type": "AGENT"}]
    assert one.item["attributes"]["metadata"] == {"channel": "web"}
    assert one.item["workflow"] == "support chat"


@pytest.mark.parametrize(
    "told",
    [
        [{**TRACE, "observations": PARTS, "scores": [score("success", 1)]}],
        [{"trace": TRACE, "observations": PARTS, "scores": [score("success", 1)]}],
        [json.dumps([TRACE, *PARTS, score("success", 1)])],
        [
            {"data": [TRACE], "meta": {"page": 1}},
            {"data": PARTS, "meta": {}},
            {"data": [score("success", 1)], "meta": {}},
        ],
    ],
)
def test_langfuse__whole_trace_download_list_or_pages__are_the_same_episode(told: list[Any]) -> None:
    one = entry("langfuse", *told)

    assert len(one.item["steps"]) == 4
    assert ends(one) == [("resolved", "customer", 1.0)]


def test_langfuse__observations_alone__stand_for_their_trace() -> None:
    root = observation(
        "root", "SPAN", 0, parentObservationId=None, input="Where is it?", output="Here.", userId="u-1", sessionId="s-9"
    )

    one = entry("langfuse", observation("answer", "GENERATION", 1), root)

    assert (one.item["id"], one.item["conversation"], one.item["subject"]) == ("t-1", "s-9", "u-1")
    assert spoken(one) == [("user", "Where is it?")]
    assert one.item["output"]["text"] == "Here."
    assert one.item["started_at"] == "2025-03-01T12:00:00+00:00"


def test_langfuse__names_as_blob_exports_write_them__are_read() -> None:
    trace = {
        "id": "t-1",
        "timestamp": "2025-03-01 12:00:00",
        "user_id": "u-1",
        "session_id": "s-1",
        "input": "Hi there",
        "output": "Hi",
    }
    tool = {
        "id": "o",
        "trace_id": "t-1",
        "type": "TOOL",
        "name": "track",
        "start_time": "2025-03-01 12:00:01",
        "end_time": "2025-03-01 12:00:02",
    }

    one = entry("langfuse", trace, tool)

    assert (one.item["conversation"], one.item["subject"]) == ("s-1", "u-1")
    assert acts(one) == [("tool_call", "track")]
    assert one.item["steps"][0]["latency_ms"] == 1_000


def test_langfuse__scores__are_their_givers_word() -> None:
    scores = [
        score("user-feedback", 0.0), score("helpful", 1, "ANNOTATION", "BOOLEAN", stringValue="True", comment="kind\nand right"),
        score("Correctness", 0.7, "EVAL"), score("verdict", None, "ANNOTATION", "CATEGORICAL", stringValue="Escalated"),
        score("topic", None, "EVAL", "CATEGORICAL", stringValue="parcels"), score("is_resolved", 0, "EVAL", "BOOLEAN", stringValue="False"),
    ]  # fmt: skip

    one = entry("langfuse", TRACE, *scores)

    assert ends(one) == [
        ("user_feedback", "customer", 0.0), ("helpful", "staff", 1.0), ("correctness", "detector", 0.7),
        ("escalated", "staff", 1.0), ("topic", "detector", 1.0), ("failed", "detector", 1.0),
    ]  # fmt: skip
    assert one.endings[1].reason == "kind and right"
    assert one.endings[4].reason == "topic parcels"
    assert one.endings[0].at == "2025-03-02T08:00:00+00:00"


def test_langfuse__score_named_by_option__says_whether_the_user_was_helped() -> None:
    one = entry("langfuse", TRACE, score("Correctness", 0.7, "EVAL"), success_score="Correctness", success_at=0.8)

    assert ends(one) == [("failed", "detector", 1.0)]


def test_langfuse__score_columns_of_the_table_export__are_a_detectors_word() -> None:
    one = entry("langfuse", {**TRACE, "scores": None, "toxicity": [0.1, 0.2], "mood": ["calm"], "unset": None})

    assert ends(one) == [("toxicity", "detector", 0.1), ("toxicity", "detector", 0.2), ("mood", "detector", 1.0)]


def test_langfuse__later_export_with_a_new_score__is_the_same_content() -> None:
    before = entry("langfuse", {**TRACE, "updatedAt": "x"})
    after = entry("langfuse", {**TRACE, "updatedAt": "y", "bookmarked": True}, score("success", 1))

    assert before.fingerprint == after.fingerprint
    assert before.item == after.item


def test_langfuse__what_is_none_of_the_three__is_a_bad_line() -> None:
    told = read(
        "langfuse", {"id": "x"}, {"id": "d-1", "datasetName": "n", "input": 1}, score("lost", 1, traceId="t-9"),
        score("of a session", 1, traceId=None, sessionId="s-1"), TRACE,
    )  # fmt: skip

    bad = [one for one in told if isinstance(one, BadLine)]
    assert sorted(one.number for one in bad) == [1, 2, 3, 4]
    assert "in none of the files" in next(one.reason for one in bad if one.number == 3)
    assert "a session" in next(one.reason for one in bad if one.number == 4)
