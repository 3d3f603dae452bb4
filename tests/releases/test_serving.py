"""Which harness a user gets, over the function and over REST."""

import hashlib
import json
import time
from contextlib import contextmanager

import pytest
from django.db import connection

from accounts.acting import MACHINE
from harness.models import Agent, ApiKey, HarnessVersion
from releases import exposures, snapshot
from releases.bucketing import arm
from releases.exceptions import NothingStableError
from releases.models import Exposure, Release, UserState
from releases.serving import resolve
from tests.releases.conftest import issue_fetch_key

pytestmark = pytest.mark.django_db

USERS = [f"user-{number}" for number in range(300)]


def test_resolve__no_release__serves_stable(agent):
    found = resolve("shop-desk", "ann", "talk-1")

    assert (found.digest, found.resolved_digest) == (agent.stable.digest,) * 2
    assert (found.release, found.arm, found.weight, found.reason) == (None, None, None, "stable")
    assert hashlib.sha256(found.body).hexdigest() == found.digest
    assert found.state == "current"


def test_resolve__unknown_agent__is_refused(agent):
    with pytest.raises(NothingStableError):
        resolve("nobody", "ann")


def test_resolve__live_release__splits_as_bucketing_says(agent, started, proposal):
    release = started(proposal)

    for user in USERS:
        found = resolve("shop-desk", user)
        expected = arm(release.salt, user, release.weight).value
        assert (found.arm, found.release, found.weight) == (expected, str(release.pk), release.weight)
        version = release.version if expected == "canary" else release.baseline
        assert found.digest == version.digest
    assert len({resolve("shop-desk", user).arm for user in USERS}) == 2


def test_resolve__no_user__serves_stable_without_an_arm(agent, started, proposal):
    started(proposal)

    found = resolve("shop-desk")

    assert (found.digest, found.arm) == (agent.stable.digest, None)


def test_resolve__weight_rises__only_adds_users(agent, started, proposal):
    release = started(proposal)
    before = {user for user in USERS if resolve("shop-desk", user).arm == "canary"}

    Release._base_manager.filter(pk=release.pk).update(step=2, weight=0.5)
    after = {user for user in USERS if resolve("shop-desk", user).arm == "canary"}

    assert before < after


def test_resolve__pinned_conversation__keeps_its_version_and_draw(agent, started, proposal):
    release = started(proposal)
    user = next(user for user in USERS if 0.05 <= _bucket(release, user) < 0.5)
    first = resolve("shop-desk", user, "talk-1")
    Release._base_manager.filter(pk=release.pk).update(step=2, weight=0.5)

    pinned = resolve("shop-desk", user, "talk-1", first.pin)
    unpinned = resolve("shop-desk", user, "talk-2", first.pin)

    assert (pinned.arm, pinned.weight, pinned.digest, pinned.reason) == ("control", 0.05, first.digest, "pinned")
    assert pinned.pin == first.pin
    assert unpinned.arm == "canary"
    assert "foreign" in unpinned.reason


def test_resolve__pin_of_a_rolled_back_release__is_overridden(agent, started, proposal, cast):
    release = started(proposal)
    user = next(user for user in USERS if _bucket(release, user) < 0.05)
    first = resolve("shop-desk", user, "talk-1")

    release.roll_back(by=cast.on_call.as_actor(), reason="complaints")
    found = resolve("shop-desk", user, "talk-1", first.pin)

    assert first.digest == release.version.digest
    assert found.digest == agent.stable.digest
    assert "rolled back" in found.reason


def test_resolve__pinned_before_the_release__keeps_the_old_version(agent, started, proposal):
    first = resolve("shop-desk", "ann", "talk-1")
    release = started(proposal)
    Release._base_manager.filter(pk=release.pk).update(weight=0.99)

    found = resolve("shop-desk", "ann", "talk-1", first.pin)

    assert (found.digest, found.arm) == (first.digest, None)


def test_resolve__forged_pin__is_not_honored(agent):
    found = resolve("shop-desk", "ann", "talk-1", "e30.AAAA")

    assert found.digest == agent.stable.digest
    assert "signature" in found.reason


def test_resolve__promoted__holds_a_few_users_out(agent, started, proposal):
    release = promoted(started(proposal))

    arms = {user: resolve("shop-desk", user) for user in USERS}

    held_out = {user for user, found in arms.items() if found.arm == "control"}
    assert 0 < len(held_out) < 40
    assert {found.digest for user, found in arms.items() if user in held_out} == {release.baseline.digest}
    assert {found.digest for user, found in arms.items() if user not in held_out} == {release.version.digest}
    assert {found.weight for found in arms.values()} == {0.95}


def test_resolve__own_layer__stands_over_the_version(agent, cast):
    overlay = {"memory": {"user": {"name": "Ann"}}, "prompt": {"preferences": {"tone": "short"}}}
    UserState.write(agent=agent, subject="ann", overlay=overlay, by=cast.support.as_actor(), reason="asked for it")

    found, other = resolve("shop-desk", "ann"), resolve("shop-desk", "bob")

    assert json.loads(found.body)["memory"]["user"] == {"name": "Ann"}
    assert found.digest == other.digest == other.resolved_digest
    assert found.resolved_digest == hashlib.sha256(found.body).hexdigest() != found.digest


def test_exposures__served_often__are_written_once_per_stage(agent, started, proposal):
    release = started(proposal)
    for _ in range(3):
        resolve("shop-desk", "ann")
    exposures.flush()
    exposures._start_over()  # another process serves the same user
    resolve("shop-desk", "ann")
    exposures.flush()
    Release._base_manager.filter(pk=release.pk).update(step=1, weight=0.25)
    resolve("shop-desk", "ann")
    exposures.flush()

    rows = list(Exposure.objects.filter(release=release).order_by("stage").values_list("subject", "stage", "weight"))

    assert rows == [("ann", 0, 0.05), ("ann", 1, 0.25)]


def test_exposures__a_mere_look__is_none(agent, started, proposal):
    started(proposal)
    resolve("shop-desk", "ann", served=False)

    assert exposures.flush() == 0


def test_harness__fetched__has_everything_a_client_needs(agent, api, fetch_key):
    answer = api(fetch_key).get("/api/v1/agents/shop-desk/harness", {"user": "ann", "conversation": "talk-1"})

    assert answer.status_code == 200
    body = json.loads(answer.content)
    assert body["document"] == agent.stable.document
    wanted = "version digest resolved_digest release arm weight reason pin ttl_s stale_ok_s state"
    assert set(wanted.split()) <= body.keys()
    assert answer["Whetstone-Pin"] == body["pin"]


def test_harness__etag_known__is_not_sent_again(agent, api, fetch_key, started, proposal):
    client = api(fetch_key)
    first = client.get("/api/v1/agents/shop-desk/harness", {"user": "ann"})
    again = client.get("/api/v1/agents/shop-desk/harness", {"user": "ann"}, headers={"If-None-Match": first["ETag"]})
    started(proposal)
    moved = client.get("/api/v1/agents/shop-desk/harness", {"user": "ann"}, headers={"If-None-Match": first["ETag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert moved.status_code == 200


def test_harness__without_bundle__leaves_the_document_out(agent, api, fetch_key):
    client = api(fetch_key)
    body = json.loads(client.get("/api/v1/agents/shop-desk/harness", {"user": "ann", "bundle": "0"}).content)

    bundle = client.get(f"/api/v1/harnesses/{body['digest']}")

    assert "document" not in body
    assert hashlib.sha256(bundle.content).hexdigest() == body["digest"]
    assert "immutable" in bundle["Cache-Control"]


def test_harness__pin_in_header__is_honored(agent, api, fetch_key):
    client = api(fetch_key)
    query = {"user": "ann", "conversation": "talk-1"}
    pin = client.get("/api/v1/agents/shop-desk/harness", query)["Whetstone-Pin"]

    body = json.loads(client.get("/api/v1/agents/shop-desk/harness", query, headers={"Whetstone-Pin": pin}).content)

    assert body["reason"] == "pinned"


def test_harness__key_of_another_agent_or_scope__is_refused(agent, other_agent, api, cast, fetch_key):
    _, writes = ApiKey.issue(
        kind="agent", name="w", owner=cast.administrator, agent=agent, scopes=["episode:write"], by=MACHINE
    )

    assert api(fetch_key).get("/api/v1/agents/warehouse-desk/harness").status_code == 404
    assert api(fetch_key).get(f"/api/v1/harnesses/{'0' * 64}").status_code == 404
    assert api(writes).get("/api/v1/agents/shop-desk/harness").status_code == 403
    assert api(cast.engineer).get("/api/v1/agents/shop-desk/harness").status_code in (401, 403)
    assert api().get("/api/v1/agents/shop-desk/harness").status_code == 401


def test_harness__bad_user__is_named(agent, api, fetch_key):
    answer = api(fetch_key).get("/api/v1/agents/shop-desk/harness", {"user": "a\0b"})

    assert (answer.status_code, answer.json()["code"]) == (400, "nul")


def test_harness__key_revoked__is_out_at_once(agent, api, cast, fetch_key):
    client = api(fetch_key)
    assert client.get("/api/v1/agents/shop-desk/harness").status_code == 200

    ApiKey.objects.get(name="fetching").revoke(by=cast.administrator.as_actor(), reason="leaked")

    assert client.get("/api/v1/agents/shop-desk/harness").status_code == 401


@contextmanager
def silent_database(settings):
    """Let nothing answer where the database was, long enough for the snapshot to have asked in vain."""
    settings.SERVING_POLL_S = 0.01
    good = connection.settings_dict["HOST"], connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT="1")
    time.sleep(0.05)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(HOST=good[0], PORT=good[1])


@pytest.mark.django_db(transaction=True)
def test_harness__database_silent__serves_the_last_snapshot_and_says_so(agent, api, fetch_key, settings):
    client = api(fetch_key)
    assert client.get("/api/v1/agents/shop-desk/harness").status_code == 200
    with silent_database(settings):
        answer = client.get("/api/v1/agents/shop-desk/harness", {"user": "ann"})
        body = json.loads(answer.content)

    assert (answer.status_code, body["state"]) == (200, "unavailable")
    assert body["age_s"] > 0
    time.sleep(0.05)
    assert json.loads(client.get("/api/v1/agents/shop-desk/harness").content)["state"] == "current"


@pytest.mark.django_db(transaction=True)
def test_harness__key_was_refused__does_not_come_back_while_the_database_is_silent(
    agent, api, cast, fetch_key, settings
):
    client, other = api(fetch_key), api(issue_fetch_key(agent, cast, "another"))
    for one in (client, other):
        assert one.get("/api/v1/agents/shop-desk/harness").status_code == 200
    ApiKey.objects.get(name="fetching").revoke(by=cast.administrator.as_actor(), reason="leaked")
    assert client.get("/api/v1/agents/shop-desk/harness").status_code == 401

    with silent_database(settings):
        refused = client.get("/api/v1/agents/shop-desk/harness").status_code
        known = other.get("/api/v1/agents/shop-desk/harness").status_code

    assert refused == 503
    assert known == 200


@pytest.mark.django_db(transaction=True)
def test_snapshot__change_committed__is_heard_within_a_second(agent, settings):
    settings.SERVING_LISTENS, settings.SERVING_POLL_S = True, 1.0
    before = resolve("shop-desk", "ann").digest
    version = HarnessVersion.create(
        agent=agent,
        document=agent.stable.document | {"memory": {"rules": {}}},
        parent=agent.stable,
        by=MACHINE,
        note="x",
    )
    Agent.objects.get(pk=agent.pk).set_stable(version, expected=agent.stable, by=MACHINE, reason="new")

    until = time.monotonic() + 3
    while resolve("shop-desk", "ann").digest == before and time.monotonic() < until:
        time.sleep(0.02)
    found = resolve("shop-desk", "ann").digest
    snapshot.stop()

    assert found == version.digest


def test_resolve__warm__asks_the_database_nothing(
    agent, api, fetch_key, settings, started, proposal, django_assert_num_queries
):
    started(proposal)
    settings.SERVING_POLL_S = 60.0
    client = api(fetch_key)
    client.get("/api/v1/agents/shop-desk/harness", {"user": "ann"})

    with django_assert_num_queries(0):
        for number in range(20):
            user = {"user": f"user-{number}", "conversation": "c", "bundle": "0"}
            assert client.get("/api/v1/agents/shop-desk/harness", user).status_code == 200


def test_user_state__written_read_merged_erased(agent, api, agent_key):
    client = api(agent_key)
    path = "/api/v1/agents/shop-desk/users/ann/state"
    assert client.get(path).status_code == 404

    put = client.put(path, {"overlay": {"memory": {"user": {"name": "Ann"}}}}, format="json")
    patch = client.patch(path, {"overlay": {"memory": {"user": {"city": "Oslo"}}}}, format="json")
    stale = client.put(path, {"overlay": {}}, format="json", headers={"If-Match": put["ETag"]})
    fresh = client.put(path, {"overlay": {}}, format="json", headers={"If-Match": patch["ETag"]})
    twice = client.put(path, {"overlay": {}}, format="json", headers={"If-None-Match": "*"})
    gone = client.delete(path)

    assert (put.status_code, patch.status_code, fresh.status_code, gone.status_code) == (200, 200, 200, 204)
    assert patch.json()["overlay"] == {"memory": {"user": {"name": "Ann", "city": "Oslo"}}}
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    assert twice.status_code == 412
    assert client.get(path).status_code == 404


def test_user_state__outside_its_spaces__is_refused(agent, api, agent_key):
    answer = api(agent_key).put(
        "/api/v1/agents/shop-desk/users/ann/state", {"overlay": {"prompt": {"system": "obey"}}}, format="json"
    )

    assert answer.status_code >= 400
    assert not UserState.objects.exists()


def test_user_state__people__need_the_permission(agent, api, cast, fetch_key):
    path = "/api/v1/agents/shop-desk/users/ann/state"
    body = {"overlay": {"memory": {"user": {"name": "Ann"}}}}

    assert api(cast.support).put(path, body, format="json").status_code == 200
    assert api(cast.engineer).put(path, body, format="json").status_code == 403
    assert api(cast.outsider).get(path).status_code == 404
    assert api(fetch_key).get(path).status_code == 403


def promoted(release):
    release.begin_promotion(by=MACHINE, reason="every condition is met")
    release.promote(by=MACHINE, reason="every condition is met")
    release.refresh_from_db()
    return release


def _bucket(release, user):
    from releases.bucketing import bucket

    return bucket(release.salt, user)
