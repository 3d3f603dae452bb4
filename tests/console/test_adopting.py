"""From a body posted to /v1/traces to an accepted version: what is drafted, who accepts it, what is refused."""

import json
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.acting import MACHINE
from accounts.models import User
from accounts.roles import Role
from audit.models import Event
from episodes.adopting import draft_from_traces
from episodes.assembling import assemble_due
from episodes.models import Trace, TraceFragment
from harness.models import Agent, ApiKey, HarnessVersion
from proposals.models import Proposal
from tests.episodes.otlp.making import DATA
from tests.episodes.otlp.test_adoption import LOOKUP, a_call
from tests.episodes.test_traces import as_json, make_due

pytestmark = pytest.mark.usefixtures("kept_contexts")

RECORDED = DATA / "otlp_recorded" / "openinference_traces_1.json"


@pytest.fixture
def fresh(cast: SimpleNamespace) -> Agent:
    """An agent that serves no document yet."""
    return Agent.objects.create(team=cast.team, owner=cast.administrator, slug="fresh", name="Fresh")


def key_of(agent: Agent, owner: User) -> str:
    return ApiKey.issue(kind="agent", name="k", owner=owner, agent=agent, scopes=["episode:write"], by=MACHINE)[1]


def send(agent: Agent, body: bytes | str) -> None:
    answer = Client().post(
        "/v1/traces", body, content_type="application/json",
        headers={"authorization": f"Bearer {key_of(agent, agent.owner)}"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {})
    make_due()
    assemble_due()


def send_calls(agent: Agent, *numbers: int, **changes: Any) -> None:
    send(agent, json.dumps(as_json([a_call(number, **changes) for number in numbers])))


def page(agent: Agent) -> str:
    return reverse("console:adopt", args=(agent.pk,))


def address(agent: Agent) -> str:
    return reverse("agent-adoption", args=(agent.slug,))


def as_person(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def read(client: Client, agent: Agent, **choices: str) -> dict[str, str]:
    """Return the accept form's hidden fields as the page gives them."""
    form = client.get(page(agent), choices).context["form"]
    return {name: form.initial.get(name, "") for name in form.fields if name in form.initial}


# the first document


@pytest.mark.skipif(not RECORDED.is_file(), reason="../shared/data/otlp_recorded is not beside the repository")
def test_adoption__a_body_of_a_real_sdk__becomes_version_1(cast: SimpleNamespace, fresh: Agent) -> None:
    send(fresh, RECORDED.read_bytes())
    client = as_person(cast.administrator)

    shown = client.get(page(fresh)).content.decode()
    response = client.post(page(fresh), read(client, fresh) | {"reason": "that is what runs"}, follow=True)

    fresh.refresh_from_db()
    assert "serves no document yet" in shown
    assert fresh.stable is not None
    assert (fresh.stable.number, fresh.stable.note) == (1, "that is what runs")
    assert fresh.stable.document["model"]["name"]
    assert fresh.stable.document["tools"]
    assert "is served from now on" in response.content.decode()
    event = Event.objects.get(action="agent.adopt")
    assert (event.actor, event.reason, event.digest) == ("administrator", "that is what runs", fresh.stable.digest)
    assert (event.facts["version"], event.facts["proposals"], event.facts["base"]) == (1, [], "")
    assert Event.objects.filter(action="agent.bootstrap", digest=fresh.stable.digest).count() == 1
    assert TraceFragment.objects.filter(agent=fresh).exists()  # kept, so that it can be read again


def test_adoption__another_variant__is_what_becomes_version_1(cast: SimpleNamespace, fresh: Agent) -> None:
    send_calls(fresh, 1, 2, 3)
    send_calls(fresh, 4, system="Be thorough.")
    client = as_person(cast.administrator)
    prompt = next(choice for choice in draft_from_traces(fresh, {}).choices if choice.layer == "prompt")
    assert [(one.value, one.share) for one in prompt.options[:2]] == [("Be brief.", 0.75), ("Be thorough.", 0.25)]

    shown = client.get(page(fresh)).content.decode()
    client.post(page(fresh), read(client, fresh, prompt=prompt.options[1].key, model="keep") | {"reason": "this one"})

    fresh.refresh_from_db()
    assert "75 %" in shown
    assert "3 runs" in shown
    assert fresh.stable is not None
    assert fresh.stable.document["prompt"] == {"system": "Be thorough."}
    assert "model" not in fresh.stable.document


@pytest.mark.parametrize("role", [role.value for role in Role])
@pytest.mark.parametrize("has_version", [False, True])
def test_adoption__by_role__is_accepted_by_exactly_who_may(
    cast: SimpleNamespace, agent: Agent, fresh: Agent, role: str, *, has_version: bool
) -> None:
    target = agent if has_version else fresh
    send_calls(target, 1)
    client = as_person(getattr(cast, role))
    given = read(client, target) | {"reason": "so"}

    shown = client.get(page(target)).content.decode()
    response = client.post(page(target), given, follow=True)

    target.refresh_from_db()
    may = role == (Role.ENGINEER if has_version else Role.ADMINISTRATOR)
    assert ("desk-button desk-primary" in shown) is may
    assert Event.objects.filter(action="agent.adopt").exists() is may
    assert Proposal.objects.filter(agent=target).exists() is (may and has_version)
    if not has_version:
        assert (target.stable is not None) is may
    if not may:
        assert "Ask an administrator of the team" in response.content.decode()


# a later document


def test_adoption__of_an_agent_that_serves__writes_a_draft_for_each_layer(cast: SimpleNamespace, agent: Agent) -> None:
    send_calls(agent, 1, 2)
    client, stable = as_person(cast.engineer), agent.stable

    response = client.post(page(agent), read(client, agent) | {"reason": "it drifted", "claim": "fixes"}, follow=True)
    again = client.post(page(agent), read(client, agent) | {"reason": "it drifted"}, follow=True)

    agent.refresh_from_db()
    drafts = {proposal.layer: proposal for proposal in Proposal.objects.filter(agent=agent)}
    assert agent.stable == stable
    assert set(drafts) == {"prompt", "tools", "model"}
    assert {(one.status, one.claim, one.source) for one in drafts.values()} == {("draft", "fixes", "person")}
    assert all(one.authors.get().user == cast.engineer for one in drafts.values())
    assert all(one.evidence.count() == 2 for one in drafts.values())
    assert [(one["op"], one["path"]) for one in drafts["prompt"].patch if one["op"] != "test"] == [
        ("replace", "/prompt/system")
    ]
    assert "Drafts written" in response.content.decode()
    assert "is proposed already" in again.content.decode()
    assert Proposal.objects.count() == 3
    drafts["prompt"].submit(by=cast.engineer.as_actor(), reason="go")
    assert drafts["prompt"].status == "submitted"


# refusals


def test_adoption__without_traces__says_what_to_do(cast: SimpleNamespace, fresh: Agent, api: Any) -> None:
    body = as_person(cast.administrator).get(page(fresh)).content.decode()
    problem = api(cast.administrator).get(address(fresh))

    assert "No trace of agent" in body
    assert "Connect" in body
    assert (problem.status_code, problem.json()["code"]) == (HTTPStatus.CONFLICT, "nothing_to_adopt")


def test_adoption__traces_that_show_nothing__say_what_to_turn_on(cast: SimpleNamespace, fresh: Agent, api: Any) -> None:
    span = a_call(1)
    span.attributes.clear()
    span.attributes["http.method"] = "GET"
    send(fresh, json.dumps(as_json([span])))

    problem = api(cast.administrator).get(address(fresh)).json()

    assert problem["code"] == "nothing_to_adopt"
    assert "CAPTURE_MESSAGE_CONTENT" in problem["detail"]


def test_adoption__newer_traces_say_otherwise__is_stale(cast: SimpleNamespace, fresh: Agent) -> None:
    send_calls(fresh, 1)
    client = as_person(cast.administrator)
    given = read(client, fresh) | {"reason": "so"}
    given.pop("tools")
    send_calls(fresh, 2, 3, tools=[LOOKUP, {**LOOKUP, "function": {**LOOKUP["function"], "name": "pay"}}])

    response = client.post(page(fresh), given, follow=True)

    fresh.refresh_from_db()
    assert fresh.stable is None
    assert "Read the draft again" in response.content.decode()


def test_adoption__newer_traces_that_say_the_same__change_nothing(cast: SimpleNamespace, fresh: Agent) -> None:
    send_calls(fresh, 1)
    client = as_person(cast.administrator)
    given = read(client, fresh) | {"reason": "so"}
    send_calls(fresh, 2, 3)

    client.post(page(fresh), given)

    fresh.refresh_from_db()
    assert fresh.stable is not None


def test_adoption__a_variant_gone_or_made_up__is_refused(cast: SimpleNamespace, fresh: Agent, api: Any) -> None:
    send_calls(fresh, 1)

    problem = api(cast.administrator).get(address(fresh), {"prompt": "nonsense"})
    body = as_person(cast.administrator).get(page(fresh), {"prompt": "nonsense"}).content.decode()

    assert (problem.status_code, problem.json()["code"]) == (HTTPStatus.CONFLICT, "adoption_moved")
    assert "Read the draft again" in body


def test_adoption__stable_moved_meanwhile__is_stale(cast: SimpleNamespace, fresh: Agent, api: Any) -> None:
    send_calls(fresh, 1)
    reader = api(cast.administrator)
    draft = reader.get(address(fresh)).json()
    fresh.bootstrap({"prompt": {"system": "Another."}}, by=MACHINE, reason="first")
    engineer = api(cast.engineer)

    problem = engineer.post(
        address(fresh), {"digest": draft["digest"], "base": draft["base"], "reason": "so"}, format="json"
    )

    assert (problem.status_code, problem.json()["code"]) == (HTTPStatus.CONFLICT, "adoption_moved")
    assert "fresh v1" in problem.json()["detail"]


def test_adoption__what_is_stable_already__is_nothing_to_adopt(cast: SimpleNamespace, fresh: Agent, api: Any) -> None:
    send_calls(fresh, 1)
    draft = draft_from_traces(fresh, {})
    version = fresh.bootstrap(draft.document, by=MACHINE, reason="first")

    problem = api(cast.engineer).post(
        address(fresh), {"digest": version.digest, "base": version.digest, "reason": "so"}, format="json"
    )

    assert (problem.status_code, problem.json()["code"]) == (HTTPStatus.CONFLICT, "nothing_to_adopt")


def test_adoption__a_document_nobody_can_serve__is_refused_with_its_rule(
    cast: SimpleNamespace, fresh: Agent, api: Any
) -> None:
    send_calls(fresh, 1, tools=[{"type": "function", "function": {"name": "x", "parameters": {"type": "nonsense"}}}])
    tools = next(choice for choice in draft_from_traces(fresh, {}).choices if choice.layer == "tools")
    broken = next(option for option in tools.options if option.count)

    problem = api(cast.administrator).get(address(fresh), {"tools": broken.key})
    body = as_person(cast.administrator).get(page(fresh), {"tools": broken.key}).content.decode()

    assert problem.status_code == HTTPStatus.BAD_REQUEST
    assert 'role="alert"' in body
    assert draft_from_traces(fresh, {}).document["tools"]["x"]["parameters"] == {}


def test_adoption__without_a_reason__asks_for_it(cast: SimpleNamespace, fresh: Agent) -> None:
    send_calls(fresh, 1)
    client = as_person(cast.administrator)

    response = client.post(page(fresh), read(client, fresh) | {"reason": " "})

    fresh.refresh_from_db()
    assert fresh.stable is None
    assert "This field is required" in response.content.decode()


def test_adoption__parts_that_cannot_be_read__are_left_out_with_a_note(fresh: Agent) -> None:
    send_calls(fresh, 1)
    name = Trace.objects.get(agent=fresh).trace_id
    TraceFragment.objects.create(agent=fresh, trace_id=name, body=b"\x00")

    notes = draft_from_traces(fresh, {}).notes

    assert any("could not be read" in note for note in notes)


def test_adoption__more_parts_than_are_read__are_cut_with_a_note(fresh: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    send_calls(fresh, 1, 2, 3)
    monkeypatch.setattr("episodes.adopting._MAX_PARTS", 2)

    draft = draft_from_traces(fresh, {})

    assert draft.num_spans == 2
    assert any("newest 2 parts" in note for note in draft.notes)


# over REST, and what is data


def test_adoption__over_rest__is_read_and_accepted(cast: SimpleNamespace, fresh: Agent, api: Any) -> None:
    send_calls(fresh, 1, 2)
    reader = api(cast.administrator)
    draft = reader.get(address(fresh), {"tools": "keep"}).json()
    chosen = {choice["layer"]: choice["chosen"] for choice in draft["choices"]}

    answer = reader.post(
        address(fresh), {"choices": chosen, "digest": draft["digest"], "base": "", "reason": "so"}, format="json"
    )

    version = HarnessVersion.objects.get(agent=fresh)
    assert (draft["base"], draft["num_traces"], chosen["tools"]) == ("", 2, "keep")
    assert draft["lines"][0] == {"kind": "same", "text": "{"}
    assert answer.status_code == HTTPStatus.CREATED
    assert answer.json() == {"version": str(version.pk), "proposals": []}
    assert version.document == draft["document"]


def test_adoption__over_rest__is_kept_from_agents_keys_and_other_teams(
    cast: SimpleNamespace, fresh: Agent, api: Any
) -> None:
    send_calls(fresh, 1)
    agents = api(key_of(fresh, cast.administrator))
    given = {"digest": "0" * 64, "base": "", "reason": "so"}

    assert agents.get(address(fresh)).status_code == HTTPStatus.FORBIDDEN
    assert agents.post(address(fresh), given, format="json").status_code == HTTPStatus.FORBIDDEN
    assert api(cast.outsider).get(address(fresh)).status_code == HTTPStatus.NOT_FOUND
    assert api(cast.outsider).post(address(fresh), given, format="json").status_code == HTTPStatus.NOT_FOUND
    assert api(cast.engineer).post(address(fresh), given, format="json").status_code == HTTPStatus.FORBIDDEN


def test_adoption__texts_of_spans__are_data(cast: SimpleNamespace, fresh: Agent) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    send_calls(fresh, 1, system=attack, model=attack)

    body = as_person(cast.administrator).get(page(fresh)).content.decode()

    assert "<script>alert" not in body
    assert "<img src=x" not in body
    assert "&lt;script&gt;alert" in body
