"""Runs are found in traces, facts on spans, resources and baggage; long runs are shortened, bad facts kept aside."""

import json
from typing import Any

import pytest

from episodes.detectors import handoff
from episodes.detectors.readings import StepReading
from episodes.door import MAX_EPISODE_BYTES, MAX_STEPS, Read, read_item
from episodes.otlp.assembly import Assembled, Outcome, episodes_of, is_root_present
from episodes.otlp.spans import Span
from episodes.turns import opening_of, turns_of
from tests.episodes.otlp.making import AGENT, START, TRACE, a_log, a_span, chat, span_id

NOW = START + 10**12


def told(*spans: Span, logs: Any = ()) -> list[Assembled]:
    return episodes_of(spans, logs, now_ns=NOW)


def the_item(*spans: Span) -> dict[str, Any]:
    (episode,) = told(*spans)
    assert isinstance(read_item(episode.item, agent_slug="shop", redacted_kinds=()), Read)
    return episode.item


def test_runs__agents_side_by_side__are_episodes_of_their_own_once_their_parent_is_known() -> None:
    web = a_span(1, seconds=(1, 9))
    one = a_span(2, 1, seconds=(2, 4), attributes=AGENT)
    one_call = a_span(3, 2, seconds=(2, 3), attributes=chat("First?"))
    two = a_span(4, 1, seconds=(5, 7), attributes=AGENT)
    two_call = a_span(5, 4, seconds=(5, 6), attributes=chat("Second?"))

    (before,) = told(one, one_call, two, two_call)
    first, second = told(web, one, one_call, two, two_call)

    assert before.item["id"] == TRACE
    assert not before.is_closed
    assert [first.item["id"], second.item["id"]] == [TRACE, f"{TRACE}:{span_id(4)}"]
    assert first.span_ids == {span_id(1), span_id(2), span_id(3)}
    assert second.span_ids == {span_id(4), span_id(5)}
    assert [one.item["input"]["messages"][0]["content"] for one in (first, second)] == ["First?", "Second?"]
    assert first.is_closed
    assert second.is_closed


def test_runs__an_agent_inside_an_agent__is_a_hand_off_of_the_outer_run_and_to_no_person() -> None:
    outer = a_span(1, seconds=(1, 9), attributes=AGENT)
    tool = a_span(2, 1, seconds=(2, 8))
    inner = a_span(3, 2, seconds=(3, 7), attributes={**AGENT, "gen_ai.agent.name": "refunds"})
    call = a_span(4, 3, seconds=(4, 5), attributes=chat())

    item = the_item(call, inner, tool, outer)

    assert item["id"] == TRACE
    step, _ = item["steps"]
    assert (step["kind"], step["name"], step["input"]["agent"]) == ("handoff", "refunds", "refunds")
    readings = [
        StepReading(position, step["kind"], step["name"], step["input"], step["output"])
        for position, step in enumerate(item["steps"], start=1)
    ]
    assert handoff.detect(readings) is None


@pytest.mark.parametrize(
    "workflow",
    [
        {"openinference.span.kind": "CHAIN"},
        {"traceloop.span.kind": "workflow"},
        {"langfuse.observation.type": "chain"},
        {"gen_ai.operation.name": "invoke_workflow"},
    ],
)
def test_runs__agents_inside_a_workflow__are_one_run(workflow: dict[str, Any]) -> None:
    graph = a_span(1, seconds=(1, 9), attributes=workflow)
    turns = [a_span(number, 1, attributes=AGENT) for number in (2, 3)]

    (episode,) = told(graph, *turns)

    assert episode.item["id"] == TRACE
    assert episode.item["attributes"]["root_span"] == span_id(1)
    assert [step["kind"] for step in episode.item["steps"]] == ["handoff", "handoff"]


def test_is_closed__until_the_runs_own_span_has_ended__is_false() -> None:
    call, root = a_span(2, 1, attributes=chat()), a_span(1, seconds=(1, 9))
    running = a_span(1, end_ns=0, attributes=AGENT)

    assert not is_root_present([call])
    assert is_root_present([call, root])
    assert [told(*spans)[0].is_closed for spans in ([call], [call, running], [call, root])] == [False, False, True]


def test_runs__logfire_announcements__are_no_spans() -> None:
    pending = a_span(9, 1, attributes={**chat("Never?"), "logfire.span_type": "pending_span"})

    (episode,) = told(a_span(1, attributes=chat()), pending)

    assert episode.span_ids == {span_id(1)}
    assert len(episode.item["steps"]) == 1


def test_calls__a_framework_around_the_clients_own_span__count_once() -> None:
    outer = a_span(1, seconds=(1, 4), attributes=chat())
    inner = a_span(2, 1, seconds=(2, 3), attributes=chat())
    mute = {name: value for name, value in chat().items() if "messages" not in name}

    assert the_item(outer, inner)["usage"]["input_tokens"] == 10
    silent = the_item(outer, a_span(2, 1, seconds=(2, 3), attributes=mute))
    assert silent["usage"]["model_calls"] == 1
    assert silent["output"] == {"text": "On its way."}


def calling(name: str = "lookup", call_id: str = "c1") -> str:
    part = {"type": "tool_call", "id": call_id, "name": name, "arguments": {"id": 7}}
    return json.dumps([{"role": "assistant", "parts": [part]}])


def test_steps__a_tool_call_nobody_recorded__is_read_from_the_messages() -> None:
    asks = a_span(1, attributes=chat(**{"gen_ai.output.messages": calling()}))
    heard = [
        {"role": "user", "parts": [{"type": "text", "content": "Where?"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "Error: no such order"}]},
    ]
    answers = a_span(2, attributes=chat(**{"gen_ai.input.messages": json.dumps(heard)}))
    root = a_span(9, seconds=(0, 9))
    asks, answers = (a_span(one, 9, attributes=span.attributes) for one, span in ((1, asks), (2, answers)))
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup"}
    recorded = a_span(3, 9, seconds=(1.6, 1.7), attributes={**tool, "gen_ai.tool.call.id": "c1"})
    unnumbered = a_span(3, 9, seconds=(1.6, 1.7), attributes=tool)

    step = the_item(root, asks, answers)["steps"][1]

    assert (step["kind"], step["name"], step["input"], step["status"]) == ("tool_call", "lookup", {"id": 7}, "error")
    assert step["error"] == "Error: no such order"
    for span in (recorded, unnumbered):
        kinds = [step["kind"] for step in the_item(root, asks, answers, span)["steps"]]
        assert kinds == ["model_call", "tool_call", "model_call"]


def test_steps__a_failed_span__names_its_exception() -> None:
    raised = {"exception.type": "Timeout", "exception.message": "after 3 s"}
    failed = a_span(1, status=2, attributes=chat(), events=[{"name": "exception", "time_ns": 1, "attributes": raised}])
    worded = a_span(1, status=2, status_message="quota exceeded", attributes=chat())
    silent = a_span(1, status=2, attributes=chat(**{"error.type": "429"}))

    steps = [the_item(span)["steps"][0] for span in (failed, worded, silent)]

    assert [step["status"] for step in steps] == ["error"] * 3
    assert [step["error"] for step in steps] == ["Timeout: after 3 s", "quota exceeded", "429"]


def test_steps__attempts__are_told_by_attribute_or_by_repetition_of_a_check() -> None:
    root = a_span(1, seconds=(1, 9), attributes=AGENT)
    first = a_span(2, 1, attributes={"whetstone.attempt": 1})
    second = a_span(3, 1, attributes={"whetstone.attempt": 2})
    inside = [a_span(4, 2, attributes=chat()), a_span(5, 3, attributes=chat())]
    checks = [a_span(number, 1, attributes={"whetstone.check": "tests pass"}) for number in (6, 7)]
    other = a_span(8, 1, attributes={"whetstone.check": "polite"})

    steps = the_item(root, first, second, *inside, *checks, other)["steps"]

    assert [(step["kind"], step.get("attempt", 1)) for step in steps] == [
        ("model_call", 1), ("model_call", 2), ("check", 1), ("check", 2), ("check", 1),
    ]  # fmt: skip


def test_outcome__blocked_with_a_reason__is_told() -> None:
    blocked = a_span(
        attributes={
            **AGENT,
            "whetstone.outcome": "blocked",
            "whetstone.outcome.reason": "budget used up after 3 attempts",
        }
    )

    (episode,) = told(blocked)

    assert episode.outcome == Outcome("blocked", "budget used up after 3 attempts")
    assert told(a_span(attributes={**AGENT, "whetstone.outcome": "resolved"}))[0].outcome is None


DIGEST = "ab" * 32
RELEASE = "0198c5a0-0000-7000-8000-000000000000"
HARNESS = {
    "whetstone.harness.digest": DIGEST,
    "whetstone.release": RELEASE,
    "whetstone.arm": "canary",
    "whetstone.weight": 0.1,
}
BAGGAGE = f"other=1,whetstone.harness.digest={DIGEST};prop=2, whetstone.arm=can%61ry,whetstone.weight=0.1,whetstone.release={RELEASE},session.id=s%201,user.id=u1"
IDENTIFIED: dict[str, dict[str, Any]] = {
    "span": {"attributes": {**HARNESS, "session.id": "s 1", "user.id": "u1"}},
    "resource": {"resource": {**HARNESS, "session.id": "s 1", "user.id": "u1"}},
    "baggage": {"attributes": {"baggage": BAGGAGE}},
    "header": {"attributes": {"http.request.header.baggage": BAGGAGE.split(",")}},
    "langfuse": {"attributes": {**HARNESS, "langfuse.session.id": "s 1", "langfuse.user.id": "u1"}},
    "genai": {"attributes": {**HARNESS, "gen_ai.conversation.id": "s 1", "enduser.id": "u1"}},
}


@pytest.mark.parametrize("place", IDENTIFIED)
def test_identity__from_wherever_it_travels__reaches_the_items_fields(place: str) -> None:
    carrier = {"attributes": {}, **IDENTIFIED[place]}
    outer = a_span(1, seconds=(1, 9), **carrier)
    inner = a_span(2, 1, attributes=chat())

    item = the_item(outer, inner)

    assert (item["conversation"], item["subject"]) == ("s 1", "u1")
    assert (item["harness_digest"], item["release"]) == (DIGEST, RELEASE)
    assert (item["arm"], item["weight"]) == ("canary", 0.1)
    assert item["external_refs"] == {"trace": TRACE}


def test_identity__values_no_field_can_take__are_kept_aside_with_a_note() -> None:
    wrong = {
        "whetstone.harness.digest": "latest",
        "whetstone.release": "r-12",
        "whetstone.arm": "a very long arm",
        "whetstone.weight": 7,
        "session.id": "x" * 300,
        "user.id": " spaced\nout ",
        "whetstone.ref.ticket": "T-1",
    }

    item = the_item(a_span(attributes={**chat(), **wrong}))

    assert item["attributes"]["invalid"] == {name: wrong[name] for name in list(wrong)[:4]}
    assert len(item["attributes"]["notes"]) == 4
    assert not {"harness_digest", "release", "arm", "weight"} & item.keys()
    assert item["conversation"].startswith("x" * 170)
    assert item["subject"] == "spaced out"
    assert item["external_refs"] == {"trace": TRACE, "ticket": "T-1"}


@pytest.mark.parametrize("start_ns", [0, 10**15, NOW + 10**18, 2**64 - 1])
def test_times__that_cannot_be_true__are_left_out_with_a_note(start_ns: int) -> None:
    item = the_item(a_span(attributes=chat(), start_ns=start_ns, end_ns=start_ns))

    assert "started_at" not in item
    assert "clock" in item["attributes"]["notes"][0]


def test_times__of_a_run__are_those_of_its_own_span() -> None:
    item = the_item(a_span(1, seconds=(1, 4), attributes=AGENT), a_span(2, 1, seconds=(2, 8), attributes=chat()))

    assert (item["started_at"], item["ended_at"]) == ("2026-11-21T02:10:01+00:00", "2026-11-21T02:10:04+00:00")
    assert item["usage"]["latency_ms"] == 3_000


def test_input__a_prompt_built_around_the_users_words__gives_way_to_them() -> None:
    root = a_span(1, attributes={"openinference.span.kind": "AGENT", "input.value": "Where is my order?"})
    built = a_span(2, 1, attributes=chat("Context: …\nQuestion: Where is my order?\nAnswer:"))

    messages = the_item(root, built)["input"]["messages"]

    assert messages == [{"role": "user", "content": "Where is my order?"}]


def test_input__a_long_conversation__keeps_its_turns_and_opens_with_the_users_words() -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "I want to return my lamp"},
        {"role": "assistant", "content": "Why?"},
        {"role": "user", "content": "It is broken"},
    ]

    item = the_item(a_span(attributes=chat(**{"gen_ai.input.messages": json.dumps(turns)})))

    assert item["input"]["messages"] == turns[1:]
    assert opening_of(turns_of(item["input"]["messages"])) == "I want to return my lamp"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"question": "Where is it?"}', "Where is it?"),
        ('{"args": ["Where is it?"], "kwargs": {}}', "Where is it?"),
        ('{"inputs": {"messages": [{"role": "user", "content": "Where is it?"}]}}', "Where is it?"),
        ("Where is it?", "Where is it?"),
        ("7", "7"),
    ],
)
def test_input__of_a_run_without_shown_calls__is_found_in_its_arguments(given: str, said: str) -> None:
    root = a_span(attributes={"traceloop.span.kind": "agent", "traceloop.entity.input": given})

    assert the_item(root)["input"]["messages"] == [{"role": "user", "content": said}]


def test_output__an_object__is_kept_as_text_and_as_value() -> None:
    root = a_span(attributes={"openinference.span.kind": "AGENT", "output.value": '{"refund": 12}'})

    assert the_item(root)["output"] == {"text": '{"refund": 12}', "value": {"refund": 12}}


def test_output__of_a_judging_model__is_not_the_agents() -> None:
    root = a_span(1, seconds=(1, 9))
    answer = a_span(2, 1, attributes=chat())
    judge = a_span(3, 1, attributes={"openinference.span.kind": "EVALUATOR"})
    verdict = a_span(4, 3, attributes=chat("Was it polite?", "Yes."))

    item = the_item(root, answer, judge, verdict)

    assert item["output"] == {"text": "On its way."}
    assert item["usage"]["model_calls"] == 2


def test_fit__a_run_beyond_the_doors_limits__is_shortened_and_says_so() -> None:
    long = "word " * 20_000
    history: list[dict[str, str]] = []
    spans = [a_span(1, seconds=(0, 99), attributes=AGENT)]
    for number in range(2, 60):
        history.append({"role": "user", "content": f"{number} {long}"})
        spans.append(a_span(number, 1, attributes=chat(**{"gen_ai.input.messages": json.dumps(history)})))
    steps = [
        a_span(number, 1, attributes={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"})
        for number in range(100, 100 + MAX_STEPS + 5)
    ]

    item = the_item(*spans, *steps)

    assert len(json.dumps(item)) < MAX_EPISODE_BYTES
    assert len(item["steps"]) == MAX_STEPS
    assert item["attributes"]["shortened"][0].startswith("63 steps")
    assert "messages repeated from the model call before" in item["attributes"]["shortened"]


@pytest.mark.parametrize(
    ("pair", "number", "is_cut"),
    [([1.5, 0.5], 100_000, False), ([1.5, 0.5], 150_000, True), ([1e-6, 1e-6], 75_000, True)],
)
def test_fit__many_short_numbers__are_cut_where_the_door_would_refuse_them(
    pair: list[float], number: int, is_cut: bool
) -> None:
    vectors = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "embed"}
    vectors["gen_ai.tool.call.arguments"] = json.dumps({"vector": pair * number})

    assert ("shortened" in the_item(a_span(attributes=vectors))["attributes"]) is is_cut


def test_episodes_of__values_json_cannot_hold__become_text() -> None:
    arguments = '{"big": 12345678901234567, "nul": "a\\u0000b", "nan": NaN, "lone": "\\ud800"}'
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "gen_ai.tool.call.arguments": arguments}

    item = the_item(a_span(attributes=tool))

    assert item["steps"][0]["input"] == {
        "big": hex(12345678901234567), "nul": "a�b", "nan": "NaN", "lone": "�",
    }  # fmt: skip


def test_logs__before_their_span__make_an_episode_that_the_span_completes() -> None:
    logs = [
        a_log(2, "gen_ai.user.message", {"content": "Where is it?"}, second=2),
        a_log(2, "gen_ai.choice", {"message": {"role": "assistant", "content": "Here."}}, second=3),
    ]
    span = a_span(2, 1, attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-x"})

    (early,) = told(logs=logs)
    (late,) = told(a_span(1, seconds=(1, 9)), span, logs=logs[::-1])

    assert early.item["id"] == late.item["id"] == TRACE
    assert early.item["output"] == late.item["output"] == {"text": "Here."}
    assert (early.is_closed, late.is_closed) == (False, True)
    assert late.item["steps"][0]["name"] == "gpt-x"
