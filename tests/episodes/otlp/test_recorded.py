"""Bodies recorded from real SDKs: both encodings give the same spans, each emitter the same episode."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from episodes.door import Read, read_item
from episodes.otlp.assembly import Assembled, episodes_of
from episodes.otlp.spans import Log, Span, dump_fragment, load_fragment
from episodes.otlp.wire import Received, read_logs, read_traces
from tests.episodes.otlp.making import DATA

FOLDER = DATA / "otlp_recorded"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data/otlp_recorded is not beside the repository")

BODIES = (
    "openinference_traces_1", "openllmetry_traces_2", "langfuse_traces_3", "pydanticai_traces_5", "oaiv2_logs_7",
    "oaiv2_traces_8", "oaiv2semconv_traces_9",
)  # fmt: skip
# Emitter: bodies, input tokens, output tokens, model calls that speak, conversation, tool's answer.
EMITTERS: dict[str, tuple[tuple[str, ...], int, int, int, str | None, str]] = {
    "openinference": (("openinference_traces_1",), 47, 8, 4, "s1", '{"t":21}'),
    "openllmetry": (("openllmetry_traces_2",), 47, 8, 4, "s1", '{"t":21}'),
    "langfuse": (("langfuse_traces_3",), 47, 8, 4, None, '{"t":21}'),
    "pydantic-ai": (("pydanticai_traces_5",), 22, 4, 2, "01a1fbe0-9b01-77bd-982d-27a21d732862", "21C"),
    "openai default": (("oaiv2_traces_8", "oaiv2_logs_7"), 36, 6, 3, "s1", '{"t":21}'),
    "openai opt-in": (("oaiv2semconv_traces_9",), 36, 6, 3, "s1", '{"t":21}'),
}


def received(name: str, *, is_json: bool) -> Received:
    read = read_logs if "_logs_" in name else read_traces
    path = Path(FOLDER / f"{name}.{'json' if is_json else 'pb'}")
    return read(path.read_bytes(), is_json=is_json)


def records(emitter: str, *, is_json: bool = False) -> tuple[list[Span], list[Log]]:
    bodies = [received(name, is_json=is_json) for name in EMITTERS[emitter][0]]
    return [span for body in bodies for span in body.spans], [log for body in bodies for log in body.logs]


def the_episode(emitter: str, *, is_json: bool = False) -> Assembled:
    (episode,) = episodes_of(*records(emitter, is_json=is_json))
    return episode


@pytest.mark.parametrize("name", BODIES)
def test_body__as_protobuf_and_as_json__gives_identical_records(name: str) -> None:
    from_protobuf, from_json = received(name, is_json=False), received(name, is_json=True)

    assert from_protobuf == from_json
    assert from_protobuf.rejected == 0
    assert from_protobuf.spans or from_protobuf.logs
    fragment = dump_fragment(from_protobuf.spans, from_protobuf.logs)
    assert load_fragment(fragment) == (from_json.spans, from_json.logs)


@pytest.mark.parametrize("emitter", EMITTERS)
@pytest.mark.parametrize("is_json", [False, True])
def test_emitter__any_encoding__gives_the_same_episode_shape(emitter: str, is_json: bool) -> None:
    _, tokens_in, tokens_out, num_calls, conversation, tool_answer = EMITTERS[emitter]

    episode = the_episode(emitter, is_json=is_json)
    item = episode.item

    assert item["input"]["messages"] == [{"role": "user", "content": "weather in Paris?"}]
    assert item["output"] == {"text": "Hello there"}
    assert item["usage"]["model"] == "gpt-4o-mini-2024-07-18"
    assert (item["usage"]["input_tokens"], item["usage"]["output_tokens"]) == (tokens_in, tokens_out)
    assert item["usage"]["total_tokens"] == tokens_in + tokens_out
    assert item["usage"]["model_calls"] == num_calls
    assert item.get("conversation") == conversation
    assert episode.is_closed
    assert episode.outcome is None
    (tool,) = (step for step in item["steps"] if step["kind"] == "tool_call")
    assert (tool["name"], tool["input"], tool["output"]["content"]) == ("get_weather", {"city": "Paris"}, tool_answer)
    first = item["steps"][0]
    assert (first["kind"], first["name"]) == ("model_call", "gpt-4o-mini-2024-07-18")
    assert first["input"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "weather in Paris?"},
    ]
    assert first["output"]["tool_calls"] == ["get_weather"]
    (call,) = first["output"]["messages"][0]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert isinstance(read_item(item, agent_slug="shop", redacted_kinds=()), Read)


@pytest.mark.parametrize("emitter", EMITTERS)
def test_emitter__spans_one_by_one_in_any_order__end_in_the_same_episode_under_one_id(emitter: str) -> None:
    spans, logs = records(emitter)
    arriving: list[Any] = [*spans, *logs, *spans]
    random.Random(7).shuffle(arriving)
    ids = set()

    for end in range(1, len(arriving) + 1):
        some = arriving[:end]
        found = episodes_of([r for r in some if isinstance(r, Span)], [r for r in some if isinstance(r, Log)])
        ids.update(episode.item["id"] for episode in found)

    assert found == episodes_of(spans, logs)
    assert ids == {spans[0].trace_id}


def test_pydantic_ai__cost_and_agent__are_kept() -> None:
    item = the_episode("pydantic-ai").item

    assert item["usage"]["cost_usd"] == pytest.approx(5.7e-06)
    assert item["workflow"] == "a"
    assert item["attributes"]["agent_name"] == "a"
    assert item["attributes"]["dialects"] == ["genai", "pydantic_ai"]


def test_openai_default__logs_alone__still_show_the_conversation() -> None:
    _, logs = records("openai default")

    (episode,) = episodes_of([], logs)

    assert episode.item["input"]["messages"] == [{"role": "user", "content": "weather in Paris?"}]
    assert episode.item["output"] == {"text": "Hello there"}
    assert not episode.is_closed
    assert episode.span_ids == frozenset()


def ai_sdk_spans(name: str) -> list[Span]:
    path = DATA / "otel_fixtures" / "openinference" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return [
        Span(
            one["spanContext"]["traceId"], one["spanContext"]["spanId"], "", one["name"], 1,
            one["startTime"][0] * 10**9 + one["startTime"][1], one["endTime"][0] * 10**9 + one["endTime"][1],
            one["status"]["code"], "", one["attributes"], {}, "ai", one["events"],
        )
        for one in json.loads(path.read_text())
    ]  # fmt: skip


@pytest.mark.parametrize("operation", ["generateText", "generateText-doGenerate"])
def test_ai_sdk__runs_and_calls__show_input_output_and_tokens(operation: str) -> None:
    spans = ai_sdk_spans(f"js_packages_openinference-vercel_test___fixtures___v6-spans_ai-{operation}.json")

    haiku, sums = sorted(episodes_of(spans, []), key=lambda one: str(one.item["started_at"]))

    assert haiku.item["input"]["messages"] == [{"role": "user", "content": "Write a haiku about programming."}]
    assert haiku.item["output"]["text"].startswith("Lines of code align")
    assert (haiku.item["usage"]["input_tokens"], haiku.item["usage"]["output_tokens"]) == (14, 20)
    assert [message["role"] for message in sums.item["input"]["messages"]] == ["user", "assistant", "user"]
    assert sums.item["output"] == {"text": "3 + 3 equals 6."}
