"""From an exporter's request to episodes on the page, over the real addresses."""

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.acting import MACHINE
from episodes.assembling import assemble_due
from episodes.capture import MAX_EPISODES
from episodes.commitments import verify_committed
from episodes.jobs import commit_captured
from episodes.judging import report_outcome
from episodes.models import Conversation, Episode, EpisodeAmendment, Outcome, Signal, Trace, TraceFragment
from episodes.otlp.spans import Span, load_fragment
from episodes.pressure import admitted
from episodes.trace_jobs import assemble_traces
from episodes.tracing import receive
from episodes.understanding import understand_waiting
from harness.models import Agent
from jobs.models import Task
from tests.episodes.otlp.making import AGENT, a_log, a_span, chat
from tests.tampering import rewrite

pytestmark = pytest.mark.django_db


def run(trace: str = "a" * 32, *, said: str = "Where is my order?", **root: Any) -> list[Span]:
    """An agent's run of four spans: its root, a model call, a tool that fails, a model call."""
    at = {"trace_id": trace}
    tool = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup",
        "gen_ai.tool.call.arguments": '{"order": "2"}',
    }
    return [
        a_span(1, 0, seconds=(0, 9), attributes=AGENT | {"session.id": "talk-1", "user.id": "u-1"} | root, **at),
        a_span(2, 1, seconds=(1, 2), attributes=chat(said, "Let me look."), **at),
        a_span(3, 1, seconds=(3, 4), attributes=tool, status=2, status_message="no order '2'", **at),
        a_span(4, 1, seconds=(5, 6), attributes=chat(said, "I cannot find it."), **at),
    ]


def make_due() -> None:
    Trace.objects.waiting().update(due_at=timezone.now(), last_at=timezone.now() - timedelta(hours=1))


def as_json(spans: list[Span]) -> dict[str, Any]:
    def attribute(name: str, value: Any) -> dict[str, Any]:
        kind = {bool: "boolValue", int: "intValue", float: "doubleValue"}.get(type(value), "stringValue")
        told = value if isinstance(value, str | int | float) else json.dumps(value)
        return {"key": name, "value": {kind: str(told) if kind == "intValue" else told}}

    rows = [
        {
            "traceId": span.trace_id, "spanId": span.span_id, "parentSpanId": span.parent_id, "name": span.name, "kind": span.kind,
            "startTimeUnixNano": str(span.start_ns), "endTimeUnixNano": str(span.end_ns),
            "attributes": [attribute(name, value) for name, value in span.attributes.items()],
            "status": {"code": span.status, "message": span.status_message},
        }
        for span in spans
    ]  # fmt: skip
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "test"}, "spans": rows}]}]}


@pytest.fixture
def export(agent_key: str) -> Iterator[Any]:
    client = Client()

    def post(spans: list[Span], *, path: str = "/v1/traces", **headers: str) -> Any:
        given = {"authorization": f"Bearer {agent_key}"} | headers
        return client.post(path, json.dumps(as_json(spans)), content_type="application/json", headers=given)

    return post


def test_export__one_run__becomes_one_understood_episode(agent: Agent, export: Any) -> None:
    answer = export(run())
    assert (answer.status_code, answer.json()) == (200, {})
    make_due()

    assert assemble_due() == 1
    understand_waiting(agent.pk)

    episode = Episode.objects.select_related("conversation").get()
    assert (episode.external_id, episode.conversation.external_id, episode.conversation.subject) == (
        "a" * 32,
        "talk-1",
        "u-1",
    )
    assert (episode.last_user_text, episode.output_text) == ("Where is my order?", "I cannot find it.")
    assert [(step.kind, step.has_failed) for step in episode.step_readings()] == [
        ("model_call", False), ("tool_call", True), ("model_call", False),
    ]  # fmt: skip
    assert episode.usage["input_tokens"] == 20
    assert Signal.objects.get().kind == "tool_error"
    assert not Trace.objects.waiting().exists()


@pytest.mark.parametrize("path", ["/v1/traces", "/api/public/otel/v1/traces"])
def test_export__basic_authentication_and_gzip__are_taken(agent: Agent, agent_key: str, path: str) -> None:
    token = base64.b64encode(f"pk:{agent_key}".encode()).decode()

    answer = Client().post(
        path, gzip.compress(json.dumps(as_json(run())).encode()), content_type="application/json",
        headers={"authorization": f"Basic {token}", "content-encoding": "gzip"},
    )  # fmt: skip

    assert answer.status_code == 200
    assert Trace.objects.get().agent == agent


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_export__nothing__is_a_success_in_the_encoding_of_the_request(agent_key: str, signal: str) -> None:
    # The test client leaves the type of an empty body out unless it is a header.
    headers = {"authorization": f"Bearer {agent_key}", "content-type": "application/x-protobuf"}

    answer = Client().post(f"/v1/{signal}", b"", content_type="application/x-protobuf", headers=headers)

    assert (answer.status_code, answer.content, answer["Content-Type"]) == (200, b"", "application/x-protobuf")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"authorization": ""}, 401), ({"authorization": "Bearer wsk_a_b"}, 401), ({"authorization": "Basic !!"}, 401)],
)
def test_export__without_a_key__is_refused_and_says_what_to_set(export: Any, headers: Any, status: int) -> None:
    answer = export(run(), **headers)

    assert answer.status_code == status
    assert "Authorization: Bearer" in answer.json()["message"]
    assert not TraceFragment.objects.exists()


def test_export__key_that_only_reads__is_forbidden(agent: Agent, cast: Any, export: Any) -> None:
    from accounts.acting import MACHINE
    from harness.models import ApiKey

    _, key = ApiKey.issue(
        kind="agent", name="reads", owner=cast.engineer, agent=agent, scopes=["harness:read"], by=MACHINE
    )

    assert export(run(), authorization=f"Bearer {key}").status_code == 403


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "status"),
    [
        (b"{", "application/json", "", 400), (b"\xff\xff", "application/x-protobuf", "", 400),
        (b"{}", "text/plain", "", 415), (b"no gzip", "application/json", "gzip", 400), (b"{}", "application/json", "br", 400),
        (gzip.compress(b" " * (17 * 1024 * 1024)), "application/json", "gzip", 413),
    ],
)  # fmt: skip
def test_export__unreadable__is_refused_with_a_status(
    agent_key: str, body: bytes, kind: str, encoding: str, status: int
) -> None:
    headers = {"authorization": f"Bearer {agent_key}"} | ({"content-encoding": encoding} if encoding else {})

    answer = Client().post("/v1/traces", body, content_type=kind, headers=headers)

    assert answer.status_code == status
    assert answer.content


def test_export__more_than_fits__is_told_to_wait(settings: Any, export: Any) -> None:
    with contextlib_all([admitted() for _ in range(settings.CAPTURE_PLACES)]):
        answer = export(run())

    assert (answer.status_code, answer["Retry-After"]) == (429, "1")
    assert export(run()).status_code == 200


def contextlib_all(managers: list[Any]) -> Any:
    from contextlib import ExitStack

    stack = ExitStack()
    for manager in managers:
        stack.enter_context(manager)
    return stack


def test_export__bad_spans_among_good__are_counted_and_the_good_kept(export: Any, agent_key: str) -> None:
    body = as_json(run())
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].append({"traceId": "00", "spanId": "1", "name": "x"})

    answer = Client().post(
        "/v1/traces",
        json.dumps(body),
        content_type="application/json",
        headers={"authorization": f"Bearer {agent_key}"},
    )

    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    [fragment] = TraceFragment.objects.all()
    assert len(load_fragment(bytes(fragment.body))[0]) == 4


def test_receive__personal_data__is_cut_before_it_is_stored(agent: Agent) -> None:
    receive(agent, run(said="I am ann.smith@gmail.com, where is it?"), [])
    make_due()
    assemble_due()

    [fragment] = TraceFragment.objects.all()
    assert b"ann.smith" not in bytes(fragment.body)
    assert "[email]" in Episode.objects.get().last_user_text


def test_receive__log_records_that_tell_nothing__are_left_out(agent: Agent) -> None:
    assert (
        receive(
            agent, [], [a_log(1, "cache.miss", "x"), a_log(1, "gen_ai.user.message", {"content": "hi"}, trace_id="")]
        )
        == 0
    )

    assert not TraceFragment.objects.exists()


def test_assemble__root_there_but_not_ended__waits_for_silence(agent: Agent) -> None:
    spans = run()
    receive(agent, [a_span(1, 0, attributes=AGENT, end_ns=0), *(a_span(n, 1, attributes=chat()) for n in (2, 3))], [])
    Trace.objects.update(due_at=timezone.now())

    assemble_due()
    assert not Episode.objects.exists()
    assert Trace.objects.get().due_at > timezone.now()

    make_due()
    assemble_due()
    assert Episode.objects.count() == 1
    assert spans


def test_assemble__late_spans__amend_the_episode_and_it_is_understood_once(agent: Agent) -> None:
    first, *others = run()
    receive(agent, [first, others[0]], [])
    make_due()
    assemble_due()
    understand_waiting(agent.pk)
    before = Episode.objects.get()
    commit_captured()

    receive(agent, others[1:], [])
    assert Trace.objects.get().due_at < timezone.now() + timedelta(seconds=10)
    make_due()
    assemble_due()

    episode = Episode.objects.get()
    assert len(episode.step_readings()) == 3 > len(before.step_readings())
    amendment = EpisodeAmendment.objects.get()
    assert (amendment.previous_digest, amendment.reason) == (before.body_digest, "late spans of its trace")
    assert (episode.understood_at, episode.committed_at) == (before.understood_at, None)
    commit_captured()
    assert list(verify_committed()) == []
    assert understand_waiting(agent.pk) == 0


def test_assemble__late_root_names_the_conversation__the_episode_moves_there(agent: Agent) -> None:
    root, *others = run()
    receive(agent, others, [])
    make_due()
    assemble_due()
    assert Episode.objects.get().conversation.external_id == "a" * 32

    receive(agent, [root], [])
    make_due()
    assemble_due()

    assert Episode.objects.get().conversation.external_id == "talk-1"
    assert [row.external_id for row in Conversation.objects.all()] == ["talk-1"]


def test_assemble__late_root_moves_an_understood_episode__its_conversation_is_understood_too(agent: Agent) -> None:
    root, *others = run()
    receive(agent, others, [])
    make_due()
    assemble_due()
    understand_waiting(agent.pk)
    before = Conversation.objects.get()

    receive(agent, [root], [])
    make_due()
    assemble_due()

    after = Conversation.objects.get()
    assert (before.external_id, after.external_id) == ("a" * 32, "talk-1")
    assert (after.embedding_model, after.split) == (before.embedding_model, before.split) != ("", before.split)
    assert after.embedding is not None


def test_assemble__late_root_moves_an_episode__what_was_said_of_it_goes_along(agent: Agent) -> None:
    root, *others = run()
    receive(agent, others, [])
    make_due()
    assemble_due()
    said_at = timezone.now() - timedelta(minutes=1)
    report_outcome(Episode.objects.get(), name="failed", source="customer", by=MACHINE, at=said_at, reason="late")

    receive(agent, [root], [])
    make_due()
    assemble_due()

    ends = dict(Conversation.objects.values_list("external_id", "resolution"))
    assert ends == {"talk-1": "failed", "a" * 32: "open"}
    told = Outcome.objects.get(conversation__external_id="talk-1")
    assert (told.name, told.source, told.at, told.reason) == ("failed", "customer", said_at, "late")


def test_assemble__run_that_says_it_was_blocked__has_the_outcome_once(agent: Agent) -> None:
    spans = run(**{"whetstone.outcome": "blocked", "whetstone.outcome.reason": "the budget was spent"})
    for _ in range(2):
        receive(agent, spans, [])
        make_due()
        assemble_due()

    outcome = Outcome.objects.get()
    assert (outcome.name, outcome.source, outcome.reason) == ("blocked", "agent", "the budget was spent")


def test_assemble__run_that_was_blocked_at_length__keeps_the_beginning_and_holds_up_nobody(agent: Agent) -> None:
    receive(agent, run(**{"whetstone.outcome": "blocked", "whetstone.outcome.reason": "no budget " * 100}), [])
    receive(agent, run("b" * 32, **{"session.id": "talk-2"}), [])
    make_due()

    assert assemble_due() == 2

    assert Episode.objects.count() == 2
    reason = Outcome.objects.get().reason
    assert (reason[:19], reason[-1], len(reason)) == ("no budget no budget", "…", 300)


def test_assemble__trace_that_the_door_refuses__says_why_and_the_others_go_on(agent: Agent) -> None:
    receive(agent, run(**{"user.id": "u-1"}), [])
    receive(agent, run("b" * 32, **{"user.id": "u-2"}), [])
    make_due()

    assemble_due()

    refused = Trace.objects.exclude(error="").get()
    assert "belongs to another subject" in refused.error
    assert Episode.objects.count() == 1


def test_assemble__more_runs_in_a_trace_than_one_batch_takes__makes_an_episode_of_each(agent: Agent) -> None:
    receive(agent, [a_span(n, 0, seconds=(n, n + 1), attributes=AGENT) for n in range(1, MAX_EPISODES + 3)], [])
    make_due()

    assert assemble_due() == 1

    assert Episode.objects.count() == MAX_EPISODES + 2
    assert not Trace.objects.exclude(error="").exists()


def test_assemble__late_spans_of_another_user__change_nothing_and_say_why(agent: Agent) -> None:
    receive(agent, run(**{"user.id": "u-1"}), [])
    receive(agent, [a_span(2, 1, trace_id="b" * 32, attributes=chat())], [])
    make_due()
    assemble_due()
    before = Episode.objects.get(external_id="b" * 32)

    receive(agent, run("b" * 32, **{"user.id": "u-2"}), [])
    make_due()
    assemble_due()

    assert "belongs to another subject" in Trace.objects.get(trace_id="b" * 32).error
    assert Episode.objects.get(external_id="b" * 32).body_digest == before.body_digest
    assert not EpisodeAmendment.objects.exists()


def test_assemble__unreadable_fragment__does_not_hold_up_the_others(agent: Agent) -> None:
    receive(agent, run(), [])
    receive(agent, run("b" * 32, **{"session.id": "talk-2"}), [])
    rewrite(TraceFragment.objects.filter(trace_id="a" * 32), body=b"x")
    make_due()

    assemble_due()

    assert Episode.objects.get().external_id == "b" * 32
    assert Trace.objects.get(trace_id="a" * 32).error


def test_schedule__traces_due__ask_for_one_task(agent: Agent) -> None:
    assemble_traces()
    assert not Task.objects.exists()

    receive(agent, run(), [])
    make_due()
    assemble_traces()
    assemble_traces()

    assert [task.name for task in Task.objects.all()] == ["episodes.trace_jobs.assemble"]
