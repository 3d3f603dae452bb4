"""The same over REST: bodies in every form, who may speak, who may read."""

import gzip
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.acting import MACHINE
from episodes.api.parsers import MAX_BATCH_BYTES
from episodes.models import Conversation, Correction, Critique, Episode, Flag, Intent, Outcome, Pattern
from episodes.patterns import place
from harness.models import Agent, ApiKey
from tests.episodes.factories import LONG_AGO, captured, item, lived, retrieval_step
from tests.episodes.test_patterns import critique

pytestmark = pytest.mark.django_db

URL = "/api/v1/episodes"
Api = Callable[..., APIClient]


def post(client: APIClient, body: bytes | Any, kind: str = "application/json", **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.generic("POST", URL, data, content_type=kind, headers=headers)


@pytest.mark.parametrize("body", [item("a"), [item("a")]])
def test_post__object_or_list__is_accepted(api: Api, agent_key: str, body: Any) -> None:
    response = post(api(agent_key), body)

    assert (response.status_code, response.json()) == (202, {"accepted": 1, "duplicates": 0, "rejected": []})
    assert Episode.objects.get().external_id == "a"


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl"])
def test_post__lines__keep_the_good_ones(api: Api, agent_key: str, kind: str) -> None:
    body = b"\n".join(
        [json.dumps(item("a")).encode(), b"{broken", b"", b'{"id": "\xff"}', json.dumps(item("b")).encode()]
    )

    answer = post(api(agent_key), body, kind).json()

    assert answer["accepted"] == 2
    assert [(r["index"], r["code"]) for r in answer["rejected"]] == [(1, "not_json"), (2, "not_json")]


def test_post__one_as_a_fraction__is_kept_as_one(api: Api, agent_key: str) -> None:
    bodies = [
        json.dumps(item(f"e-{one}", input={"n": "@"}, weight=1)).replace('"@"', one) for one in ("1", "1.0", "1e0")
    ]

    for body in bodies:
        assert post(api(agent_key), body.encode()).json()["accepted"] == 1

    kept = Episode.objects.extra(select={"text": "input::text"}).values_list("text", flat=True)
    assert set(kept) == {'{"n": 1}'}


def test_post__gzip_even_in_members__is_welcome(api: Api, agent_key: str) -> None:
    lines = [json.dumps(item(name)).encode() + b"\n" for name in ("a", "b")]
    body = b"".join(gzip.compress(line) for line in lines)

    response = post(api(agent_key), body, "application/x-ndjson", **{"Content-Encoding": "gzip"})

    assert (response.status_code, response.json()["accepted"]) == (202, 2)


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "status", "code"),
    [
        (b"{broken", "application/json", "", 422, "unreadable"),
        (b"", "application/json", "", 422, "unreadable"),
        (b"{a\n{b", "application/x-ndjson", "", 422, "unreadable"),
        (b"[" * 200_000, "application/json", "", 422, "unreadable"),
        (b"not gzip", "application/json", "gzip", 422, "unreadable"),
        (gzip.compress(b"[]", mtime=0)[:-9], "application/json", "gzip", 422, "unreadable"),
        (b"[]", "application/json", "br", 422, "unreadable"),
        (gzip.compress(b" " * (MAX_BATCH_BYTES + 1), mtime=0), "application/json", "gzip", 413, "too_large"),
        (b" " * (MAX_BATCH_BYTES + 1), "application/json", "", 413, "too_large"),
        (b"[" + b"{}," * 1_000 + b"{}]", "application/json", "", 413, "too_large"),
        (b"1\n" * 1_001, "application/x-ndjson", "", 413, "too_large"),
        (b"<a/>", "text/xml", "", 415, "unsupported_media_type"),
    ],
    ids=[
        "broken",
        "empty",
        "lines",
        "deep",
        "no-gzip",
        "cut-gzip",
        "unknown-coding",
        "bomb",
        "large",
        "many",
        "many-lines",
        "xml",
    ],
)
def test_post__unusable_body__is_a_problem_with_a_code(
    api: Api, agent_key: str, body: bytes, kind: str, encoding: str, status: int, code: str
) -> None:
    response = post(api(agent_key), body, kind, **({"Content-Encoding": encoding} if encoding else {}))

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response["Content-Type"] == "application/problem+json"


def test_post__strange_json__is_refused_item_by_item(api: Api, agent_key: str) -> None:
    bad = [
        '{"id": "n", "usage": {"x": NaN}}', '{"id": "i", "usage": {"x": 1' + "0" * 5_000 + "}}", '{"id": "s\\ud800"}',
        '{"id": "t", "id": "t"}', '{"id": "z\\u0000"}', "7", "null", '{"id": 5}',
    ]  # fmt: skip

    answer = post(api(agent_key), f"[{','.join(bad)}, {json.dumps(item('good'))}]".encode()).json()

    assert answer["accepted"] == 1
    codes = [r["code"] for r in answer["rejected"]]
    assert codes == ["not_finite", "big_integer", "lone_surrogate", "not_json", "nul", "invalid", "invalid", "invalid"]


def test_post__one_item_nested_without_end__costs_no_other(api: Api, agent_key: str) -> None:
    deep = '{"id": "deep", "attributes": {"said": "\\"]},[", "a": ' + "[" * 60_000 + "]" * 60_000 + "}}"
    body = f"[{json.dumps(item('a'))}, {deep},\n{json.dumps(item('b, ]} \\'))}]"

    answer = post(api(agent_key), body.encode()).json()

    assert answer["accepted"] == 2
    assert [(r["index"], r["code"]) for r in answer["rejected"]] == [(1, "too_deep")]
    for broken in (f"{body[:-1]}}}", f"{body}]", f"{body},{body}", body[:-1], f"x{body}"):
        assert post(api(agent_key), broken.encode()).json()["code"] == "unreadable"


def test_lists__episode_whose_messages_are_none__are_shown(api: Api, agent: Agent, cast: SimpleNamespace) -> None:
    captured(agent, item("a") | {"input": {"messages": None}})

    answer = api(cast.engineer).get(URL)

    assert (answer.status_code, answer.json()["results"][0]["opening"]) == (200, "")


def test_post__again__counts_duplicates(api: Api, agent_key: str) -> None:
    post(api(agent_key), [item("a")])

    assert post(api(agent_key), [item("a")]).json() == {"accepted": 0, "duplicates": 1, "rejected": []}
    assert post(api(agent_key), item("a", workflow="other")).json()["rejected"][0]["code"] == "already_captured"


def test_post__who__only_an_agents_key_with_the_scope(
    api: Api, agent: Agent, agent_key: str, cast: SimpleNamespace
) -> None:
    _, weak = ApiKey.issue(
        kind="agent", name="w", owner=cast.administrator, agent=agent, scopes=["harness:read"], by=MACHINE
    )

    assert post(api(), item("a")).status_code == 401
    assert post(api(weak), item("a")).status_code == 403
    assert post(api(cast.engineer), item("a")).status_code == 403
    assert post(api("wsk_unknown_key"), item("a")).status_code == 401
    assert post(api(agent_key), item("a", agent="warehouse-desk")).json()["rejected"][0]["code"] == "other_agent"
    assert not Episode.objects.exists()


def say(client: APIClient, path: str, body: Any) -> Any:
    return client.post(f"/api/v1/{path}", body, format="json")


def test_outcomes__by_the_agents_own_id__are_recorded_once(api: Api, agent: Agent, agent_key: str) -> None:
    captured(agent, item("turn.1"))
    body = {"name": "resolved", "source": "customer", "value": 1, "at": LONG_AGO.isoformat()}

    first = say(api(agent_key), "episodes/turn.1/outcomes", body)
    second = say(api(agent_key), "episodes/turn.1/outcomes", body)

    assert (first.status_code, second.status_code, Outcome.objects.count()) == (201, 200, 1)
    assert Conversation.objects.get().resolution == "resolved"
    assert say(api(agent_key), "episodes/unknown/outcomes", body).status_code == 404


def test_outcomes__without_the_scope_or_role__are_refused(api: Api, agent: Agent, cast: SimpleNamespace) -> None:
    captured(agent, item("a"))
    _, weak = ApiKey.issue(
        kind="agent", name="w", owner=cast.administrator, agent=agent, scopes=["outcome:write"], by=MACHINE
    )

    assert (
        say(api(weak), "episodes/a/outcomes", {"name": "resolved", "source": "customer"}).json()["code"]
        == "untrusted_source"
    )
    assert say(api(weak), "episodes/a/outcomes", {"name": "resolved"}).status_code == 201
    assert say(api(cast.auditor), "episodes/a/outcomes", {"name": "resolved", "source": "staff"}).status_code == 403
    assert say(api(cast.support), "episodes/a/outcomes", {"name": "resolved", "source": "staff"}).status_code == 201
    assert say(api(cast.outsider), "episodes/a/outcomes", {"name": "resolved", "source": "staff"}).status_code == 404
    assert say(api(), "episodes/a/outcomes", {"name": "resolved"}).status_code == 401


def test_flags_and_corrections__by_people__are_stored(
    api: Api, agent: Agent, cast: SimpleNamespace, agent_key: str
) -> None:
    [a, _] = captured(agent, item("a"), item("b"))
    correction = {
        "episodes": [str(a.pk), "b"], "title": "Ids", "tool": "lookup_order",
        "per_episode_arguments": {str(a.pk): {"order_id": "KL-1"}, "b": {"order_id": "KL-2"}},
    }  # fmt: skip

    flagged = say(api(cast.support), f"episodes/{a.pk}/flags", {"reason": "wrong", "note": "no"})
    corrected = say(api(cast.support), "corrections", correction)

    assert (flagged.status_code, corrected.status_code) == (201, 201)
    assert Flag.objects.get().flagged_by == cast.support
    assert len(corrected.json()["coverage"]) == 2
    assert say(api(cast.auditor), "episodes/a/flags", {"reason": "wrong"}).status_code == 403
    assert say(api(agent_key), "episodes/a/flags", {"reason": "wrong"}).status_code == 403
    assert say(api(cast.auditor), "corrections", correction).status_code == 403
    assert say(api(cast.support), "corrections", {"episodes": ["a"]}).json()["code"] == "invalid_correction"
    assert say(api(cast.support), "corrections", {"episodes": [], "answer": "x"}).status_code == 422
    assert Correction.objects.count() == 1


def test_intents__defined_over_rest__are_live(api: Api, agent: Agent, cast: SimpleNamespace) -> None:
    body = {
        "agent": agent.slug,
        "name": "Get a refund",
        "definition": "Money back.",
        "examples": ["money back", "refund it", "pay me back"],
    }

    created = say(api(cast.engineer), "intents", body)

    assert created.status_code == 201
    assert (created.json()["state"], created.json()["slug"]) == ("live", "get-a-refund")
    assert "centroid" not in created.json()
    assert say(api(cast.support), "intents", body).status_code == 403
    assert say(api(cast.outsider), "intents", body).status_code == 404
    assert (
        say(api(cast.engineer), "intents", {**body, "examples": ["one", "one", "one"]}).json()["code"]
        == "invalid_intent"
    )
    assert Intent.objects.count() == 1


LISTS = ["episodes", "conversations", "corrections", "critiques", "patterns", "intents"]


@pytest.mark.parametrize("path", LISTS)
def test_lists__strangers_and_agents_keys__see_nothing(
    api: Api, agent: Agent, cast: SimpleNamespace, agent_key: str, path: str
) -> None:
    [episode] = lived(agent, item("a", steps=[retrieval_step(0.1)]), end="failed")
    say(api(cast.engineer), "corrections", {"episodes": ["a"], "answer": "x"})
    say(
        api(cast.engineer),
        "intents",
        {"agent": agent.slug, "name": "N", "definition": "D.", "examples": ["a b", "c d", "e f"]},
    )
    place(critique(agent, "p"), kind="k", vector=None)
    rows = api(cast.auditor).get(f"/api/v1/{path}").json()["results"]
    key = rows[0]["id"]

    assert rows
    assert api(cast.auditor).get(f"/api/v1/{path}/{key}").status_code == 200
    assert api(cast.outsider).get(f"/api/v1/{path}").json()["results"] == []
    assert api(cast.outsider).get(f"/api/v1/{path}/{key}").status_code == 404
    assert api(agent_key).get(f"/api/v1/{path}").status_code == 403
    assert api().get(f"/api/v1/{path}").status_code == 401
    assert episode.pk


def test_detail__episode__shows_steps_signals_and_flags(api: Api, agent: Agent, cast: SimpleNamespace) -> None:
    [episode] = lived(agent, item("a", steps=[{"kind": "handoff", "name": "person"}]), end="failed")

    body = api(cast.engineer).get(f"/api/v1/episodes/{episode.pk}").json()

    assert [step["kind"] for step in body["steps"]] == ["handoff"]
    assert [signal["kind"] for signal in body["signals"]] == ["handoff"]
    assert api(cast.engineer).get("/api/v1/episodes/a").json()["id"] == str(episode.pk)


def test_detail__same_external_id_at_two_agents__must_be_named(
    api: Api, agent: Agent, other_agent: Agent, cast: SimpleNamespace
) -> None:
    captured(agent, item("a"))
    captured(other_agent, item("a"))
    ours = api(cast.engineer).get("/api/v1/episodes/a")
    assert ours.status_code == 200

    from accounts.models import Membership

    Membership.objects.create(user=cast.engineer, team=cast.other_team, role="engineer")

    assert api(cast.engineer).get("/api/v1/episodes/a").json()["code"] == "ambiguous_id"
    assert api(cast.engineer).get("/api/v1/episodes/a?agent=warehouse-desk").json()["agent"] == "warehouse-desk"


def test_lists__filters__narrow(api: Api, agent: Agent, cast: SimpleNamespace) -> None:
    lived(agent, item("a", steps=[retrieval_step(0.1)]), end="failed")
    lived(agent, item("b"), end="resolved")
    client = api(cast.engineer)

    assert [row["external_id"] for row in client.get("/api/v1/episodes?resolution=failed").json()["results"]] == ["a"]
    assert [row["external_id"] for row in client.get("/api/v1/episodes?external_id=b").json()["results"]] == ["b"]
    assert len(client.get("/api/v1/conversations?resolution=resolved").json()["results"]) == 1
    assert client.get("/api/v1/episodes?agent=nobody").json()["results"] == []
    assert client.get("/api/v1/critiques?pattern=nonsense").status_code == 422


def test_patterns__verbs__walk_the_machine(api: Api, agent: Agent, cast: SimpleNamespace) -> None:
    pattern = place(critique(agent, "a"), kind="k", vector=None)
    assert pattern is not None
    path = f"patterns/{pattern.pk}"

    assert say(api(cast.auditor), f"{path}/ignore", {"reason": "known"}).status_code == 403
    assert say(api(cast.support), f"{path}/ignore", {"reason": ""}).status_code in {409, 422}
    assert say(api(cast.support), f"{path}/ignore", {"reason": "known"}).json()["status"] == "ignored"
    assert say(api(cast.support), f"{path}/ignore", {"reason": "known"}).status_code == 409
    assert say(api(cast.support), f"{path}/reopen", {"reason": "it is back"}).json()["status"] == "new"
    assert say(api(cast.engineer), f"{path}/resolve", {"reason": "by hand"}).status_code in {403, 409}
    assert Pattern.objects.get().history.count() == 3
    assert Critique.objects.count() == 1
