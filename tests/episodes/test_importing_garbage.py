"""Whatever stands in a file, a reader answers with entries, notes and bad lines, and every line is accounted for."""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.importing.entries import BadLine, Entry, Note, Options
from episodes.importing.formats import FORMATS
from tests.episodes.reading import lines

TIME = "2025-03-01T12:00:00Z"
MESSAGES = [
    {"role": "user", "content": "Where is it?"},
    {"role": "assistant", "tool_calls": [{"id": "c-1", "function": {"name": "track", "arguments": "{'parcel': 7}"}}]},
    {"role": "tool", "tool_call_id": "c-1", "name": "track", "content": "Error: unknown"},
    {"role": "assistant", "content": [{"type": "text", "text": "Nobody knows."}], "usage": {"prompt_tokens": 1}},
]
MORE: dict[str, list[dict[str, Any]]] = {
    "openai-chat": [
        {
            "custom_id": "b-1", "request": {"messages": MESSAGES, "tools": [{"function": {"name": "track"}}]}, "error": None,
            "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "x"}}], "usage": {}, "created": 1}},
            "metadata": {"outcome": "failed", "user_id": "u", "created_at": TIME},
        }
    ],
    "openai-evals": [
        {"spec": {"run_id": "r", "completion_fns": ["m"], "eval_name": "e", "run_config": {}}},
        {"run_id": "r", "sample_id": "s", "type": "sampling", "data": {"prompt": MESSAGES, "sampled": ["x"]}, "created_at": TIME},
        {"run_id": "r", "sample_id": "s", "type": "match", "data": {"correct": True, "picked": "x"}, "created_at": TIME},
        {"run_id": "r", "sample_id": "s", "type": "metrics", "data": {"accuracy": 1.0}, "created_at": TIME},
    ],
    "langfuse": [
        {
            "id": "o-1", "traceId": "t-1", "type": "GENERATION", "name": "n", "startTime": TIME, "endTime": TIME, "input": MESSAGES,
            "output": {"choices": [{"message": {"content": "y"}}]}, "usage": {"input": 1}, "costDetails": {"total": 0.1},
            "level": "ERROR", "statusMessage": "m", "parentObservationId": "p",
        },
        {"id": "s-1", "traceId": "t-1", "name": "n", "value": 1, "source": "API", "dataType": "NUMERIC", "timestamp": TIME},
        {"id": "t-2", "timestamp": TIME, "latency": 1.0, "observations": [{"id": "o", "type": "TOOL"}], "mood": [1, "calm"]},
    ],
    "tau-bench": [
        {"id": "r-2", "domain": "retail", "harness_error": {"traceback": "Traceback"}, "messages": [], "crash_class": "bug", "success": False},
        {"task_id": 1, "trial": 0, "reward": 0.5, "info": {"task": {"user_id": "u"}}, "traj": MESSAGES},
    ],
    "tau2-bench": [
        {
            "id": "s-2", "task_id": "1", "start_time": TIME, "end_time": TIME, "duration": 1.0, "messages": MESSAGES,
            "termination_reason": "user_stop", "reward_info": {"reward": 1.0}, "agent_cost": 0.1,
        },
        {"id": "s-3", "domain": "telecom", "start_time": None, "messages": None, "termination": "agent_error", "reward": 0.0},
    ],
}  # fmt: skip
JUNK = st.sampled_from(
    [None, True, 0, -1, 1e308, 10**400, float("inf"), "", "x", "\ud800", "a\x00b", [], {}, [None], {"a": None}, [[]], [{}],
     "{'a': {1, 2}}", "nan", "9999999999999", "2025-99-01", {"role": None}, "user", "tool"]
).map(copy.deepcopy)  # fmt: skip  # a drawn list may be damaged in its turn
VALUES = st.recursive(
    JUNK | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, inner in members for place in places(inner, (*path, name)))]


@st.composite
def damaged(draw: st.DrawFn, name: str) -> str:
    """Draw a record of a format with some of its members replaced by junk or missing."""
    record = draw(st.sampled_from([json.loads(FORMATS[name].example), *MORE[name]]))
    record = json.loads(json.dumps(record))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(record)))
        if not place:
            return json.dumps(draw(VALUES))
        around = record
        for member in place[:-1]:
            around = around[member]
        if draw(st.booleans()):
            around[place[-1]] = draw(VALUES)
        else:
            del around[place[-1]]
    return json.dumps(record)


def told(format_name: str, *texts: Any) -> list[Any]:
    found = list(FORMATS[format_name].read(lines(*texts), Options()))
    for one in found:
        assert isinstance(one, Entry | BadLine | Note)
        if isinstance(one, Entry):
            assert isinstance(one.item["id"], str)
            json.dumps(one.item)
    return found


@pytest.mark.parametrize("name", MORE)
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_reader__damaged_records__never_raises_and_tells_of_every_line(name: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(damaged(name), min_size=1, max_size=3))

    found = told(name, *texts)

    if name in {"openai-chat", "tau-bench", "tau2-bench"} and not any(text.startswith("[") for text in texts):
        assert {one.number for one in found} == set(range(1, len(texts) + 1))


@pytest.mark.parametrize("name", MORE)
def test_reader__records_that_are_whole__are_entries(name: str) -> None:
    found = told(name, *(json.dumps(record) for record in MORE[name]))

    assert not [one for one in found if isinstance(one, BadLine)]
    assert [one for one in found if isinstance(one, Entry)]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.text(max_size=60), min_size=1, max_size=6))
def test_reader__any_bytes__never_raises(name: str, texts: list[bytes | str]) -> None:
    told(name, *(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass") for text in texts))


@pytest.mark.parametrize("name", FORMATS)
def test_reader__its_own_example_damaged_anywhere__never_raises(name: str) -> None:
    example = FORMATS[name].example.encode()
    chance = random.Random(7)

    for _ in range(150):
        place = chance.randrange(len(example))
        told(name, example[:place] + bytes([chance.randrange(256)]) + example[place + chance.randrange(3) :])


@pytest.mark.parametrize("name", FORMATS)
def test_reader__its_own_example__is_one_entry_with_an_answer(name: str) -> None:
    (one,) = told(name, *FORMATS[name].example.split("\n"))

    assert one.item["input"]["messages"][0]["role"] == "user"
    assert one.item["output"]["text"]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "csv"])
@settings(max_examples=30, deadline=None)
@given(st.text(max_size=40).filter(lambda text: text.strip() and text.strip()[0] not in "[{"))
def test_reader__a_line_that_is_no_object__is_a_bad_line_by_number(name: str, text: str) -> None:
    good = FORMATS[name].example
    text = " ".join(text.split())

    found = told(name, good, text, good.replace("-1", "-2"))

    assert [(one.number, type(one)) for one in found if isinstance(one, BadLine)] == [(2, BadLine)]
