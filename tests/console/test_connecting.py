"""The page that connects an agent: its key, what to paste, and what has come, from waiting to the first episode."""

import json
import re
import shlex
from datetime import timedelta
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.roles import Role
from audit.models import Event
from console.snippets import PLACEHOLDER, snippets
from episodes.arrivals import EXACT, arrivals_of
from episodes.assembling import assemble_due
from episodes.models import CaptureTally, Episode, Trace
from harness.models import Agent, ApiKey
from tests.console.world import make_episode
from tests.episodes.otlp.making import AGENT, a_span, chat
from tests.episodes.test_traces import as_json, make_due, run


def as_person(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(agent: Agent) -> str:
    return reverse("console:connect", args=(agent.pk,))


def live(agent: Agent) -> str:
    return reverse("agent-arrivals", args=(agent.slug,))


def send(secret: str, spans: list[Any]) -> None:
    answer = Client().post(
        "/v1/traces", json.dumps(as_json(spans)), content_type="application/json",
        headers={"authorization": f"Bearer {secret}"},
    )  # fmt: skip
    assert answer.status_code == HTTPStatus.OK


def secret_on(body: str) -> str:
    return re.findall(r'class="desk-secret">(wsk_[^<]+)<', body)[0]


# the key


def test_key__made_by_an_administrator__is_shown_once_and_stands_in_every_snippet(
    cast: SimpleNamespace, agent: Agent
) -> None:
    client = as_person(cast.administrator)
    before = client.get(page(agent)).content.decode()

    response = client.post(page(agent), {"name": "the agent's host"})
    body = response.content.decode()
    after = client.get(page(agent)).content.decode()

    secret = secret_on(body)
    key = ApiKey.authenticate(secret)
    assert key is not None
    assert (key.agent, key.kind, set(key.scopes)) == (
        agent,
        "agent",
        {"episode:write", "harness:read", "outcome:write"},
    )
    assert body.count(secret) == 4  # shown, OpenTelemetry, client, curl
    assert PLACEHOLDER in before
    assert PLACEHOLDER not in body
    assert secret not in after
    assert "no-store" in response["Cache-Control"]
    assert Event.objects.filter(action="key.issue", actor="administrator").exists()


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_key__by_role__is_offered_and_made_for_exactly_who_manages_access(
    cast: SimpleNamespace, agent: Agent, role: str
) -> None:
    client = as_person(getattr(cast, role))

    shown = client.get(page(agent))
    tried = client.post(page(agent), {"name": "capture"})

    may = role == Role.ADMINISTRATOR
    assert shown.status_code == tried.status_code == HTTPStatus.OK
    assert ("Make a key" in shown.content.decode()) is may
    assert ApiKey.objects.filter(agent=agent).exists() is may
    if not may:
        assert PLACEHOLDER in tried.content.decode()
        assert "manage_access" in tried.content.decode()


def test_page__of_another_teams_agent__is_not_there(cast: SimpleNamespace, agent: Agent, api: Any) -> None:
    client = as_person(cast.outsider)

    assert client.get(page(agent)).status_code == HTTPStatus.NOT_FOUND
    assert client.post(page(agent), {"name": "mine"}).status_code == HTTPStatus.NOT_FOUND
    assert client.get(reverse("console:adopt", args=(agent.pk,))).status_code == HTTPStatus.NOT_FOUND
    assert api(cast.outsider).get(live(agent)).status_code == HTTPStatus.NOT_FOUND
    assert not ApiKey.objects.filter(agent=agent).exists()


def test_page__signed_out__asks_to_sign_in(agent: Agent, api: Any) -> None:
    assert Client().get(page(agent)).status_code == HTTPStatus.FOUND
    assert api().get(live(agent)).status_code == HTTPStatus.UNAUTHORIZED


def test_live__an_agents_own_key__reads_nothing_back(agent: Agent, agent_key: str, api: Any) -> None:
    assert api(agent_key).get(live(agent)).status_code == HTTPStatus.FORBIDDEN


def test_key__without_a_csrf_token__is_not_made(cast: SimpleNamespace, agent: Agent) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.administrator)

    assert client.post(page(agent), {"name": "x"}).status_code == HTTPStatus.FORBIDDEN


def test_agent__just_added__leads_to_its_page_of_connecting(cast: SimpleNamespace) -> None:
    fields = {"team": cast.team.pk, "slug": "desk", "name": "Desk", "document": ""}

    response = as_person(cast.administrator).post(reverse("admin:harness_agent_add"), fields, follow=True)

    agent = Agent.objects.get(slug="desk")
    assert agent.stable is None
    assert response.redirect_chain[-1][0] == page(agent)
    assert "No episode of Desk has come yet" in response.content.decode()


def test_agents_page__links__to_connecting_and_adopting(cast: SimpleNamespace, agent: Agent) -> None:
    body = as_person(cast.support).get(reverse("admin:harness_agent_change", args=(agent.pk,))).content.decode()

    assert page(agent) in body
    assert reverse("console:adopt", args=(agent.pk,)) in body


# what is pasted


def test_snippets__of_an_address_and_a_key__work_as_they_stand(agent: Agent, agent_key: str) -> None:
    found = {snippet.name: snippet.text for snippet in snippets("https://w.example", agent.slug, agent_key)}

    variables = dict(word.split("=", 1) for word in shlex.split(found["otel"]) if word != "export")
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://w.example"
    name, _, value = variables["OTEL_EXPORTER_OTLP_HEADERS"].partition("=")
    assert (name, unquote(value)) == ("authorization", f"Bearer {agent_key}")
    # `true` records nothing with today's instrumentations; the benches run the real ones with these.
    assert variables["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] == "span_only"
    assert variables["OTEL_SEMCONV_STABILITY_OPT_IN"] == "gen_ai_latest_experimental"
    compile(found["client"], "client", "exec")
    compile(found["openai"], "openai", "exec")
    words = shlex.split(found["curl"])
    answer = Client().post(
        words[1].removeprefix("https://w.example"), words[words.index("-d") + 1], content_type="application/json",
        headers={"authorization": f"Bearer {agent_key}"},
    )  # fmt: skip
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert [lack.code for lack in arrivals_of(agent).lacks] == ["no_harness"]


def test_snippets__a_slug_or_address_with_quotes__stay_one_word() -> None:
    found = {one.name: one.text for one in snippets("http://h'\"$(x)", "a", "k\"'$(y)")}

    assert shlex.split(found["curl"])[1] == "http://h'\"$(x)/api/v1/episodes"
    compile(found["client"], "client", "exec")


# what has come


def test_live__a_trace_on_its_way__is_told_until_it_is_the_first_episode(
    cast: SimpleNamespace, agent: Agent, agent_key: str, api: Any
) -> None:
    reader = api(cast.support)
    empty = reader.get(live(agent)).json()
    send(agent_key, run())
    on_its_way = reader.get(live(agent)).json()
    make_due()
    overdue = Trace.objects.update(due_at=timezone.now() - timedelta(minutes=1))
    stuck = reader.get(live(agent)).json()
    assemble_due()
    arrived = reader.get(live(agent)).json()

    assert (empty["is_waiting"], empty["number"], empty["newest"], empty["traces"]) == (True, 0, None, [])
    assert on_its_way["is_waiting"]
    assert [trace["state"] for trace in on_its_way["traces"]] == ["waiting"]
    assert overdue == 1
    assert [trace["state"] for trace in stuck["traces"]] == ["overdue"]
    episode = Episode.objects.get()
    assert (arrived["is_waiting"], arrived["number"], arrived["is_exact"], arrived["traces"]) == (False, 1, True, [])
    assert arrived["first"]["page"] == reverse("admin:episodes_episode_change", args=(episode.pk,))
    assert [lack["code"] for lack in arrived["lacks"]] == ["no_harness"]
    body = as_person(cast.support).get(page(agent), {"part": "arrivals"}).content.decode()
    assert "The first episode has come" in body
    assert arrived["first"]["page"] in body
    assert "<html" not in body


def test_live__a_bare_run__names_everything_it_lacks_with_its_line(agent: Agent, agent_key: str) -> None:
    send(agent_key, [a_span(1, attributes=AGENT, trace_id="b" * 32)])
    make_due()
    assemble_due()

    lacks = {lack.code: lack.mend for lack in arrivals_of(agent).lacks}

    assert set(lacks) == {"no_words", "no_user", "no_conversation", "no_harness", "no_model"}
    assert '"user.id"' in lacks["no_user"]
    assert '"session.id"' in lacks["no_conversation"]
    assert "span_attributes()" in lacks["no_harness"]


def test_live__an_agent_without_a_document__is_sent_to_adopting(agent: Agent, agent_key: str) -> None:
    send(agent_key, [a_span(1, attributes=AGENT, trace_id="b" * 32)])
    make_due()
    assemble_due()
    agent.stable_id = None

    assert "adopt it from these traces" in next(x.mend for x in arrivals_of(agent).lacks if x.code == "no_harness")


def test_live__traces_that_become_no_episode__say_why(agent: Agent, agent_key: str) -> None:
    send(agent_key, [a_span(1, trace_id="c" * 32, attributes={"http.method": "GET"})])
    make_due()
    assemble_due()
    send(agent_key, [a_span(2, 1, trace_id="d" * 32, attributes=chat())])
    send(agent_key, run("e" * 32))
    Trace.objects.filter(trace_id="e" * 32).update(due_at=None, error="ValueError: <b>no</b>")

    states = {trace.trace_id[0]: trace for trace in arrivals_of(agent).traces}

    assert {name: trace.state for name, trace in states.items()} == {"c": "silent", "d": "waiting", "e": "refused"}
    assert "recognized" in states["c"].sentence
    assert "without parent" in states["d"].sentence
    assert "<b>no</b>" in states["e"].sentence


def test_live__many_episodes__are_not_counted_one_by_one(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        make_episode(agent, name)
    monkeypatch.setattr("episodes.arrivals.EXACT", 2)
    CaptureTally.objects.create(agent=agent, captured=1_234_567, analyzed=0, pending=1_234_567, failed=0)

    found = arrivals_of(agent)

    assert EXACT == 1_000
    assert (found.number, found.is_exact) == (1_234_567, False)


def test_page__texts_of_spans__are_data(cast: SimpleNamespace, agent: Agent, agent_key: str) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    send(agent_key, run(said=attack))
    make_due()
    assemble_due()
    send(agent_key, run("e" * 32))
    Trace.objects.filter(trace_id="e" * 32).update(due_at=None, error=attack)
    client = as_person(cast.support)

    for body in (client.get(page(agent)), client.get(page(agent), {"part": "arrivals"})):
        assert "<script>alert" not in body.content.decode()
        assert "<img src=x" not in body.content.decode()
        assert "&lt;script&gt;alert" in body.content.decode()


def test_page__its_own_part__holds_no_inline_script_style_or_handler(cast: SimpleNamespace, agent: Agent) -> None:
    for name in ("connect", "adopt"):
        response = as_person(cast.administrator).get(reverse(f"console:{name}", args=(agent.pk,)))
        content = response.content.decode().partition('id="content"')[2]
        assert "<style" not in content
        assert not re.search(r"\son\w+=", content)
        assert not re.search(r"<script(?![^>]*\bsrc=)", content)
        assert "unsafe-inline" not in next(
            part for part in response["Content-Security-Policy"].split(";") if part.strip().startswith("script-src")
        )
    assert finders.find("console/connect.js")
    connect = as_person(cast.support).get(page(agent)).content.decode()
    assert '<script src="/static/console/connect.js" defer></script>' in connect
    assert f'data-poll="{live(agent)}"' in connect
