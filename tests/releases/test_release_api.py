"""Releases over REST: the same verbs, permissions and refusals."""

import pytest

from audit.models import Event
from releases import exposures
from releases.admission import lift_throttle
from releases.models import Release
from releases.serving import resolve
from releases.watching import watch

pytestmark = pytest.mark.django_db


def post(client, path, **body):
    return client.post(f"/api/v1/{path}", body, format="json")


def test_release__from_draft_to_running__over_rest(api, proposal, cast, agent):
    manager = api(cast.release_manager)
    made = post(manager, "releases", proposal=str(proposal.pk), reason="goes out")
    assert made.status_code == 201, made.content
    path, digest = f"releases/{made.json()['id']}", made.json()["plan_digest"]
    assert "harm is seen after" in made.json()["foreseen"]

    assert post(manager, f"{path}/submit", reason="ready").json()["status"] == "awaiting_approval"
    early = post(manager, f"{path}/start", reason="go")
    approved = post(api(cast.approver), f"{path}/approve", reason="right", plan_digest=digest)
    started = post(manager, f"{path}/start", reason="go")

    assert (early.status_code, early.json()["code"]) == (409, "approval_missing")
    assert approved.json()["num_approvals"] == 1
    assert (started.json()["status"], started.json()["weight"]) == ("running", 0.05)


def test_release__refusals__have_stable_codes(api, awaiting, proposal, cast):
    release = awaiting(proposal)
    path = f"releases/{release.pk}"

    moved = post(api(cast.approver), f"{path}/approve", reason="right", plan_digest="0" * 64)
    own = post(api(cast.release_manager), f"{path}/approve", reason="right", plan_digest=release.plan_digest)
    by_hand = post(api(cast.release_manager), f"{path}/promote", reason="now")
    silent = post(api(cast.release_manager), f"{path}/withdraw")
    shapeless = post(api(cast.approver), f"{path}/approve", reason="right")
    missing = post(api(cast.outsider), f"{path}/approve", reason="right", plan_digest=release.plan_digest)

    assert (moved.status_code, moved.json()["code"]) == (409, "plan_moved")
    assert (own.status_code, own.json()["code"]) == (403, "not_permitted")
    assert by_hand.status_code in (403, 409)
    assert silent.status_code >= 400
    assert shapeless.json()["code"] == "invalid"
    assert missing.status_code == 404
    release.refresh_from_db()
    assert release.status == "awaiting_approval"


def test_release__plan_override__is_part_of_the_digest(api, proposal, cast):
    manager = api(cast.release_manager)
    steps = [{"weight": 0.5, "min_users": 50, "bake_s": 60.0}]

    bad = post(manager, "releases", proposal=str(proposal.pk), reason="x", plan={"alpha": 0.2})
    made = post(manager, "releases", proposal=str(proposal.pk), reason="x", plan={"steps": steps})

    assert (bad.status_code, bad.json()["code"]) == (409, "release_refused")
    assert made.json()["plan"]["steps"] == steps


def test_release__lists_and_ticks__are_visible_to_the_team_only(api, started, proposal, cast):
    release = started(proposal)
    watch(release.pk)

    rows = api(cast.auditor).get("/api/v1/releases", {"agent": "shop-desk", "status": "running"}).json()["results"]
    ticks = api(cast.auditor).get(f"/api/v1/releases/{release.pk}/ticks").json()["results"]

    assert [row["id"] for row in rows] == [str(release.pk)]
    assert ticks[0]["status"] == "hold"
    assert ticks[0]["reading"]["decision"] == "wait"
    assert api(cast.outsider).get("/api/v1/releases").json()["results"] == []
    assert api(cast.outsider).get(f"/api/v1/releases/{release.pk}/ticks").status_code == 404


def test_release__stopped_by_on_call__and_extended_only_when_inconclusive(api, started, proposal, cast):
    release = started(proposal)
    path = f"releases/{release.pk}"

    paused = post(api(cast.on_call), f"{path}/pause", reason="looks odd")
    resumed = post(api(cast.release_manager), f"{path}/resume", reason="it was not")
    extended = post(api(cast.release_manager), f"{path}/extend", reason="more", seconds=5)
    advanced = post(api(cast.release_manager), f"{path}/advance", reason="eager")
    stopped = post(api(cast.on_call), f"{path}/roll_back", reason="complaints")

    assert (paused.json()["status"], resumed.json()["status"]) == ("paused", "running")
    assert extended.status_code == 409
    assert (advanced.status_code, advanced.json()["code"]) == (409, "release_refused")
    assert (stopped.json()["status"], stopped.json()["weight"]) == ("rolling_back", 0.0)


def test_revert__by_on_call__needs_a_reason_and_no_approval(api, started, proposal, cast, agent):
    release = started(proposal)

    silent = post(api(cast.on_call), "agents/shop-desk/revert")
    forbidden = post(api(cast.approver), "agents/shop-desk/revert", reason="stop")
    done = post(api(cast.on_call), "agents/shop-desk/revert", reason="complaints")
    again = post(api(cast.on_call), "agents/shop-desk/revert", reason="complaints")

    assert (silent.status_code, forbidden.status_code) == (422, 403)
    assert (done.json()["id"], done.json()["status"]) == (str(release.pk), "rolling_back")
    assert again.status_code == 409


def test_lift_throttle__by_a_release_manager__is_on_the_record(api, agent, cast):
    assert post(api(cast.engineer), "agents/shop-desk/lift-throttle", reason="fine").status_code == 403
    assert post(api(cast.release_manager), "agents/shop-desk/lift-throttle", reason="a new tool").status_code == 204

    assert Event.objects.get(action="agent.lift_throttle").reason == "a new tool"
    lift_throttle(agent, by=cast.release_manager.as_actor(), reason="again")


def test_release__whole_table_of_edges__has_an_endpoint_each(api, started, proposal, cast):
    release = started(proposal)

    for edge in Release.EDGES:
        answer = post(api(cast.auditor), f"releases/{release.pk}/{edge.verb}", reason="let me")
        assert answer.status_code in (403, 409), edge.verb
        assert answer.json()["code"] in ("not_permitted", "transition_refused"), (edge.verb, answer.json())


def test_exposures__database_has_them__after_serving_over_rest(api, started, proposal, fetch_key):
    release = started(proposal)
    api(fetch_key).get("/api/v1/agents/shop-desk/harness", {"user": "ann"})
    exposures.flush()

    row = release.exposures.get()
    assert (row.subject, row.arm, row.weight) == ("ann", resolve("shop-desk", "ann").arm, 0.05)
