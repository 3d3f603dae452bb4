"""Agents, versions, changes and keys: what they refuse and what they leave on the record."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.exceptions import DomainError, HistoryBypassError, NotPermittedError
from audit.exceptions import TransitionRefusedError
from audit.models import Event
from harness.canonical import canonical_bytes, sha256_hex
from harness.exceptions import (
    AgentFrozenError,
    AlreadyBootstrappedError,
    ChangeMovedError,
    InvalidKeyError,
    SelfApprovalError,
    StableMovedError,
)
from harness.models import Agent, ApiKey, Change, HarnessVersion, Revision
from harness.policy import default_policy, small_policy
from harness.registration import SlugTakenError, add_agent, describe_agent
from tests.conftest import DOCUMENT

pytestmark = pytest.mark.django_db


def second_version(agent):
    document = DOCUMENT | {"memory": {"rules": {"short": {"position": 1, "text": "Be short."}}}}
    return HarnessVersion.create(agent=agent, document=document, parent=agent.stable, by=MACHINE, note="second")


def test_bootstrap__first_document__becomes_stable_version_one(agent):
    assert (agent.stable.number, agent.stable.document) == (1, DOCUMENT)
    assert bytes(agent.stable.body) == canonical_bytes(DOCUMENT)
    assert agent.stable.digest == sha256_hex(canonical_bytes(DOCUMENT))
    event = Event.objects.get(action="agent.bootstrap")
    assert event.digest == agent.stable.digest


def test_bootstrap__twice__is_refused(agent):
    with pytest.raises(AlreadyBootstrappedError):
        agent.bootstrap(DOCUMENT, by=MACHINE, reason="again")


def test_bootstrap__by_an_engineer__is_not_permitted(cast):
    with acting(MACHINE, reason="made"):
        agent = Agent.objects.create(team=cast.team, owner=cast.administrator, slug="fresh", name="Fresh")

    with pytest.raises(NotPermittedError):
        agent.bootstrap(DOCUMENT, by=cast.engineer.as_actor(), reason="mine")


def test_version__same_bytes__are_one_version(agent):
    again = HarnessVersion.create(agent=agent, document=DOCUMENT, parent=None, by=MACHINE, note="same")

    assert again == agent.stable


@pytest.mark.parametrize("change", [{"note": "changed"}, {"document": {}}, {"digest": "0" * 64}, {"body": b"{}"}])
def test_version__changed_in_the_database__is_refused_by_it(agent, change):
    with connection_allows_nothing(), pytest.raises(DatabaseError), transaction.atomic():
        HarnessVersion.objects.filter(pk=agent.stable_id).update(**change)


@pytest.mark.parametrize("statement", ["DELETE FROM harness_harnessversion", "TRUNCATE harness_harnessversion CASCADE"])
def test_version__deleted_in_the_database__is_refused_by_it(agent, statement):
    refused = pytest.raises(DatabaseError, match="refused")
    with connection_allows_nothing(), refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what is still to be checked would refuse TRUNCATE first
        cursor.execute(statement)


def test_version__digest_not_of_body__is_refused_by_the_database(agent):
    with pytest.raises(DatabaseError, match="version_digest_is_of_body"), transaction.atomic():
        HarnessVersion(agent=agent, number=9, body=b"{}", digest="0" * 64, document={}, created_by="x").save()


def test_set_stable__expected_version__moves_and_bumps(agent):
    version, before = second_version(agent), Revision.objects.get(pk=1).number

    agent.set_stable(version, expected=agent.stable, by=MACHINE, reason="promoted")

    assert agent.stable_id == version.pk
    assert Revision.objects.get(pk=1).number > before


def test_set_stable__moved_meanwhile__is_refused(agent):
    version = second_version(agent)

    with pytest.raises(StableMovedError):
        agent.set_stable(version, expected=version, by=MACHINE, reason="promoted")


def test_freeze__by_on_call__holds_until_a_release_manager_lifts_it(agent, cast):
    agent.freeze(by=cast.on_call.as_actor(), reason="incident")
    with pytest.raises(AgentFrozenError, match="incident"):
        agent.refuse_if_frozen()
    with pytest.raises(NotPermittedError):
        agent.unfreeze(by=cast.on_call.as_actor(), reason="over")

    agent.unfreeze(by=cast.release_manager.as_actor(), reason="over")

    agent.refuse_if_frozen()
    assert set(Event.objects.filter(action__startswith="agent.").values_list("action", flat=True)) >= {
        "agent.freeze",
        "agent.unfreeze",
    }


def test_agent__bulk_update__would_leave_no_history(agent):
    with pytest.raises(HistoryBypassError):
        Agent.objects.update(name="Other")


def test_agent__changed__keeps_actor_and_reason(agent, cast):
    agent.freeze(by=cast.on_call.as_actor(), reason="incident")

    newest = agent.history.first()

    assert (newest.history_actor or newest.history_user_id, newest.history_change_reason) in (
        ("on_call", "incident"),
        (cast.on_call.pk, "incident"),
    )


def test_visible_to__other_team__sees_nothing(agent, other_agent, cast):
    assert list(Agent.objects.visible_to(cast.engineer.as_actor())) == [agent]
    assert list(Agent.objects.visible_to(cast.outsider.as_actor())) == [other_agent]
    assert list(HarnessVersion.objects.visible_to(cast.outsider.as_actor())) == [other_agent.stable]


def test_change__second_person_approves__is_in_force(agent, cast):
    change = Change.propose(
        agent=agent, kind="policy", document=small_policy(), rationale="few users", by=cast.engineer.as_actor()
    )
    assert agent.current_policy().profile == "default"

    change.approve(by=cast.approver.as_actor(), reason="agreed")

    agent.refresh_from_db()
    assert agent.current_policy().profile == "small"
    assert (agent.policy.number, change.status) == (1, "approved")


def test_change__by_its_proposer__is_refused(agent, cast):
    with acting(MACHINE, reason="two roles"):
        cast.engineer.memberships.create(team=cast.team, role="approver")
    change = Change.propose(
        agent=agent, kind="policy", document=default_policy(), rationale="mine", by=cast.engineer.as_actor()
    )

    with pytest.raises(SelfApprovalError):
        change.approve(by=cast.engineer.as_actor(), reason="mine too")


def test_change__decided__cannot_be_decided_again(agent, cast):
    change = Change.propose(
        agent=agent, kind="policy", document=default_policy(), rationale="x", by=cast.engineer.as_actor()
    )
    change.decline(by=cast.approver.as_actor(), reason="no")

    with pytest.raises(TransitionRefusedError):
        change.approve(by=cast.second_approver.as_actor(), reason="yes")


def test_change__another_was_put_in_force_since__is_refused(agent, cast):
    by = cast.engineer.as_actor()
    older = Change.propose(agent=agent, kind="policy", document={"profile": "default"}, rationale="old", by=by)
    newer = Change.propose(agent=agent, kind="policy", document={"risk": "high"}, rationale="tighten", by=by)
    aside = Change.propose(agent=agent, kind="objective", document={}, rationale="another kind", by=by)
    newer.approve(by=cast.approver.as_actor(), reason="ok")

    with pytest.raises(ChangeMovedError, match="propose it again"):
        older.approve(by=cast.second_approver.as_actor(), reason="ok")
    aside.approve(by=cast.second_approver.as_actor(), reason="ok")

    agent.refresh_from_db()
    assert agent.current_policy().risk == "high"
    assert older.status == Change.Status.PROPOSED


def test_change__approver_read_something_else__is_refused(agent, cast, api):
    change = Change.propose(
        agent=agent, kind="policy", document=small_policy(), rationale="x", by=cast.engineer.as_actor()
    )
    client, where = api(cast.approver), f"/api/v1/changes/{change.pk}"

    refused = client.post(f"{where}/approve", {"reason": "ok", "digest": "0" * 64}, format="json")
    read = client.get(where).json()["digest"]
    taken = client.post(f"{where}/approve", {"reason": "ok", "digest": read}, format="json")

    assert (refused.status_code, refused.json()["code"]) == (409, "change_moved")
    assert (taken.status_code, taken.json()["status"]) == (200, "approved")


def test_change__declined_by_its_proposer__is_refused(agent, cast, api):
    with acting(MACHINE, reason="two roles"):
        cast.engineer.memberships.create(team=cast.team, role="approver")
    change = Change.propose(
        agent=agent, kind="policy", document=default_policy(), rationale="mine", by=cast.engineer.as_actor()
    )

    answer = api(cast.engineer).post(f"/api/v1/changes/{change.pk}/decline", {"reason": "no"}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (403, "self_approval")
    assert "withdraw it instead" in answer.json()["detail"]


def test_change__document_does_not_validate__is_refused(agent, cast):
    with pytest.raises(DomainError, match="does not validate"):
        Change.propose(
            agent=agent, kind="policy", document={"risk": "none"}, rationale="x", by=cast.engineer.as_actor()
        )


def test_key__issued__authenticates_and_is_stored_as_a_digest(agent, cast):
    key, secret = issue(agent, cast)

    assert ApiKey.authenticate(secret) == key
    assert secret not in str(vars(key))
    assert ApiKey.authenticate(secret[:-1] + ("A" if secret[-1] != "A" else "B")) is None
    assert ApiKey.authenticate("wsk_nothing") is None


def test_key__expired_revoked_or_owner_gone__is_out(agent, cast):
    _, expired = issue(agent, cast, expires_at=timezone.now() - timedelta(seconds=1))
    revoked_key, revoked = issue(agent, cast)
    revoked_key.revoke(by=cast.administrator.as_actor(), reason="leaked")
    _, orphan = issue(agent, cast)
    cast.administrator.is_active = False
    cast.administrator.save()

    assert [ApiKey.authenticate(secret) for secret in (expired, revoked, orphan)] == [None, None, None]


def test_key__unknown_scope_or_wrong_kind__is_refused(agent, cast):
    with pytest.raises(InvalidKeyError, match="Unknown scopes"):
        issue(agent, cast, scopes=["approve_release"])
    with pytest.raises(InvalidKeyError, match="names its agent"):
        ApiKey.issue(kind="agent", name="k", owner=cast.administrator, by=MACHINE, scopes=["harness:read"])


def test_key__for_an_agent__needs_the_permission(agent, cast):
    with pytest.raises(NotPermittedError):
        ApiKey.issue(
            kind="agent",
            name="k",
            owner=cast.engineer,
            agent=agent,
            scopes=["harness:read"],
            by=cast.engineer.as_actor(),
        )


def test_add_agent__by_an_administrator__is_recorded(cast):
    agent = add_agent(team=cast.team, slug="fresh", name="Fresh", by=cast.administrator.as_actor(), reason="new")

    assert (agent.owner, agent.stable) == (cast.administrator, None)
    with pytest.raises(SlugTakenError):
        add_agent(team=cast.team, slug="fresh", name="Again", by=cast.administrator.as_actor(), reason="new")
    with pytest.raises(NotPermittedError):
        add_agent(team=cast.other_team, slug="x", name="X", by=cast.administrator.as_actor(), reason="new")


def test_describe_agent__by_an_administrator__changes_what_is_given_and_is_recorded(agent, cast):
    describe_agent(agent, endpoint="http://127.0.0.1:9", name="Desk", by=cast.administrator.as_actor(), reason="moved")

    stored = Agent.objects.get(pk=agent.pk)
    assert (stored.endpoint, stored.name, stored.purpose) == ("http://127.0.0.1:9", "Desk", "Answers customers.")
    event = Event.objects.get(action="agent.change")
    assert (event.actor, event.reason, event.facts) == ("administrator", "moved", {"fields": ["name", "endpoint"]})


def test_describe_agent__nothing_new__leaves_no_event(agent, cast):
    describe_agent(agent, name=agent.name, by=cast.administrator.as_actor(), reason="again")

    assert not Event.objects.filter(action="agent.change").exists()


def test_describe_agent__by_an_engineer__is_not_permitted(agent, cast):
    with pytest.raises(NotPermittedError):
        describe_agent(agent, endpoint="", by=cast.engineer.as_actor(), reason="moved")


def test_key__of_a_person__makes_no_further_keys(cast):
    key, _ = ApiKey.issue(kind="person", name="k", owner=cast.engineer, scopes=["view"], by=cast.engineer.as_actor())

    with pytest.raises(InvalidKeyError, match="keys do not make keys"):
        ApiKey.issue(kind="person", name="wider", owner=cast.engineer, scopes=["start_run"], by=key.as_actor())


def test_key__of_an_agent__neither_sees_nor_revokes_its_owners_keys(agent, cast):
    agents, _ = issue(agent, cast)
    own, _ = ApiKey.issue(
        kind="person", name="k", owner=cast.administrator, scopes=["view"], by=cast.administrator.as_actor()
    )

    assert list(ApiKey.objects.visible_to(agents.as_actor())) == [agents]
    with pytest.raises(NotPermittedError):
        own.revoke(by=agents.as_actor(), reason="mischief")


def test_key__leaked__may_end_itself(agent, cast):
    key, secret = issue(agent, cast)

    key.revoke(by=key.as_actor(), reason="leaked")

    assert ApiKey.authenticate(secret) is None


def test_change__document_no_database_can_keep__is_refused(agent, cast):
    document = default_policy() | {"note": "a\0b"}

    with pytest.raises(DomainError):
        Change.propose(agent=agent, kind="policy", document=document, rationale="x", by=cast.engineer.as_actor())


def issue(agent, cast, **options):
    options = {"scopes": ["harness:read"]} | options
    return ApiKey.issue(kind="agent", name="k", owner=cast.administrator, agent=agent, by=MACHINE, **options)


@contextmanager
def connection_allows_nothing():
    """Take the leave a test connection has to empty append-only tables, for the length of a block."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL whetstone.test_flush = 'off'")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL whetstone.test_flush = 'on'")
