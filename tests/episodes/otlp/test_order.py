"""Spans shuffled, repeated, split and delayed give the same episodes; no id is given out that later has none."""

import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from episodes.door import Read, read_item
from episodes.otlp.adoption import adopt
from episodes.otlp.assembly import Assembled, episodes_of
from episodes.otlp.spans import Log, Span, dump_fragment, load_fragment
from harness.documents import validate_document
from tests.episodes.otlp.making import AGENT, START, a_log, a_span, chat, span_id

NOW = START + 10**12

KINDS: list[dict[str, Any]] = [
    {},
    AGENT,
    {"openinference.span.kind": "AGENT", "input.value": "hello there friend"},
    {"openinference.span.kind": "CHAIN"},
    {"traceloop.span.kind": "workflow", "traceloop.workflow.name": "w"},
    {"langfuse.observation.type": "agent"},
    chat(),
    chat("Cancel it", "", **{"gen_ai.response.model": "gpt-y"}),
    {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup", "gen_ai.tool.call.id": "c1"},
    {"openinference.span.kind": "GUARDRAIL", "whetstone.attempt": 2},
    {"whetstone.check": "tests pass", "whetstone.check.passed": False},
    {"session.id": "s1", "user.id": "u1"},
]


@st.composite
def traces(draw: st.DrawFn) -> tuple[list[Span], list[Log]]:
    """A few spans in one or two traces, some without their parent, some in a circle, and records for some."""
    count = draw(st.integers(1, 9))
    spans = []
    for number in range(1, count + 1):
        # 99 never arrives; a parent with a higher number may make a circle.
        parent = draw(st.sampled_from([0, 99, *range(1, count + 1)])) if draw(st.booleans()) else number // 2
        spans.append(
            a_span(
                number,
                parent,
                seconds=(draw(st.integers(1, 4)), draw(st.integers(0, 6))),
                attributes=dict(draw(st.sampled_from(KINDS))),
                trace_id=draw(st.sampled_from(["a" * 32, "a" * 32, "b" * 32])),
                end_ns=draw(st.sampled_from([0, START + 10**10])),
            )
        )
    logs = [
        a_log(
            draw(st.integers(1, count + 2)),
            draw(st.sampled_from(["gen_ai.user.message", "gen_ai.choice", "other"])),
            draw(st.sampled_from([{"content": "hi"}, {"message": {"content": "yes"}}, "text", None])),
            second=draw(st.integers(1, 3)),
            trace_id=draw(st.sampled_from(["a" * 32, "c" * 32])),
        )
        for _ in range(draw(st.integers(0, 4)))
    ]
    return spans, logs


def told(spans: list[Span], logs: list[Log]) -> list[Assembled]:
    return episodes_of(spans, logs, now_ns=NOW)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces(), st.randoms(use_true_random=False))
def test_episodes_of__shuffled_repeated_and_split__are_identical(
    trace: tuple[list[Span], list[Log]], chance: random.Random
) -> None:
    spans, logs = trace
    records: list[Span | Log] = [*spans, *logs, *chance.choices([*spans, *logs], k=5)]
    chance.shuffle(records)
    batches = [records[start : start + 3] for start in range(0, len(records), 3)]
    fragments = [
        dump_fragment([r for r in batch if isinstance(r, Span)], [r for r in batch if isinstance(r, Log)])
        for batch in batches
    ]
    loaded = [load_fragment(fragment) for fragment in fragments]

    again = told([span for some, _ in loaded for span in some], [log for _, some in loaded for log in some])

    assert again == told(spans, logs)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces(), st.randoms(use_true_random=False))
def test_episodes_of__while_spans_arrive__only_adds_ids(
    trace: tuple[list[Span], list[Log]], chance: random.Random
) -> None:
    spans, logs = trace
    distinct = list({(span.trace_id, span.span_id): span for span in spans}.values())
    records: list[Span | Log] = [*distinct, *logs]
    chance.shuffle(records)
    before: set[str] = set()

    for end in range(len(records) + 1):
        arrived = records[:end]
        some = told([r for r in arrived if isinstance(r, Span)], [r for r in arrived if isinstance(r, Log)])
        ids = {episode.item["id"] for episode in some}
        assert len(ids) == len(some)
        assert before <= ids
        before = ids


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces())
def test_episodes_of__any_trace__gives_items_the_door_takes_and_every_span_once(
    trace: tuple[list[Span], list[Log]],
) -> None:
    spans, logs = trace

    found = told(spans, logs)

    for episode in found:
        read = read_item(episode.item, agent_slug="shop", redacted_kinds=())
        assert isinstance(read, Read), read
    counted = [(episode.item["external_refs"]["trace"], one) for episode in found for one in episode.span_ids]
    known = {(span.trace_id, span.span_id) for span in spans}
    assert len(counted) == len(set(counted))
    assert {trace_id for trace_id, _ in counted} <= {trace_id for trace_id, _ in known}
    for trace_id in {trace_id for trace_id, _ in counted}:
        own = {one for one in known if one[0] == trace_id}
        assert own <= set(counted)


def test_episodes_of__the_same_span_twice_with_other_content__the_ended_one_wins() -> None:
    running = a_span(1, end_ns=0, attributes={**chat(), "gen_ai.output.messages": ""})
    ended = a_span(1, attributes=chat(answered="Done."))
    later = a_span(1, end_ns=START + 9 * 10**9, attributes=chat(answered="Really done."))

    for spans in ([running, ended, later], [later, ended, running], [ended, later, running]):
        (episode,) = told(spans, [])
        assert episode.item["output"] == {"text": "Really done."}


def test_episodes_of__equal_but_for_the_content__one_is_chosen_whatever_the_order() -> None:
    one, other = a_span(1, attributes=chat(answered="A")), a_span(1, attributes=chat(answered="B"))

    assert told([one, other], []) == told([other, one], [])


hostile = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from(["{}", "[]", "null", "[[[[", '{"role":1}', '[{"parts":[{"type":["x"]}]}]', '"\\u0000"', "1e999"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "parts", "type", "text", "tool_calls", "function", "name", "arguments", "id",
                         "messages", "choices", "message", "output", "input", "tools", "event.name", "kwargs",
                         "function_tools", "response", "total", "input_tokens_details"]),
        inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip
NAMES = [
    "gen_ai.operation.name", "gen_ai.request.model", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.prompt",
    "gen_ai.completion", "gen_ai.prompt.0.role", "gen_ai.prompt.0", "gen_ai.prompt.x.y", "gen_ai.completion.0.content",
    "gen_ai.tool.definitions", "gen_ai.system_instructions", "gen_ai.usage.input_tokens", "gen_ai.usage.cost",
    "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.tool.name", "gen_ai.retrieval.documents",
    "gen_ai.evaluation.name", "gen_ai.response.finish_reasons", "gen_ai.agent.name",
    "openinference.span.kind", "llm.input_messages.0.message.role", "llm.input_messages.0.message.tool_calls.0.x",
    "llm.input_messages.0", "llm.output_messages.7.message.contents.0.message_content.text", "llm.tools.0.tool.json_schema",
    "llm.invocation_parameters", "llm.token_count.prompt", "llm.prompts.0.prompt", "input.value", "output.value",
    "retrieval.documents.0.document.content", "evaluation.name", "evaluation.score",
    "langfuse.observation.type", "langfuse.observation.input", "langfuse.observation.output",
    "langfuse.observation.usage_details", "langfuse.observation.cost_details", "langfuse.observation.model.parameters",
    "traceloop.span.kind", "traceloop.entity.name", "traceloop.entity.input", "traceloop.workflow.name",
    "llm.request.functions.0.name", "llm.request.type", "ai.operationId", "ai.prompt", "ai.response.toolCalls",
    "ai.response.text", "ai.usage.tokens", "pydantic_ai.all_messages", "all_messages_events", "events", "final_result",
    "tool_arguments", "model_request_parameters", "agent_name", "whetstone.kind", "whetstone.check",
    "whetstone.check.passed", "whetstone.attempt", "whetstone.arm", "whetstone.weight", "whetstone.release",
    "whetstone.harness.digest", "whetstone.outcome", "whetstone.ref.ticket", "session.id", "user.id", "baggage",
    "logfire.span_type", "error.type",
]  # fmt: skip
KIND_WORDS = st.sampled_from(
    ["chat", "execute_tool", "retrieval", "invoke_agent", "embeddings", "LLM", "TOOL", "AGENT", "CHAIN", "RETRIEVER",
     "EVALUATOR", "GUARDRAIL", "RERANKER", "EMBEDDING", "generation", "agent", "tool", "retriever", "evaluator", "chain",
     "workflow", "handoff", "model_call", "check", "tool_call", "ai.toolCall", "ai.generateText", "ai.x.doGenerate"]
)  # fmt: skip
KIND_NAMES = [
    "gen_ai.operation.name", "openinference.span.kind", "langfuse.observation.type", "traceloop.span.kind",
    "ai.operationId", "whetstone.kind",
]  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(NAMES), hostile, max_size=8),
            st.dictionaries(st.sampled_from(KIND_NAMES), KIND_WORDS, max_size=2),
        ),
        min_size=1,
        max_size=3,
    ),
    hostile,
)
def test_episodes_of__any_values_under_known_names__give_items_and_drafts_the_doors_take(
    attributes: list[tuple[dict[str, Any], dict[str, Any]]], body: Any
) -> None:
    spans = [
        a_span(
            number,
            number - 1,
            status=number % 3,
            attributes={**one, **kinds},
            events=[{"name": name, "time_ns": 0, "attributes": one} for name in ("exception", "gen_ai.choice")],
        )
        for number, (one, kinds) in enumerate(attributes, start=1)
    ]
    logs = [
        a_log(number, name, body)
        for number in (1, 7)
        for name in ("gen_ai.user.message", "gen_ai.choice", "gen_ai.client.inference.operation.details")
    ]

    for episode in told(spans, logs):
        read = read_item(episode.item, agent_slug="shop", redacted_kinds=())
        assert isinstance(read, Read), read
    document = adopt(spans, logs).document
    assert validate_document(document) == document


def test_episodes_of__a_very_long_chain_of_spans__is_read_without_recursion() -> None:
    spans = [a_span(number, number - 1, seconds=(1, 2), attributes=chat()) for number in range(1, 5_000)]

    (episode,) = told(spans[::-1], [])

    assert episode.span_ids == {span_id(number) for number in range(1, 5_000)}
