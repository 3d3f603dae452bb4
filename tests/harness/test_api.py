"""Agents, versions, changes and keys over REST: permissions, shapes and problem codes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.models import Membership
from accounts.roles import Role
from harness.documents import LAYERS
from harness.models import Agent, ApiKey, Change, HarnessVersion
from harness.policy import small_policy
from tests.conftest import DOCUMENT

pytestmark = pytest.mark.django_db


def test_agents__listed__only_those_of_ones_team(api, agent, other_agent, cast):
    rows = api(cast.auditor).get("/api/v1/agents").json()["results"]

    assert [row["slug"] for row in rows] == ["shop-desk"]
    assert (rows[0]["stable"], rows[0]["stable_digest"]) == (1, agent.stable.digest)
    assert api(cast.outsider).get("/api/v1/agents/shop-desk").json()["code"] == "not_found"
    assert api().get("/api/v1/agents").status_code == 401


def test_agents__created_with_a_document__serve_it(api, cast):
    body = {"team": "support-desk", "slug": "fresh", "name": "Fresh", "document": DOCUMENT}

    made = api(cast.administrator).post("/api/v1/agents", body, format="json")

    assert (made.status_code, made.json()["stable"]) == (201, 1)
    again = api(cast.administrator).post("/api/v1/agents", body, format="json")
    assert (again.status_code, again.json()["code"]) == (409, "slug_taken")
    assert api(cast.engineer).post("/api/v1/agents", body | {"slug": "x"}, format="json").status_code == 403
    assert api(cast.outsider).post("/api/v1/agents", body | {"slug": "x"}, format="json").status_code == 404


def test_agents__bad_document__creates_nothing(api, cast):
    body = {"team": "support-desk", "slug": "fresh", "name": "Fresh", "document": {"prompt": 5}}

    answer = api(cast.administrator).post("/api/v1/agents", body, format="json")

    assert answer.status_code >= 400
    assert not Agent.objects.filter(slug="fresh").exists()


def test_agents__described_anew__by_an_administrator_only(api, agent, cast):
    path, body = "/api/v1/agents/shop-desk", {"endpoint": "http://127.0.0.1:9/"}

    assert api(cast.administrator).patch(path, body, format="json").json()["endpoint"] == body["endpoint"]
    assert api(cast.engineer).patch(path, body, format="json").json()["code"] == "not_permitted"
    renamed = api(cast.administrator).patch(path, {"name": "Desk", "purpose": "Helps."}, format="json").json()
    assert (renamed["name"], renamed["purpose"], renamed["endpoint"]) == ("Desk", "Helps.", body["endpoint"])
    assert api(cast.outsider).patch(path, body, format="json").status_code == 404
    assert api(cast.administrator).patch(path, {"endpoint": "ftp:x y"}, format="json").status_code == 422
    assert api(cast.administrator).put(path, body, format="json").status_code == 405


def test_agents__bootstrap_twice__is_refused(api, agent, cast):
    body = {"document": DOCUMENT, "reason": "again"}

    answer = api(cast.administrator).post("/api/v1/agents/shop-desk/bootstrap", body, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "already_bootstrapped")
    assert answer["Content-Type"].startswith("application/problem+json")


def test_agents__frozen_and_unfrozen__by_those_who_may(api, agent, cast):
    reason = {"reason": "incident"}

    assert api(cast.support).post("/api/v1/agents/shop-desk/freeze", reason, format="json").status_code == 403
    frozen = api(cast.on_call).post("/api/v1/agents/shop-desk/freeze", reason, format="json")
    lifted = api(cast.release_manager).post("/api/v1/agents/shop-desk/unfreeze", reason, format="json")

    assert frozen.json()["frozen_reason"] == "incident"
    assert lifted.json()["frozen_at"] is None
    assert api(cast.on_call).post("/api/v1/agents/shop-desk/freeze", {}, format="json").status_code == 422


@pytest.mark.parametrize(
    ("person", "act", "allowed"),
    [
        (person, act, person in holders)
        for act, holders in {
            "freeze": {"on_call", "release_manager"},
            "unfreeze": {"release_manager"},
            "bootstrap": {"administrator"},
        }.items()
        for person in (*Role, "outsider")
    ],
)
def test_agents__act__is_for_those_whose_role_says_so(api, cast, person, act, allowed):
    with acting(MACHINE, reason="made"):
        Agent.objects.create(team=cast.team, owner=cast.administrator, slug="fresh", name="Fresh")
    body = {"reason": "because it must"} | ({"document": DOCUMENT} if act == "bootstrap" else {})

    answer = api(getattr(cast, person)).post(f"/api/v1/agents/fresh/{act}", body, format="json")

    refused = {"outsider": (404, "not_found")}.get(person, (403, "not_permitted"))
    assert allowed == (answer.status_code in {200, 201})
    assert allowed or (answer.status_code, answer.json()["code"]) == refused


def test_agents__odd_addresses__are_not_found(api, agent, cast):
    client = api(cast.engineer)

    assert client.get("/api/v1/versions/nonsense").status_code == 404
    assert client.get("/api/v1/agents/%00").json()["code"] == "nul"
    assert client.get("/api/v1/versions", {"agent": "a\0b"}).json()["code"] == "nul"


def test_agents__versions__are_listed_newest_first(api, agent, cast):
    shown = api(cast.auditor).get("/api/v1/agents/shop-desk/versions").json()["results"]

    assert [(row["number"], row["digest"], row["is_stable"]) for row in shown] == [(1, agent.stable.digest, True)]
    assert api(cast.outsider).get("/api/v1/agents/shop-desk/versions").status_code == 404


def test_document_schema__read__describes_every_layer(api, agent_key):
    shown = api(agent_key).get("/api/v1/document-schema").json()

    assert set(shown["properties"]) == set(LAYERS)


def test_versions__diff__is_a_patch_and_lines(api, agent, cast):
    document = DOCUMENT | {"memory": {"rules": {"short": {"position": 1, "text": "Be short."}}}}
    version = HarnessVersion.create(agent=agent, document=document, parent=agent.stable, by=MACHINE, note="second")
    client = api(cast.engineer)

    rows = client.get("/api/v1/versions", {"agent": "shop-desk"}).json()["results"]
    shown = client.get(f"/api/v1/versions/{version.pk}/diff").json()

    assert [(row["number"], row["is_stable"]) for row in rows] == [(2, False), (1, True)]
    assert "document" not in rows[0]
    assert client.get(f"/api/v1/versions/{version.pk}").json()["document"] == document
    assert shown["base"] == agent.stable.digest
    assert shown["patch"][0]["path"].startswith("/memory")
    assert any(line["kind"] == "added" and "Be short." in line["text"] for line in shown["lines"])
    assert api(cast.outsider).get(f"/api/v1/versions/{version.pk}/diff").status_code == 404


def test_changes__proposed_and_approved__by_two_people(api, agent, cast):
    body = {"agent": "shop-desk", "kind": "policy", "document": small_policy(), "rationale": "few users"}
    Membership.objects.create(user=cast.engineer, team=cast.team, role=Role.APPROVER)

    proposed = api(cast.engineer).post("/api/v1/changes", body, format="json")
    path = f"/api/v1/changes/{proposed.json()['id']}/approve"
    own = api(cast.engineer).post(path, {"reason": "mine"}, format="json")
    approved = api(cast.approver).post(path, {"reason": "agreed"}, format="json")

    assert proposed.status_code == 201
    assert (own.status_code, own.json()["code"]) == (403, "self_approval")
    assert (approved.json()["status"], approved.json()["decided_by"]) == ("approved", "approver")
    assert api(cast.auditor).get("/api/v1/policies").json()["results"][0]["document"]["profile"] == "small"
    assert api(cast.auditor).get("/api/v1/objectives").json()["results"] == []
    assert api(cast.support).post("/api/v1/changes", body, format="json").status_code == 403


def test_changes__without_a_reason__are_not_decided(api, agent, cast):
    change = Change.propose(
        agent=agent, kind="policy", document=small_policy(), rationale="x", by=cast.engineer.as_actor()
    )

    answer = api(cast.approver).post(f"/api/v1/changes/{change.pk}/decline", {}, format="json")

    assert answer.status_code >= 400
    change.refresh_from_db()
    assert change.status == "proposed"


def test_keys__issued_once_and_revoked__over_rest(api, agent, cast):
    body = {"kind": "agent", "name": "prod", "agent": "shop-desk", "scopes": ["harness:read"]}

    made = api(cast.administrator).post("/api/v1/keys", body, format="json")
    secret = made.json()["secret"]
    listed = api(cast.administrator).get("/api/v1/keys").json()["results"]
    fetched = api(secret).get("/api/v1/agents/shop-desk/harness")
    revoked = api(cast.administrator).post(
        f"/api/v1/keys/{made.json()['id']}/revoke", {"reason": "leaked"}, format="json"
    )

    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    assert "secret" not in listed[0]
    assert fetched.status_code == 200
    assert revoked.json()["revoked_at"] is not None
    assert api(secret).get("/api/v1/agents/shop-desk/harness").status_code == 401


def test_keys__by_those_who_may_not__are_refused(api, agent, cast, agent_key):
    body = {"kind": "agent", "name": "prod", "agent": "shop-desk", "scopes": ["harness:read"]}

    assert api(cast.engineer).post("/api/v1/keys", body, format="json").json()["code"] == "not_permitted"
    assert api(agent_key).post("/api/v1/keys", body, format="json").status_code == 403
    bad = api(cast.administrator).post("/api/v1/keys", body | {"scopes": ["approve_release"]}, format="json")
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_key")
    assert api(cast.outsider).post("/api/v1/keys", body, format="json").status_code == 404


def test_keys__of_a_person__act_within_their_scopes(api, agent, cast):
    body = {"kind": "person", "name": "laptop", "scopes": ["view"]}
    secret = api(cast.on_call).post("/api/v1/keys", body, format="json").json()["secret"]

    assert api(secret).get("/api/v1/agents").status_code == 200
    assert api(secret).post("/api/v1/agents/shop-desk/freeze", {"reason": "x"}, format="json").status_code == 403


def test_lists__key_without_the_scope_to_view__are_refused(api, agent, agent_key, cast):
    _, secret = ApiKey.issue(
        kind="person", name="stop", owner=cast.on_call, scopes=["stop_release"], by=cast.on_call.as_actor()
    )

    for key in (agent_key, secret):
        answer = api(key).get("/api/v1/versions")
        assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
    assert api(secret).post("/api/v1/agents/shop-desk/freeze", {"reason": "x"}, format="json").status_code == 200


def test_keys__expired_or_revoked__are_told_to_issue_a_new_one(api, agent, cast):
    def issue(**options):
        return ApiKey.issue(
            kind="person", name="k", owner=cast.engineer, scopes=["view"], by=cast.engineer.as_actor(), **options
        )

    _, expired = issue(expires_at=timezone.now() - timedelta(seconds=1))
    key, revoked = issue()
    key.revoke(by=cast.engineer.as_actor(), reason="leaked")

    for secret in (expired, revoked):
        answer = api(secret).get("/api/v1/agents")
        assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")


def test_keys__of_other_people__are_neither_seen_nor_revoked(api, agent, cast):
    key, _ = ApiKey.issue(kind="person", name="k", owner=cast.engineer, scopes=["view"], by=cast.engineer.as_actor())
    path = f"/api/v1/keys/{key.pk}"

    for person in (cast.administrator, cast.outsider):
        assert api(person).get(path).status_code == 404
        assert api(person).post(f"{path}/revoke", {"reason": "x"}, format="json").status_code == 404
    assert api(cast.engineer).post(f"{path}/revoke", {"reason": "x"}, format="json").status_code == 200
