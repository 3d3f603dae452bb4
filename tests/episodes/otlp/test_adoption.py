"""From captured spans the first harness is drawn up: what most runs showed, and every variant with its share."""

import json
import random
from typing import Any

import pytest

from episodes.otlp.adoption import adopt
from episodes.otlp.spans import Span
from episodes.otlp.wire import read_traces
from harness.documents import validate_document
from tests.episodes.otlp.making import AGENT, DATA, a_span, chat

LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Finds an order.",
        "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}},
    },
}


def a_call(
    number: int, *, system: str = "Be brief.", model: str = "gpt-x", temperature: float = 0.2, tools: Any = (LOOKUP,),
    **changes: Any,
) -> Span:  # fmt: skip
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Where is my order?"}]
    attributes = chat(
        **{
            "gen_ai.input.messages": json.dumps(messages),
            "gen_ai.request.model": model,
            "gen_ai.response.model": f"{model}-2026-01-01",
            "gen_ai.request.temperature": temperature,
            "gen_ai.request.stream": True,
            "gen_ai.tool.definitions": json.dumps(list(tools)),
        }
    )
    return a_span(number, trace_id=f"{number:032x}", attributes={**attributes, **changes})


def test_adopt__runs_that_agree__gives_their_harness() -> None:
    adopted = adopt([a_call(number) for number in range(1, 5)])

    assert adopted.document["prompt"]["system"] == "Be brief."
    assert adopted.document["model"] == {"name": "gpt-x", "parameters": {"temperature": 0.2}}
    assert adopted.document["tools"]["lookup"]["description"] == "Finds an order."
    assert adopted.document["tools"]["lookup"]["parameters"] == LOOKUP["function"]["parameters"]  # type: ignore[index]
    assert [(one.layer, one.share, one.count) for one in adopted.variants] == [
        ("prompt", 1.0, 4), ("tools", 1.0, 4), ("model", 1.0, 4),
    ]  # fmt: skip
    assert adopted.notes == []
    assert validate_document(adopted.document) == adopted.document


def test_adopt__variants__are_told_with_their_shares_and_the_most_frequent_wins() -> None:
    spans = [
        *(a_call(number) for number in (1, 2, 3)),
        a_call(4, system="Be thorough.", model="gpt-y", temperature=1.0, tools=()),
    ]

    adopted = adopt(spans)
    random.Random(3).shuffle(spans)

    assert adopt([*spans, *spans]) == adopted
    assert adopted.document["prompt"]["system"] == "Be brief."
    prompts = [(one.value, one.share) for one in adopted.variants if one.layer == "prompt"]
    models = [(one.value["name"], one.share) for one in adopted.variants if one.layer == "model"]
    assert prompts == [("Be brief.", 0.75), ("Be thorough.", 0.25)]
    assert models == [("gpt-x", 0.75), ("gpt-y", 0.25)]


def test_adopt__prompts_that_differ_only_in_numbers__are_one_variant() -> None:
    adopted = adopt([a_call(number, system=f"Today is 2026-11-{number:02}. Be brief.") for number in range(1, 5)])

    assert [one.share for one in adopted.variants if one.layer == "prompt"] == [1.0]
    assert adopted.notes == []


def test_adopt__prompts_that_all_differ__is_said() -> None:
    adopted = adopt([a_call(number, system=f"You serve {name}.") for number, name in enumerate("abc", start=1)])

    assert any("3 variants" in note for note in adopted.notes)


def test_adopt__an_inner_agent__becomes_a_node_of_the_workflow() -> None:
    outer = a_span(1, seconds=(1, 9), attributes=AGENT)
    inner = a_span(2, 1, attributes={**AGENT, "gen_ai.agent.name": "refund desk"})
    main = a_span(3, 1, attributes=a_call(3).attributes)
    call = a_span(4, 2, attributes=a_call(4, system="Handle refunds.").attributes)

    adopted = adopt([outer, inner, main, call])

    assert adopted.document["prompt"]["system"] == "Be brief."
    node = adopted.document["workflow"]["nodes"]["refund_desk"]
    assert (node["prompt"], node["tools"]) == ("Handle refunds.", ["lookup"])


def test_adopt__a_tool_that_was_only_called__gets_the_parameters_of_its_calls() -> None:
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "cancel order/now",
        "gen_ai.tool.call.arguments": '{"id": 7, "why": "late"}',
    }

    adopted = adopt([a_span(1, attributes=tool)])

    assert adopted.document["tools"]["cancel_order_now"]["parameters"] == {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "why": {"type": "string"}},
    }
    assert any("never described" in note for note in adopted.notes)
    assert any("No system prompt" in note for note in adopted.notes)


def test_adopt__a_schema_no_document_may_hold__is_left_out_with_a_note() -> None:
    remote = {"name": "lookup", "description": "", "parameters": {"$ref": "https://example.org/x"}}

    adopted = adopt([a_call(1, tools=[remote])])

    assert adopted.document["tools"]["lookup"]["parameters"] == {}
    assert any("cannot be kept" in note for note in adopted.notes)


def test_adopt__nothing__is_an_empty_document_and_says_so() -> None:
    adopted = adopt([])

    assert validate_document(adopted.document) == adopted.document
    assert adopted.variants == []
    assert "No run of an agent" in adopted.notes[0]


@pytest.mark.parametrize(
    "name", ["openinference_traces_1", "openllmetry_traces_2", "langfuse_traces_3", "pydanticai_traces_5"]
)
def test_adopt__recorded_bodies__give_the_same_harness(name: str) -> None:
    path = DATA / "otlp_recorded" / f"{name}.pb"
    if not path.is_file():
        pytest.skip(f"{path} is not there")

    adopted = adopt(read_traces(path.read_bytes(), is_json=False).spans)

    assert adopted.document["prompt"]["system"] == "Be brief."
    assert adopted.document["model"]["name"].startswith("gpt-4o-mini")
    parameters = adopted.document["tools"]["get_weather"]["parameters"]
    assert parameters["properties"] == {"city": {"type": "string"}}
