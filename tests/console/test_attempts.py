"""First-pass against final success: the numbers, the agent's page and the same numbers over REST."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from console.attempts import Measured, Report, report
from episodes.detectors.attempts import Attempts
from harness.models import Agent
from tests.episodes.factories import captured, item
from tests.episodes.test_attempts import check

ADDRESS = "/api/v1/agents/shop-desk/attempts"


@pytest.fixture
def tried(agent: Agent) -> Agent:
    """Ten runs: six passed at once, two at the second attempt, two never."""
    once, again = [check(True)], [check(False), check(True, 2)]
    never = [check(False), check(False, 2), check(False, 3)]
    captured(agent, *(item(f"run {n}", steps=steps) for n, steps in enumerate([once] * 6 + [again] * 2 + [never] * 2)))
    return agent


def test_report__of_runs__has_shares_and_mean_with_their_intervals() -> None:
    runs = [Attempts(1, True, True)] * 6 + [Attempts(2, False, True)] * 2 + [Attempts(3, False, False)] * 2

    found = report(runs)

    assert found.number == 10
    assert found.first_pass is not None
    assert (found.first_pass.value, found.first_pass.lower, found.first_pass.upper) == pytest.approx(
        (0.6, 0.31267, 0.83182), abs=1e-4
    )
    assert found.final is not None
    assert (found.final.value, found.final.lower, found.final.upper) == pytest.approx((0.8, 0.49016, 0.94331), abs=1e-4)
    assert found.attempts is not None
    # as scipy's t.interval has it
    assert (found.attempts.value, found.attempts.lower, found.attempts.upper) == pytest.approx(
        (1.6, 0.99681, 2.20319), abs=1e-4
    )


def test_report__of_none_or_one__claims_no_more_than_it_knows() -> None:
    one = report([Attempts(1, True, True)])

    assert report([]) == Report(0)
    assert one.attempts == Measured(1.0, None, None)
    assert one.first_pass is not None
    assert one.first_pass.lower == pytest.approx(0.2065, abs=1e-3)
    assert one.first_pass.upper == 1.0


def test_attempts__over_rest__are_those_of_the_page(
    tried: Agent, cast: SimpleNamespace, api: Callable[..., APIClient], client: Client
) -> None:
    client.force_login(cast.engineer)

    body = api(cast.engineer).get(ADDRESS).json()
    page = client.get(reverse("admin:harness_agent_change", args=[tried.pk])).content.decode()

    assert body["number"] == 10
    assert (body["first_pass"]["value"], body["final"]["value"], body["attempts"]["value"]) == (0.6, 0.8, 1.6)
    for shown in ("First attempt against the end", "60 %", "80 %", "95 %: 31 to 83 %", "95 %: 49 to 94 %", "1.60"):
        assert shown in page


def test_attempts__of_an_agent_without__say_so(
    agent: Agent, cast: SimpleNamespace, api: Callable[..., APIClient], client: Client
) -> None:
    client.force_login(cast.engineer)

    body = api(cast.engineer).get(ADDRESS).json()
    page = client.get(reverse("admin:harness_agent_change", args=[agent.pk])).content.decode()

    assert body == {"number": 0, "first_pass": None, "final": None, "attempts": None}
    assert "tells of attempts" in page


def test_attempts__asked_by_others__are_refused(
    tried: Agent, cast: SimpleNamespace, agent_key: str, api: Callable[..., APIClient]
) -> None:
    assert api(cast.outsider).get(ADDRESS).status_code == 404
    assert api(agent_key).get(ADDRESS).status_code == 403
    assert api(None).get(ADDRESS).status_code in {401, 403}
