"""The built-in tool loop against a real server that speaks chat completions."""

from decimal import Decimal

import pytest

from evals.exceptions import RunnerError
from evals.runners import InfrastructureError, runner_for
from evals.runners.prompting import HAND_OFF
from harness.policy import Playing
from inference.exceptions import BudgetExhaustedError
from inference.models import LedgerEntry
from tests.evals.runners.conftest import reply
from tests.inference.fake_endpoint import FakeEndpoint, failure, slow, text

QUESTION = [{"role": "user", "content": "Where is my order KL-1?"}]
DOCUMENT = {
    "prompt": {
        "system": "You are the desk.",
        "rules": {"b": {"position": 2, "text": "Two."}, "a": {"position": 1, "text": "One."}},
    },
    "tools": {
        "lookup_order": {
            "description": "Look an order up.",
            "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        }
    },
    "context": {
        "documents": {"returns": {"title": "Orders", "text": "Orders arrive within 3 days."}},
        "retrieval": {"top_k": 1, "min_score": 0.1},
    },
    "model": {"name": "small-model", "parameters": {"temperature": 0.5}},
}
CASE = {"tools": {"lookup_order": {"recorded": [{"arguments": {"id": "KL-1"}, "result": {"status": "sent"}}]}}}
LOOKUP = ("lookup_order", {"id": "KL-1"})


@pytest.fixture
def played_by(agent):
    agent.runner = "openai"

    def make(**limits):
        return runner_for(agent, Playing(**limits))

    return make


@pytest.fixture
def play(played_by):
    def play(document=DOCUMENT, user_state=CASE, *, messages=QUESTION, seed=7, **limits):
        with played_by(**limits) as runner:
            return runner.play(document, messages, user_state=user_state, seed=seed)

    return play


def kinds(played):
    return [(step["kind"], step["name"]) for step in played.steps]


def test_play__tool_then_answer__records_every_step_and_what_it_cost(play, endpoint, agent):
    endpoint.will(reply(None, LOOKUP), reply("It was sent [returns].", tokens=(300, 50)))

    played = play()

    assert played.output == {"text": "It was sent [returns].", "handoff": False, "sources": ["returns"]}
    assert kinds(played) == [
        ("retrieval", "context.documents"), ("model_call", "small-model-0711"), ("tool_call", "lookup_order"),
        ("model_call", "small-model-0711"),
    ]  # fmt: skip
    retrieval, _, call, answer = played.steps
    assert retrieval["input"] == {"query": "Where is my order KL-1?"}
    assert [one["id"] for one in retrieval["output"]["documents"]] == ["returns"]
    assert (call["input"], call["output"], call["result_from"]) == ({"id": "KL-1"}, {"status": "sent"}, "recorded")
    assert answer["output"]["usage"]["input_tokens"] == 300
    assert played.cost_usd == pytest.approx((100 * 2 + 20 * 8 + 300 * 2 + 50 * 8) / 1e6)
    assert played.fingerprint == "small-model-0711 fp_1"
    rows = LedgerEntry.objects.order_by("at")
    assert [(row.agent_id, row.role, row.purpose, row.model) for row in rows] == [
        (agent.pk, "agent", "run.play", "small-model")
    ] * 2
    assert sum(row.cost_usd for row in rows) == Decimal(str(round(played.cost_usd, 9)))


def test_play__request__holds_document_seed_and_tools(play, endpoint):
    endpoint.will(reply(None, LOOKUP), reply("Sent."))

    play()

    first, second = (request.body for request in endpoint.requests)
    system = first["messages"][0]["content"]
    assert system.startswith("You are the desk.\n\nRules:\n- One.\n- Two.\n")
    assert '"id": "returns"' in system
    assert first["messages"][1:] == QUESTION
    assert (first["model"], first["seed"], first["temperature"]) == ("small-model", 7, 0.5)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["lookup_order", HAND_OFF]
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][3] == {"role": "tool", "tool_call_id": "call-0", "content": '{"status": "sent"}'}


def test_play__hand_off__ends_the_turn(play, endpoint):
    endpoint.will(reply("A colleague will help.", (HAND_OFF, {"reason": "a lawyer"})))

    played = play()

    assert played.output == {"text": "A colleague will help.", "handoff": True, "sources": []}
    assert kinds(played)[-1] == ("handoff", HAND_OFF)
    assert played.steps[-1]["output"] == {"reason": "a lawyer"}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (("lookup_order", "{no json"), "the arguments are no JSON object"),
        (("lookup_order", "[1]"), "the arguments are no JSON object"),
        (("lookup_order", {"id": "KL-2"}), "no recorded result for {'id': 'KL-2'}"),
        (("lookup_order", {}), "The arguments do not fit: 'id' is a required property"),
        (("delete_all", {}), "there is no tool 'delete_all'"),
    ],
)
def test_play__call_that_fails__tells_the_model_and_goes_on(play, endpoint, call, error):
    endpoint.will(reply(None, call), reply("Sorry."))

    played = play()

    step = next(step for step in played.steps if step["kind"] == "tool_call")
    assert (step["status"], step["error"]) == ("error", error)
    assert error.partition("'")[0] in endpoint.requests[1].body["messages"][-1]["content"]
    assert (played.crashed, played.output["text"]) == (False, "Sorry.")


def test_play__calls_for_ever__crashes_after_its_rounds(play, endpoint):
    document = {**DOCUMENT, "workflow": {"settings": {"max_rounds": 3}}}
    endpoint.will(*[reply(None, LOOKUP)] * 9)

    played = play(document)

    assert (played.crashed, played.error) == (True, "no answer after 3 rounds of tool calls")
    assert len(endpoint.requests) == 3
    assert played.cost_usd > 0
    assert len([step for step in played.steps if step["kind"] == "tool_call"]) == 3


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": {"name": "small-model", "parameters": {"n": 3, "tools": []}}}, "names ['n', 'tools']"),
        ({"context": {**DOCUMENT["context"], "retrieval": {"top_k": "all"}}}, "context.retrieval.top_k is 'all'"),
        ({"workflow": {"settings": {"max_rounds": True}}}, "workflow.settings.max_rounds is True"),
    ],
)
def test_play__document_that_cannot_be_played__crashes_and_asks_nobody(play, endpoint, change, error):
    played = play({**DOCUMENT, **change})

    assert played.crashed
    assert error in played.error
    assert endpoint.requests == []


def test_play__no_model_named__asks_the_configured_one_without_retrieval_or_tools(play, endpoint):
    endpoint.will(reply("Hello."))

    played = play({"prompt": {"system": "Hi"}}, {})

    assert endpoint.requests[0].body["model"] == "other-model"
    assert kinds(played) == [("model_call", "small-model-0711")]


def test_play__unpriced_model__is_refused_for_the_whole_run(play, endpoint):
    with pytest.raises(RunnerError, match="'huge': it has no price"):
        play({**DOCUMENT, "model": {"name": "huge"}})
    assert endpoint.requests == []


def test_play__day_is_spent__is_raised_as_it_is(play, endpoint, settings):
    settings.INFERENCE_DAILY_BUDGET_USD = 0

    with pytest.raises(BudgetExhaustedError):
        play()


@pytest.mark.parametrize("status", [400, 404, 422])
def test_play__question_no_model_takes__is_the_harness_crash(play, endpoint, status):
    endpoint.will(failure(status, message="temperature must be at most 2"))

    assert play().crashed


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_play__endpoint_fails__is_infrastructure(play, endpoint, status):
    endpoint.will(*[failure(status, retry_after="0")] * 3)

    with pytest.raises(InfrastructureError, match=str(status)):
        play()


def test_play__endpoint_recovers__goes_on(play, endpoint):
    endpoint.will(failure(503, retry_after="0"), reply("Hello."))

    assert play().output["text"] == "Hello."


def test_play__endpoint_too_slow__crashes_in_time(play, endpoint):
    endpoint.will(*[slow(reply("late"), delay_s=5)] * 3)

    played = play(trial_timeout_s=0.2)

    assert played.crashed


def test_play__time_is_over_between_rounds__crashes(play, endpoint):
    endpoint.will(slow(reply(None, LOOKUP), delay_s=0.2), slow(reply("late"), delay_s=0.2), *[reply("later")] * 3)

    played = play(trial_timeout_s=0.3)

    assert played.crashed


def test_play__model_declines__is_an_answer_that_says_nothing(play, endpoint):
    endpoint.will(text(None, refusal="no", finish_reason="stop"))

    played = play()

    assert (played.crashed, played.output["refused"], played.output["text"]) == (False, True, "")


@pytest.mark.parametrize(
    ("replies", "fingerprint"),
    [
        ([reply(None, LOOKUP, fingerprint="a"), reply("x", fingerprint="a")], "small-model-0711 a"),
        (
            [reply(None, LOOKUP, fingerprint="b"), reply("x", fingerprint="a")],
            "small-model-0711 a + small-model-0711 b",
        ),
        ([reply(None, LOOKUP, fingerprint="a"), reply("x", fingerprint=None)], ""),
    ],
)
def test_play__who_answered__is_known_only_where_every_answer_says(play, endpoint, replies, fingerprint):
    endpoint.will(*replies)

    assert play().fingerprint == fingerprint


def test_runner_for__agent_with_an_endpoint__is_asked_there_with_its_own_key(agent, endpoint, settings):
    with FakeEndpoint() as own:
        settings.INFERENCE_KEYS = {own.url: "its-own-key"}
        agent.runner, agent.endpoint = "openai", own.url
        own.will(reply("Hello."))
        with runner_for(agent) as runner:
            runner.play(DOCUMENT, QUESTION, user_state=CASE, seed=1)

        assert own.requests[0].headers["authorization"] == "Bearer its-own-key"
    assert endpoint.requests == []


def test_runner_for__agent_with_an_endpoint__never_sees_the_platforms_key(agent, endpoint):
    with FakeEndpoint() as own:
        agent.runner, agent.endpoint = "openai", own.url
        own.will(reply("Hello."))
        with runner_for(agent) as runner:
            runner.play(DOCUMENT, QUESTION, user_state=CASE, seed=1)

        assert "key-of-the-test" not in str(own.requests[0].headers)
