"""An agent's key is remembered between its reports, and what ends or changes it counts at the very next one."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.acting import MACHINE
from episodes.models import Episode
from harness.models import Agent, ApiKey, put_in_force
from harness.policy import default_policy

type Report = Callable[[], int]

EPISODES, TRACES = "/api/v1/episodes", "/v1/traces"


@pytest.fixture(params=[EPISODES, TRACES])
def report(request: pytest.FixtureRequest, api: Any, agent_key: str) -> Report:
    """Return a function that reports with the key and returns the status of the answer; it was called once."""
    client, path = api(agent_key), request.param
    body = json.dumps([] if path == EPISODES else {"resourceSpans": []})

    def send() -> int:
        return int(client.generic("POST", path, body, content_type="application/json").status_code)

    assert send() < 300
    return send


def test_report__key_revoked__is_refused(report: Report, agent: Agent) -> None:
    ApiKey.objects.get(agent=agent).revoke(by=MACHINE, reason="it leaked")

    assert report() == 401


def test_report__owner_deactivated__is_refused(report: Report, agent: Agent, cast: SimpleNamespace) -> None:
    key = ApiKey.objects.get(agent=agent)
    ApiKey._base_manager.filter(pk=key.pk).update(owner=cast.engineer)
    assert ApiKey.objects.get(agent=agent).owner == cast.engineer
    browser = Client()
    browser.force_login(cast.administrator)

    browser.post(reverse("admin:accounts_user_verb", args=(cast.engineer.pk, "deactivate")), {"reason": "left"})

    assert report() == 401


def test_report__key_run_out__is_refused(report: Report, agent: Agent, api: Any, cast: SimpleNamespace) -> None:
    _, secret = ApiKey.issue(
        kind="agent", name="short", owner=cast.administrator, agent=agent, scopes=["episode:write"], by=MACHINE,
        expires_at=timezone.now() + timedelta(seconds=0.5),
    )  # fmt: skip
    client = api(secret)
    assert client.post(EPISODES, [], format="json").status_code == 202
    time.sleep(0.6)

    assert client.post(EPISODES, [], format="json").status_code == 401


def test_report__policy_put_in_force__is_followed(api: Any, agent: Agent, agent_key: str) -> None:
    client, said = (
        api(agent_key),
        {"input": {"messages": [{"role": "user", "content": "mail me at ann@kettle-makers.com"}]}},
    )
    client.post(EPISODES, {"id": "before", **said}, format="json")

    policy = default_policy() | {"redaction": {"kinds": []}}
    put_in_force(agent, "policy", policy, by=MACHINE, reason="nothing is to be cut")
    client.post(EPISODES, {"id": "after", **said}, format="json")

    texts = dict(Episode.objects.values_list("external_id", "input"))
    assert "ann@kettle-makers.com" not in str(texts["before"])
    assert "ann@kettle-makers.com" in str(texts["after"])


def test_report__known_key__costs_one_look_at_the_revision(
    api: Any, agent_key: str, django_assert_max_num_queries: Any
) -> None:
    client = api(agent_key)
    client.post(EPISODES, {"id": "first"}, format="json")

    # Revision, savepoint, what is known, conversation, two inserts, release.
    with django_assert_max_num_queries(7) as queries:
        assert client.post(EPISODES, {"id": "second"}, format="json").status_code == 202

    assert not [one["sql"] for one in queries.captured_queries if "harness_apikey" in one["sql"]]
