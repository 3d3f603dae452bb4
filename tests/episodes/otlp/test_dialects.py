"""Each convention's attributes, old names and new, become the same few kinds of steps."""

import json
from typing import Any

import pytest

from episodes.otlp.assembly import episodes_of
from episodes.otlp.dialects.chat import definitions_of, messages_of
from episodes.otlp.dialects.reading import nested
from episodes.otlp.dialects.registry import read_span
from episodes.otlp.spans import Log
from tests.episodes.otlp.making import DATA, a_log, a_span

USER = {"role": "user", "content": "Where is my order?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": '{"id": 7}'}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "sent", "tool_call_id": "c1"}
SAID = {"role": "assistant", "content": "It was sent."}
CHAT = [USER, CALLING, RESULT]
SCHEMA = {"type": "object", "properties": {"id": {"type": "integer"}}}
TOOLS = [{"name": "lookup", "description": "Finds an order.", "parameters": SCHEMA}]


def test_messages_of__every_shape__gives_the_same_chat() -> None:
    openai = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]
    genai = [
        {"role": "user", "parts": [{"type": "text", "content": USER["content"]}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "lookup", "arguments": {"id": 7}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sent"}]},
    ]
    pydantic = [*genai[:2], {"role": "user", "parts": [{"type": "tool_call_response", "id": "c1", "result": "sent"}]}]
    anthropic = [
        {"role": "user", "content": [{"type": "text", "text": USER["content"]}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "lookup", "input": {"id": 7}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sent"}]},
    ]
    responses = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": USER["content"]}]},
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "id": "fc_9", "call_id": "c1", "name": "lookup", "arguments": '{"id": 7}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sent"},
    ]
    ai_sdk = [
        {"role": "user", "content": [{"type": "text", "text": USER["content"]}]},
        {"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "lookup", "input": {"id": 7}}]},
        {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "c1", "toolName": "lookup",
                                      "output": {"type": "text", "value": "sent"}}]},
    ]  # fmt: skip
    human = [{"role": "human", "content": USER["content"]}, {"role": "ai", "content": "", "tool_calls": [CALL]}, RESULT]

    for shape in (openai, genai, pydantic, anthropic, responses, ai_sdk, human):
        assert messages_of(json.dumps(shape)) == CHAT, shape
        assert messages_of(shape) == CHAT, shape
        assert messages_of({"messages": shape}) == CHAT, shape


def test_messages_of__answers_and_plain_texts__are_messages() -> None:
    assert messages_of("hi") == [{"role": "user", "content": "hi"}]
    assert messages_of("hi", role="assistant") == [{"role": "assistant", "content": "hi"}]
    assert messages_of('{"not": "a message"}') == []
    assert messages_of({"choices": [{"message": SAID}]}) == [SAID]
    assert messages_of({"output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It was sent."}]}]}) == [SAID]  # fmt: skip
    assert messages_of({"system": "Be brief.", "messages": [USER]}) == [
        {"role": "system", "content": "Be brief."},
        USER,
    ]
    assert messages_of({"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {}}]}) == [{"role": "user", "content": "see\n[image_url]"}]  # fmt: skip
    assert messages_of(None) == []


def test_messages_of__the_conventions_schema_examples__name_every_part() -> None:
    folder = DATA / "otel_fixtures" / "openinference"
    path = folder / "python_openinference-instrumentation_tests_fixtures_genai_schemas_gen-ai-input-messages.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    kinds = {
        part["properties"]["type"]["const"]
        for part in json.loads(path.read_text())["$defs"].values()
        if "const" in part.get("properties", {}).get("type", {})
    }
    assert {"text", "tool_call", "tool_call_response", "reasoning"} <= kinds

    for kind in kinds:
        part = {"type": kind, "id": "c1", "name": "lookup", "content": "words", "response": "sent", "arguments": {}}
        for message in messages_of([{"role": "user", "parts": [part]}]):
            assert message["role"] in {"user", "tool"}


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "function", "function": {"name": "lookup", "description": "Finds an order.", "parameters": SCHEMA}},
        {"type": "function", "name": "lookup", "description": "Finds an order.", "parameters": SCHEMA},
        {"name": "lookup", "description": "Finds an order.", "input_schema": SCHEMA},
        {"name": "lookup", "description": "Finds an order.", "parameters_json_schema": SCHEMA},
        {"type": "function", "name": "lookup", "description": "Finds an order.", "inputSchema": json.dumps(SCHEMA)},
    ],
)
def test_definitions_of__every_shape__gives_name_description_and_schema(definition: dict[str, Any]) -> None:
    assert definitions_of([definition]) == TOOLS
    assert definitions_of(json.dumps([definition])) == TOOLS
    assert definitions_of([json.dumps(definition)]) == TOOLS


def test_nested__flattened_names__become_lists_in_order() -> None:
    flat = {"a.10.b": "ten", "a.2.b": "two", "a.2.c.d": 1, "a": "x", "ab.0": "no"}

    assert nested(flat, "a") == [{"b": "two", "c": {"d": 1}}, {"b": "ten"}]
    assert nested(flat, "none") is None
    assert nested({"a.0": "leaf", "a.0.b": 1}, "a") == [{"b": 1}]


ASKED = {"role": "user", "parts": [{"type": "text", "content": USER["content"]}]}
ANSWERED = {"role": "assistant", "parts": [{"type": "text", "content": SAID["content"]}]}
GENAI_NEW = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 3,
}
GENAI_OLD = {
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.usage.prompt_tokens": 10,
    "gen_ai.usage.completion_tokens": 3,
}
MODEL_CALLS: dict[str, dict[str, Any]] = {
    "genai, JSON text": {
        **GENAI_NEW,
        "gen_ai.input.messages": json.dumps([ASKED]),
        "gen_ai.output.messages": json.dumps([ANSWERED]),
    },
    "genai, structured": {**GENAI_NEW, "gen_ai.input.messages": [ASKED], "gen_ai.output.messages": [ANSWERED]},
    "genai, old JSON": {**GENAI_OLD, "gen_ai.prompt": json.dumps([USER]), "gen_ai.completion": json.dumps([SAID])},
    "genai, flattened": {
        **GENAI_OLD,
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": USER["content"],
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": SAID["content"],
    },
    "openllmetry, legacy": {
        "llm.request.type": "chat",
        "llm.vendor": "openai",
        "llm.request.model": "gpt-x",
        "llm.temperature": 0.2,
        "llm.usage.prompt_tokens": 10,
        "llm.usage.completion_tokens": 3,
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": USER["content"],
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": SAID["content"],
    },
    "openinference": {
        "openinference.span.kind": "LLM",
        "llm.system": "openai",
        "llm.model_name": "gpt-x",
        "llm.invocation_parameters": '{"model": "gpt-x", "temperature": 0.2}',
        "llm.token_count.prompt": 10,
        "llm.token_count.completion": 3,
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.contents.0.message_content.type": "text",
        "llm.input_messages.0.message.contents.0.message_content.text": USER["content"],
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": SAID["content"],
    },
    "langfuse": {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-x",
        "langfuse.observation.model.parameters": '{"temperature": 0.2, "max_tokens": "Infinity"}',
        "langfuse.observation.usage_details": '{"input": 10, "output": 3}',
        "langfuse.observation.input": json.dumps([USER]),
        "langfuse.observation.output": json.dumps(SAID),
    },
    "pydantic-ai, version 1": {
        **GENAI_NEW,
        "events": json.dumps([
            {"event.name": "gen_ai.user.message", "content": USER["content"], "role": "user"},
            {"event.name": "gen_ai.choice", "index": 0, "message": SAID},
        ]),
    },
    "ai sdk": {
        "ai.operationId": "ai.streamText.doStream",
        "ai.model.id": "gpt-x",
        "gen_ai.request.temperature": 0.2,
        "ai.usage.promptTokens": 10,
        "ai.usage.completionTokens": 3,
        "ai.prompt.messages": json.dumps([USER]),
        "ai.response.text": SAID["content"],
    },
    "own": {
        "whetstone.kind": "model_call",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "whetstone.input": json.dumps([USER]),
        "whetstone.output": SAID["content"],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MODEL_CALLS)
def test_model_call__in_every_dialect__is_the_same_step(name: str) -> None:
    scope = name.partition(",")[0]
    (episode,) = episodes_of([a_span(attributes=MODEL_CALLS[name], scope=scope)], [])

    (step,) = episode.item["steps"]
    assert (step["kind"], step["name"], step["latency_ms"]) == ("model_call", "gpt-x", 500)
    assert step["input"]["messages"] == [USER]
    assert step["input"]["parameters"] == {"temperature": 0.2}
    assert step["output"]["messages"] == [SAID]
    assert step["output"]["text"] == SAID["content"]
    usage = episode.item["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (10, 3, 13)
    assert episode.item["input"] == {"messages": [USER]}
    assert episode.item["output"] == {"text": SAID["content"]}


EVENTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "one event each": [
        ("gen_ai.user.message", {"content": USER["content"]}),
        ("gen_ai.assistant.message", {"tool_calls": [CALL]}),
        ("gen_ai.tool.message", {"content": "sent", "id": "c1"}),
        ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": SAID}),
    ],
    "details": [
        (
            "gen_ai.client.inference.operation.details",
            {"gen_ai.input.messages": CHAT, "gen_ai.output.messages": json.dumps([ANSWERED])},
        )
    ],
    "content events": [
        ("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps(CHAT)}),
        ("gen_ai.content.completion", {"gen_ai.completion": json.dumps([SAID])}),
    ],
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("place", ["log body", "log attributes", "span event"])
def test_messages__in_events_or_log_records__belong_to_their_span(name: str, place: str) -> None:
    logs: list[Log] = []
    events: list[dict[str, Any]] = []
    for index, (event, payload) in enumerate(EVENTS[name]):
        if place == "span event":
            events.append({"name": event, "time_ns": index, "attributes": payload})
        elif place == "log body":
            logs.append(a_log(1, event, payload, second=1 + index / 10))
        else:
            logs.append(a_log(1, event, None, attributes=payload, second=1 + index / 10))

    reading = read_span(a_span(attributes=GENAI_NEW, events=events), logs)

    assert reading.messages_in == CHAT
    assert reading.messages_out == [SAID]


def test_system_instructions__beside_the_messages__come_first() -> None:
    attributes = {
        **GENAI_NEW,
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
        "gen_ai.input.messages": json.dumps([ASKED]),
    }

    assert read_span(a_span(attributes=attributes)).messages_in == [{"role": "system", "content": "Be brief."}, USER]


TOOL_CALLS: dict[str, dict[str, Any]] = {
    "genai": {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.call.arguments": '{"id": 7}',
        "gen_ai.tool.call.result": "sent",
    },
    "openinference": {
        "openinference.span.kind": "TOOL",
        "tool.name": "lookup",
        "tool.id": "c1",
        "input.value": '{"id": 7}',
        "output.value": "sent",
    },
    "openllmetry": {
        "traceloop.span.kind": "tool",
        "traceloop.entity.name": "lookup",
        "traceloop.entity.input": '{"id": 7}',
        "traceloop.entity.output": "sent",
        "gen_ai.tool.call.id": "c1",
    },
    "pydantic-ai": {
        "gen_ai.tool.name": "lookup",
        "gen_ai.tool.call.id": "c1",
        "tool_arguments": '{"id": 7}',
        "tool_response": "sent",
    },
    "ai sdk": {
        "ai.operationId": "ai.toolCall",
        "ai.toolCall.name": "lookup",
        "ai.toolCall.id": "c1",
        "ai.toolCall.args": '{"id": 7}',
        "ai.toolCall.result": "sent",
    },
}


@pytest.mark.parametrize("name", TOOL_CALLS)
def test_tool_call__in_every_dialect__is_the_same_step(name: str) -> None:
    (episode,) = episodes_of([a_span(attributes=TOOL_CALLS[name])], [])

    (step,) = episode.item["steps"]
    assert (step["kind"], step["name"], step["input"]) == ("tool_call", "lookup", {"id": 7})
    assert step["output"] == {"content": "sent", "call_id": "c1"}


def test_tool_call__langfuse__takes_the_span_name() -> None:
    attributes = {"langfuse.observation.type": "tool", "langfuse.observation.input": '{"id": 7}'}

    (episode,) = episodes_of([a_span(name="lookup", attributes=attributes)], [])

    assert episode.item["steps"][0]["name"] == "lookup"
    assert episode.item["steps"][0]["input"] == {"id": 7}


def test_retrieval__flattened_and_structured__gives_documents_and_sources() -> None:
    flat = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": "returns policy",
        "retrieval.documents.0.document.id": "returns",
        "retrieval.documents.0.document.content": "30 days",
        "retrieval.documents.0.document.score": 0.9,
    }
    genai = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.query.text": "returns policy",
        "gen_ai.retrieval.documents": json.dumps([{"id": "returns", "content": "30 days", "score": 0.9}]),
    }
    langfuse = {
        "langfuse.observation.type": "retriever",
        "langfuse.observation.input": "returns policy",
        "langfuse.observation.output": json.dumps([{"id": "returns", "content": "30 days", "score": 0.9}]),
    }

    for attributes in (flat, genai, langfuse):
        (episode,) = episodes_of([a_span(attributes=attributes)], [])
        (step,) = episode.item["steps"]
        assert (step["kind"], step["input"]) == ("retrieval", {"query": "returns policy"})
        assert step["output"] == {"documents": [{"id": "returns", "text": "30 days", "score": 0.9}]}
        assert episode.item["sources"] == ["returns"]


CHECKS: dict[str, dict[str, Any]] = {
    "openinference": {
        "openinference.span.kind": "EVALUATOR",
        "evaluation.name": "polite",
        "evaluation.score": 0.2,
        "evaluation.label": "fail",
        "evaluation.explanation": "too curt",
    },
    "genai": {
        "gen_ai.evaluation.name": "polite",
        "gen_ai.evaluation.score.value": 0.2,
        "gen_ai.evaluation.score.label": "fail",
        "gen_ai.evaluation.explanation": "too curt",
    },
    "own": {
        "whetstone.check": "polite",
        "whetstone.check.passed": False,
        "whetstone.check.score": 0.2,
        "whetstone.check.label": "fail",
        "whetstone.check.reason": "too curt",
    },
}


@pytest.mark.parametrize("name", CHECKS)
def test_check__in_every_dialect__says_whether_it_passed(name: str) -> None:
    (episode,) = episodes_of([a_span(attributes=CHECKS[name])], [])

    (step,) = episode.item["steps"]
    assert (step["kind"], step["name"], step["attempt"]) == ("check", "polite", 1)
    assert step["output"] == {"passed": False, "fired": True, "score": 0.2, "label": "fail", "reason": "too curt"}


def test_evaluation_event__on_a_model_call__is_a_check_of_its_own() -> None:
    verdict = a_log(1, "gen_ai.evaluation.result", None, attributes={**CHECKS["genai"]})

    (episode,) = episodes_of([a_span(attributes=MODEL_CALLS["genai, JSON text"])], [verdict])

    assert [(step["kind"], step["name"]) for step in episode.item["steps"]] == [
        ("model_call", "gpt-x"),
        ("check", "polite"),
    ]


def test_a_span_of_something_else__is_of_no_agents_concern() -> None:
    web = a_span(attributes={"http.request.method": "GET", "session.id": "s1", "user.id": "u1"})

    assert read_span(web).dialects == ()
    assert episodes_of([web], [a_log(1, "app.started", "hello")]) == []
