"""Probes: what they say, and to whom."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from audit.chain import seal_events
from audit.models import Seal
from episodes.completeness import count_captured
from episodes.models import Episode
from harness.models import Agent, ApiKey
from jobs.models import Beat
from tests.console.world import make_episode
from tests.tampering import rewrite

FAR = {"REMOTE_ADDR": "203.0.113.9"}


def test_healthz__anyone__is_told_that_the_process_runs(client: Client) -> None:
    response = client.get("/healthz", **FAR)

    assert (response.status_code, response.content) == (200, b"ok\n")


def test_readyz__everything_there__names_each_part(client: Client, db: None) -> None:
    response = client.get("/readyz", **FAR)

    assert response.status_code == 200
    parts = {"database": "ok", "migrations": "ok", "redis": "ok", "analysis": "ok"}
    assert response.json() == {"ready": True, "parts": parts}


def test_readyz__a_gap_in_the_analysis__alarms_and_stays_ready(client: Client, agent: Agent) -> None:
    _gap(agent)

    response = client.get("/readyz", **FAR)

    assert (response.status_code, response.json()["ready"]) == (200, True)
    assert response.json()["parts"]["analysis"].startswith("ALARM: agents whose episodes may be lost: 1;")
    assert agent.slug not in response.content.decode()


def test_readyz__redis_away__is_not_ready_and_says_which_part(
    client: Client, db: None, settings: SimpleNamespace
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["parts"]["database"] == "ok"
    assert "not reachable" in response.json()["parts"]["redis"]


def test_metrics__from_this_machine__prints_the_gauges(client: Client, agent: Agent) -> None:
    make_episode(agent)
    Beat.objects.create(
        name="jobs.reconciler.reconcile", started_at=timezone.now(), finished_at=timezone.now() - timedelta(seconds=30)
    )

    body = client.get("/metrics").content.decode()

    values = dict(line.rsplit(" ", 1) for line in body.splitlines() if line and not line.startswith("#"))
    assert float(values["whetstone_capture_lag_seconds"]) >= 0
    assert float(values["whetstone_reconciler_age_seconds"]) >= 30
    assert float(values["whetstone_guard_age_seconds"]) == -1
    assert float(values["whetstone_unsealed_events"]) > 0
    assert values['whetstone_live_releases{status="running"}'] == "0.0"
    assert "whetstone_oldest_job_seconds" in values


def test_metrics__of_the_account__name_states_lag_and_gaps(client: Client, agent: Agent) -> None:
    assert b"whetstone_episodes_counted_age_seconds -1.0" in client.get("/metrics").content
    _gap(agent)
    count_captured()

    lines = client.get("/metrics").content.decode().splitlines()

    assert 'whetstone_episodes{agent="shop-desk",state="captured"} 1.0' in lines
    assert 'whetstone_episodes{agent="shop-desk",state="pending"} 1.0' in lines
    assert 'whetstone_episodes{agent="shop-desk",state="failed"} 0.0' in lines
    assert 'whetstone_analysis_gap{agent="shop-desk"} 1.0' in lines
    lag = next(line for line in lines if line.startswith('whetstone_analysis_lag_p95_seconds{agent="shop-desk"}'))
    assert float(lag.rsplit(" ", 1)[1]) == pytest.approx(500, abs=30)


def test_metrics_and_page__of_a_sealed_record__show_its_head(
    client: Client, agent: Agent, cast: SimpleNamespace
) -> None:
    assert b"whetstone_sealed_head 0.0" in client.get("/metrics").content
    sealed = seal_events()
    head = Seal.objects.order_by("-seq").first()
    client.force_login(cast.auditor)

    body = client.get("/metrics").content.decode()
    page = client.get(reverse("console:health")).content.decode()

    assert head is not None
    assert head.seq == sealed > 0
    assert f"whetstone_sealed_head {float(head.seq)}" in body
    assert f"sealed up to event {head.seq}" in page
    assert head.hash in page


def test_page__of_health__shows_the_account_and_cries_at_a_gap(
    client: Client, agent: Agent, cast: SimpleNamespace
) -> None:
    _gap(agent)
    count_captured()
    client.force_login(cast.auditor)
    outsider, nobody = Client(), Client()
    outsider.force_login(cast.outsider)
    nobody.force_login(User.objects.create_user("nobody-yet", password="correct horse", is_staff=True))
    address = reverse("console:health")

    body = client.get(address).content.decode()

    assert 'role="alert"' in body
    assert agent.name in body
    assert "analysis=pending" in body
    theirs = outsider.get(address).content.decode()
    assert agent.name not in theirs
    assert 'role="alert"' not in theirs
    assert nobody.get(address).status_code == 403
    assert Client().get(address).status_code == 302


def _gap(agent: Agent) -> None:
    episode = make_episode(agent)
    rewrite(Episode.objects.filter(pk=episode.pk), captured_at=timezone.now() - timedelta(seconds=500))


def test_metrics__from_elsewhere__needs_a_member_or_a_key_that_may_view(
    client: Client, cast: SimpleNamespace, agent: Agent, agent_key: str
) -> None:
    def key(*scopes: str) -> str:
        owner = cast.auditor
        return ApiKey.issue(kind="person", name="probe", owner=owner, scopes=scopes, by=owner.as_actor())[1]

    def status(secret: str) -> int:
        return int(client.get("/metrics", headers={"Authorization": f"Bearer {secret}"}, **FAR).status_code)

    nobody = User.objects.create_user("nobody-yet", password="correct horse", is_staff=True)
    member, stranger = Client(), Client()
    member.force_login(cast.auditor)
    stranger.force_login(nobody)

    assert client.get("/metrics", **FAR).status_code == 403
    assert client.get("/metrics", headers={"X-Forwarded-For": "198.51.100.7"}).status_code == 403
    assert status(key("view")) == 200
    assert status(key("read_audit")) == 403
    assert status(agent_key) == 403
    assert member.get("/metrics", **FAR).status_code == 200
    assert stranger.get("/metrics", **FAR).status_code == 403
