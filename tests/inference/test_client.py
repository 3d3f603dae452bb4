"""The door to models, over real HTTP and a real database."""

import logging
import uuid
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import transaction
from pydantic import BaseModel, Field
from pytest_django import Settings

from inference.client import AgentRef, Answer, Inference, is_configured
from inference.exceptions import (
    BudgetExhaustedError,
    EndpointError,
    InvalidAnswerError,
    ModelRefusedError,
    NotConfiguredError,
)
from inference.models import LedgerEntry
from tests.inference.fake_endpoint import FakeEndpoint, Reply, failure, page, slow, text

pytestmark = pytest.mark.django_db

SECRET = "my card number is 4111"
QUESTION = [{"role": "user", "content": SECRET}]
GOOD = '{"layer": "context", "confidence": 0.8}'


class Finding(BaseModel):
    layer: str
    confidence: float = Field(ge=0, le=1)


def ask(**changes: Any) -> Answer[Any]:
    question: dict[str, Any] = {"role": "critic", "messages": QUESTION, "schema": Finding, "purpose": "critique.write"}
    return Inference.from_settings().complete(**{**question, **changes})


def outcomes() -> list[tuple[int, str, str]]:
    return list(LedgerEntry.objects.order_by("attempt").values_list("attempt", "outcome", "error"))


def test_complete__answer_fits__is_returned_and_written_in_the_ledger(endpoint: FakeEndpoint) -> None:
    endpoint.will(text(GOOD, model="small-model-0711", tokens=(1_000, 500)))
    agent = AgentRef(agent_id=uuid.uuid4(), team_id=uuid.uuid4())

    answer = ask(agent_ref=agent, parameters={"temperature": 0})

    assert answer.value == Finding(layer="context", confidence=0.8)
    row = LedgerEntry.objects.get()
    assert (row.call_id, row.agent_id, row.team_id) == (answer.call_id, agent.agent_id, agent.team_id)
    assert (row.role, row.purpose, row.outcome, row.error) == ("critic", "critique.write", "answered", "")
    assert (row.source, row.model, row.provider_model) == ("127.0.0.1", "small-model", "small-model-0711")
    assert (row.input_tokens, row.output_tokens, row.is_estimated) == (1_000, 500, False)
    assert row.cost_usd == answer.cost_usd == Decimal("0.006")
    assert 0 <= row.latency_ms < 5_000
    sent = endpoint.requests[0]
    assert sent.headers["authorization"] == "Bearer key-of-the-test"
    assert sent.body["model"] == "small-model"
    assert sent.body["temperature"] == 0
    assert sent.body["response_format"]["json_schema"]["schema"] == Finding.model_json_schema()
    assert sent.body["messages"][-1] == QUESTION[0]


def test_complete__no_schema__returns_the_text(endpoint: FakeEndpoint) -> None:
    endpoint.will(text("Hello."))

    answer = ask(schema=None)

    assert answer.value == "Hello."
    assert endpoint.requests[0].body["messages"] == QUESTION
    assert "response_format" not in endpoint.requests[0].body


@pytest.mark.parametrize("wrapped", [f"```json\n{GOOD}\n```", f"Here you are: {GOOD} Anything else?"])
def test_complete__object_wrapped_in_prose__needs_no_repair(endpoint: FakeEndpoint, wrapped: str) -> None:
    endpoint.will(text(wrapped))

    assert ask().value.layer == "context"
    assert len(endpoint.requests) == 1


def test_complete__answer_does_not_fit__is_repaired_once(endpoint: FakeEndpoint) -> None:
    endpoint.will(text('{"layer": "context", "confidence": 7}'), text(GOOD))

    answer = ask()

    assert answer.value.confidence == 0.8
    assert outcomes() == [(1, "invalid", "ValidationError"), (2, "answered", "")]
    assert answer.input_tokens == 200
    reply, complaint = endpoint.requests[1].body["messages"][-2:]
    assert reply == {"role": "assistant", "content": '{"layer": "context", "confidence": 7}'}
    assert "confidence: Input should be less than or equal to 1" in complaint["content"]


def test_complete__repair_does_not_fit_either__is_refused_without_the_text(endpoint: FakeEndpoint) -> None:
    endpoint.will(text(SECRET), text(SECRET))

    with pytest.raises(InvalidAnswerError, match="twice without fitting Finding") as refusal:
        ask()

    assert outcomes() == [(1, "invalid", "ValidationError"), (2, "invalid", "ValidationError")]
    assert SECRET not in str(refusal.getrepr(chain=True))


@pytest.mark.parametrize(
    ("first", "outcome", "error"),
    [
        (failure(429), "failed", "RateLimitError 429"),
        (failure(429, retry_after="0"), "failed", "RateLimitError 429"),
        (failure(503), "failed", "InternalServerError 503"),
        (page("<h1>Bad gateway</h1>"), "failed", "UnreadableReply"),
        (Reply(b"{}"), "failed", "UnreadableReply"),
    ],
)
def test_complete__passing_failure__is_tried_again(
    endpoint: FakeEndpoint, first: Reply, outcome: str, error: str
) -> None:
    endpoint.will(first, text(GOOD))

    assert ask().value.layer == "context"
    assert outcomes() == [(1, outcome, error), (2, "answered", "")]


def test_complete__endpoint_keeps_failing__gives_up_after_the_attempts_set(endpoint: FakeEndpoint) -> None:
    endpoint.will(*[failure(500, message=SECRET)] * 5)

    with pytest.raises(EndpointError, match="InternalServerError 500, requests made: 3") as refusal:
        ask()

    assert len(endpoint.requests) == 3
    assert SECRET not in str(refusal.getrepr(chain=True))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (failure(401), "AuthenticationError 401"),
        (failure(404, code="model_not_found"), "NotFoundError 404 model_not_found"),
        (failure(400, code=SECRET), "BadRequestError 400"),
        (failure(429, code="insufficient_quota"), "RateLimitError 429 insufficient_quota"),
        (failure(429, retry_after="86400"), "RateLimitError 429"),
    ],
)
def test_complete__lasting_failure__is_not_tried_again(endpoint: FakeEndpoint, reply: Reply, error: str) -> None:
    endpoint.will(reply, text(GOOD))

    with pytest.raises(EndpointError):
        ask()

    assert outcomes() == [(1, "failed", error)]


def test_complete__endpoint_too_slow__times_out_and_counts_what_was_sent(
    endpoint: FakeEndpoint, settings: Settings
) -> None:
    settings.INFERENCE_TIMEOUT_S = 0.3
    endpoint.will(slow(text(GOOD), delay_s=30), text(GOOD))

    assert ask(schema=None).value == GOOD

    first, second = LedgerEntry.objects.order_by("attempt")
    assert (first.outcome, first.error) == ("timed_out", "APITimeoutError")
    assert 300 <= first.latency_ms < 5_000
    assert (first.input_tokens, first.is_estimated) == (6, True)
    assert first.cost_usd == Decimal("0.000012")
    assert second.outcome == "answered"


def test_complete__nobody_listens__costs_nothing(endpoint: FakeEndpoint, settings: Settings) -> None:
    settings.INFERENCE_ENDPOINT = "http://127.0.0.1:1/v1"

    with pytest.raises(EndpointError, match="APIConnectionError, requests made: 3"):
        ask()

    assert LedgerEntry.objects.cost_usd() == 0


def test_complete__no_usage_reported__is_estimated(endpoint: FakeEndpoint) -> None:
    endpoint.will(text("12345678", tokens=None))

    answer = ask(schema=None)

    row = LedgerEntry.objects.get()
    assert (row.input_tokens, row.output_tokens, row.is_estimated) == (6, 2, True)
    assert answer.cost_usd == Decimal("0.000028")


def test_complete__response_format_unknown_to_the_endpoint__asks_in_words_only(endpoint: FakeEndpoint) -> None:
    endpoint.will(failure(400, message="Unknown field response_format"), text(GOOD))

    assert ask().value.layer == "context"
    assert "response_format" not in endpoint.requests[1].body
    assert '"confidence"' in endpoint.requests[1].body["messages"][0]["content"]


@pytest.mark.parametrize(
    "reply", [text(None, refusal="I can't help with that."), text("", finish_reason="content_filter")]
)
def test_complete__model_declines__is_neither_repaired_nor_retried(endpoint: FakeEndpoint, reply: Reply) -> None:
    endpoint.will(reply)

    with pytest.raises(ModelRefusedError, match="Leave this one to rules or a person"):
        ask()

    assert [outcome for _, outcome, _ in outcomes()] == ["refused"]


@time_machine.travel("2026-03-01 22:00:00+00:00", tick=True)
def test_complete__budget_spent__is_refused_politely_until_the_next_day(endpoint: FakeEndpoint) -> None:
    endpoint.will(text("first", tokens=(500_000, 0)), text("tomorrow"))
    ask(schema=None)

    with pytest.raises(BudgetExhaustedError) as refusal:
        ask(schema=None)

    assert str(refusal.value) == (
        "Cannot ask the model for role 'critic': $1.0000 of today's budget of $1.00 is spent. It resets at "
        "2026-03-02 00:00 UTC. Wait until then or raise INFERENCE_DAILY_BUDGET_USD."
    )
    assert refusal.value.spent_usd == 1
    assert len(endpoint.requests) == LedgerEntry.objects.count() == 1
    with time_machine.travel("2026-03-02 00:00:01+00:00", tick=True):
        assert ask(schema=None).value == "tomorrow"


def test_complete__budget_runs_out_between_attempts__is_not_asked_again(endpoint: FakeEndpoint) -> None:
    endpoint.will(text("no object", tokens=(600_000, 0)), text(GOOD))

    with pytest.raises(BudgetExhaustedError):
        ask()

    assert outcomes() == [(1, "invalid", "ValidationError")]


def test_complete__no_budget_set__is_not_limited(endpoint: FakeEndpoint, settings: Settings) -> None:
    settings.INFERENCE_DAILY_BUDGET_USD = None
    endpoint.will(text("a", tokens=(9_000_000, 0)), text("b"))

    ask(schema=None)

    assert ask(schema=None).value == "b"


def test_complete__nothing_configured__says_what_to_set(settings: Settings) -> None:
    settings.INFERENCE_ENDPOINT = ""
    settings.INFERENCE_MODELS = {}

    assert not is_configured()
    with pytest.raises(NotConfiguredError, match="Set INFERENCE_ENDPOINT"):
        ask()


def test_complete__role_without_model__is_refused(endpoint: FakeEndpoint, settings: Settings) -> None:
    settings.INFERENCE_MODELS = {"critic": "small-model"}

    assert is_configured("critic")
    assert not is_configured("judge")
    with pytest.raises(NotConfiguredError, match="role 'judge'"):
        ask(role="judge")


def test_complete__model_without_price__is_refused(endpoint: FakeEndpoint, settings: Settings) -> None:
    settings.INFERENCE_PRICES = {}

    with pytest.raises(NotConfiguredError, match="it has no price"):
        ask()


def test_complete__parameter_of_the_platform__is_refused(endpoint: FakeEndpoint) -> None:
    with pytest.raises(ValueError, match=r"\['stream'\] are set by the platform"):
        ask(parameters={"stream": True})


@pytest.mark.django_db(transaction=True)
def test_complete__inside_a_transaction__is_refused_before_money_is_spent(endpoint: FakeEndpoint) -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        ask()

    assert endpoint.requests == []


def test_complete__every_logger_at_debug__logs_no_text(
    endpoint: FakeEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.will(failure(500, message=SECRET), text(SECRET), text(GOOD))

    ask()

    assert [record.message for record in caplog.records if record.name == "inference"] == ["model.called"] * 3
    assert SECRET not in caplog.text
    assert "key-of-the-test" not in caplog.text
