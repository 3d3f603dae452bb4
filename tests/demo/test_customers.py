"""Simulated customers against an agent over real HTTP: the real one for whole stories, a scripted one for reactions."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.customers import (
    AgentEndpoint,
    Conversation,
    Customer,
    Reply,
    converse,
    meter,
    population,
    report_outcomes,
    satisfies,
    serve_customers,
)
from demo.scenario import Answer, Customers, Scenario, load
from tests.config.servers import until
from tests.demo.desk import desk, write_scenario
from tests.whetstone.fake_platform import FakePlatform, running

type Script = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenario(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def scenario(folder: Path) -> Scenario:
    return load(folder)


@contextmanager
def scripted(script: Script) -> Iterator[AgentEndpoint]:
    """Run an agent over real HTTP that answers what the script says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = script(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with AgentEndpoint(f"http://127.0.0.1:{server.server_address[1]}") as agent:
                yield agent
        finally:
            server.shutdown()
            thread.join()


def says(text: str, *, handoff: bool = False) -> Script:
    def script(request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        turn = len(request["messages"]) // 2 + 1
        output = {"text": text, "handoff": handoff, "sources": []}
        return 200, {"output": output, "steps": [], "usage": {}, "episode": f"{request['conversation']}.{turn}"}

    return script


def someone(scenario: Scenario, intent: str, reaction: str, *, patience: int = 2) -> Customer:
    """Return a customer with this need who always reacts in this way."""
    found = next(customer for customer in population(scenario, 200, seed=1) if customer.intent == intent)
    return replace(found, patience=patience, manner=Customers((1, 3), {reaction: 1.0}, 0.0))


def spoken(conversation: Conversation) -> list[str]:
    return [exchange.message for exchange in conversation.exchanges]


# When a customer is content.


@pytest.mark.parametrize(
    ("reply", "handoff_ok", "content"),
    [
        (Reply("The store is open FROM 9\n to 18, and closed then."), False, True),
        (Reply("The store is open from 9."), False, False),
        (Reply(""), False, False),
        (Reply("from 9 to 18", handoff=True), False, False),
        (Reply("One moment.", handoff=True), True, True),
        (Reply("One moment."), True, False),
    ],
)
def test_satisfies__facts_or_an_accepted_handoff__decide(
    reply: Reply,
    handoff_ok: bool,
    content: bool,
) -> None:
    answer = Answer("hours", "Hours", "Open from 9 to 18.", ("from 9 to 18",), handoff_ok=handoff_ok)

    assert satisfies(answer, {}, reply) is content


def test_satisfies__fact_about_the_order__must_be_their_own_orders() -> None:
    answer = Answer("parcel", "Parcel", "It is {result.status}.", ("is {result.status}",), tool="lookup_order")

    assert satisfies(answer, {"status": "on truck 3"}, Reply("Your order is on truck 3."))
    assert not satisfies(answer, {"status": "on truck 3"}, Reply("Your order is on truck 4."))


def test_satisfies__answer_without_facts__is_never_met() -> None:
    assert not satisfies(Answer("x", "X", "text", ()), {}, Reply("anything"))


# Who they are.


def test_population__equal_seed__gives_equal_people(scenario: Scenario) -> None:
    assert list(population(scenario, 20, seed=7)) == list(population(scenario, 20, seed=7))
    assert list(population(scenario, 20, seed=7)) != list(population(scenario, 20, seed=8))


def test_population__many__follow_the_traffic_and_have_own_orders(scenario: Scenario) -> None:
    weighted = replace(scenario, weights={"hours": 8.0, "parcel": 1.0, "conduct": 1.0})
    people = list(population(weighted, 400, seed=1))

    counts = Counter(customer.intent for customer in people)
    assert 280 <= counts["hours"] <= 360
    assert len({customer.subject for customer in people}) == 400
    assert {customer.patience for customer in people} == {2, 3}
    assert all(utterance.pool == "live" for customer in people for utterance in customer.wordings)
    owners = [customer for customer in people if customer.intent == "parcel"]
    assert all(customer.row == scenario.backend.tables["lookup_order"][str(customer.order_id)] for customer in owners)


# How they react.


def test_converse__good_reply__ends_resolved_after_one_turn(scenario: Scenario) -> None:
    with scripted(says("We are open from 9 to 18.")) as agent:
        conversation = converse(someone(scenario, "hours", "leave"), agent, "c1")

    assert (conversation.end, conversation.resolved, len(conversation.exchanges)) == ("resolved", True, 1)
    assert conversation.episode == "c1.1"


def test_converse__bad_reply__rephrases_within_patience_and_then_fails(scenario: Scenario) -> None:
    with scripted(says("Bananas.")) as agent:
        conversation = converse(someone(scenario, "hours", "rephrase"), agent, "c1")

    first, second = spoken(conversation)
    own = {utterance.text for utterance in scenario.pool("live") if utterance.intent == "hours"}
    assert first in own
    assert first != second
    assert any(second.endswith(text) for text in own - {first})
    assert (conversation.end, conversation.episode) == ("failed", "c1.2")


@pytest.mark.parametrize(
    ("reaction", "end", "messages"),
    [("leave", "abandoned", 1), ("complain", "failed", 2), ("ask_person", "escalated", 2)],
)
def test_converse__bad_reply__ends_in_the_customers_own_way(
    scenario: Scenario, reaction: str, end: str, messages: int
) -> None:
    with scripted(says("Bananas.")) as agent:
        conversation = converse(someone(scenario, "hours", reaction), agent, "c1")

    assert (conversation.end, len(conversation.exchanges)) == (end, messages)
    assert not conversation.resolved


@pytest.mark.parametrize(("intent", "end"), [("hours", "escalated"), ("conduct", "resolved")])
def test_converse__handed_off__is_fine_only_where_a_person_is_right(scenario: Scenario, intent: str, end: str) -> None:
    with scripted(says("A colleague will help.", handoff=True)) as agent:
        conversation = converse(someone(scenario, intent, "rephrase", patience=3), agent, "c1")

    assert (conversation.end, len(conversation.exchanges)) == (end, 1)


def test_converse__asked_for_the_number__names_it_once(scenario: Scenario) -> None:
    customer = someone(scenario, "parcel", "leave")
    nameless = tuple(replace(utterance, text="where is it") for utterance in customer.wordings)
    with scripted(says("Could you give me the number?")) as agent:
        conversation = converse(replace(customer, wordings=nameless), agent, "c1")

    assert spoken(conversation) == ["where is it", f"My order is {customer.order_id}."]
    assert conversation.end == "abandoned"


def test_converse__agent_breaks__is_a_bad_reply(scenario: Scenario) -> None:
    with scripted(lambda _: (500, {"error": "boom"})) as agent:
        conversation = converse(someone(scenario, "hours", "leave"), agent, "c1")

    assert conversation.end == "abandoned"
    assert conversation.episode is None
    assert "boom" in str(conversation.exchanges[0].reply.error)


def test_converse__nobody_listens__raises_after_a_second() -> None:
    with AgentEndpoint("http://127.0.0.1:9") as agent, pytest.raises(httpx.ConnectError):
        agent.turn([{"role": "user", "content": "hello"}])


def test_converse__typo_rate_one__garbles_a_word_but_never_the_order(scenario: Scenario) -> None:
    customer = someone(scenario, "parcel", "leave")
    with scripted(says("Bananas.")) as agent:
        garbled = converse(replace(customer, manner=replace(customer.manner, typo_rate=1.0)), agent, "c1")

    clean = customer.wordings[0].render(customer.order_id)
    assert spoken(garbled)[0] != clean
    assert sorted(spoken(garbled)[0]) == sorted(clean)
    assert str(customer.order_id) in spoken(garbled)[0]


# Whole traffic, the real agent.


@pytest.fixture(scope="module")
def platform(scenario: Scenario) -> Iterator[FakePlatform]:
    with running() as platform:
        platform.documents = {"": scenario.starting_document()}
        yield platform


@pytest.fixture(scope="module")
def agent_url(folder: Path, platform: FakePlatform) -> Iterator[str]:
    with desk(folder, platform.url) as url:
        yield url


def test_serve_customers__whole_traffic__reports_progress_and_outcomes(
    scenario: Scenario, agent_url: str, platform: FakePlatform
) -> None:
    progress: list[tuple[int, int]] = []
    served = list(
        serve_customers(scenario, agent_url, 30, seed=3, on_progress=lambda done, n: progress.append((done, n)))
    )
    platform.late_episodes = {str(served[0].episode): 2}
    accepted, refusals = report_outcomes(served, platform.url, "outcome-key")

    assert len({conversation.subject for conversation in served}) == 30
    assert progress == [(number, 30) for number in range(1, 31)]
    assert sum(conversation.resolved for conversation in served) >= 24
    assert (accepted, refusals) == (30, [])
    reported = dict(platform.outcomes)
    for conversation in served:
        body = reported[str(conversation.episode)]
        assert (body["name"], body["source"], body["value"]) == (conversation.end, "customer", 1)
    headers = next(headers for path, _, headers in platform.requests if path.endswith("/outcomes"))
    assert headers["Authorization"] == "Bearer outcome-key"


def test_serve_customers__same_seed__ends_the_same_way(scenario: Scenario, agent_url: str) -> None:
    first, second = (
        {served.subject: (served.end, spoken(served)) for served in serve_customers(scenario, agent_url, 12, seed=5)}
        for _ in range(2)
    )

    assert first == second


def test_serve_customers__closed_early__stops_the_traffic(scenario: Scenario, agent_url: str) -> None:
    done: list[int] = []
    traffic = serve_customers(
        scenario, agent_url, 10_000, seed=4, concurrency=2, on_progress=lambda number, _: done.append(number)
    )

    assert len(list(islice(traffic, 3))) == 3
    traffic.close()
    assert len(done) <= 5


def test_meter__starting_document__is_measured_without_a_trace(
    scenario: Scenario, agent_url: str, platform: FakePlatform
) -> None:
    asked = {utterance.text for utterance in scenario.pool("meter")}
    with AgentEndpoint(agent_url) as agent:
        full = meter(scenario, scenario.pool("meter"), scenario.starting_document(), agent)
        recorded = meter(scenario, scenario.pool("meter"), scenario.starting_document(), agent, tools="recorded")
        empty = meter(scenario, scenario.pool("meter"), {}, agent)
        # Reported behind whatever the meter might have reported.
        agent.turn([{"role": "user", "content": "Hello"}], user="somebody", conversation="after the meter")

    assert [result.utterance for result in full] == list(scenario.pool("meter"))
    assert all(result.resolved for result in full)
    assert all(result.resolved for result in recorded)
    assert not any(result.resolved for result in empty)
    assert [result.message for result in full] == [result.message for result in empty]
    assert until(lambda: any(item["conversation"] == "after the meter" for item in platform.episodes))
    assert not [item for item in platform.episodes if item["input"]["messages"][0]["content"] in asked]


def test_meter__loose_schema__loses_the_messages_with_another_number(scenario: Scenario, agent_url: str) -> None:
    document = json.loads(json.dumps(scenario.starting_document()))
    del document["tools"]["lookup_order"]["parameters"]["properties"]["order_id"]["pattern"]
    with AgentEndpoint(agent_url) as agent:
        metered = meter(scenario, scenario.pool("meter"), document, agent)

    assert [result.utterance.template for result in metered if not result.resolved] == ["p4"]
    assert "'2'" in next(result.reply.text for result in metered if not result.resolved)
