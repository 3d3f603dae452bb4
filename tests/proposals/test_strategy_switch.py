"""A strategy drafts for every team: who switches it answers for all of them."""

import pytest
from django.urls import reverse

from audit.models import Event
from proposals.drafters import draft_for_pattern, strategy_row
from proposals.strategies import STRATEGIES
from tests.proposals.conftest import ANSWER


@pytest.fixture
def strategy(agent):
    return strategy_row(next(spec for spec in STRATEGIES if spec.slug == "context"))


def switch(api, person, verb, reason="it drafts nonsense"):
    return api(person).post(f"/api/v1/strategies/context/{verb}", {"reason": reason}, format="json")


def test_disable__by_the_administrator__stops_its_drafts_and_is_recorded(
    strategy, api, cast, pattern, episode_of, correct
):
    correct([episode_of(n) for n in range(4)], answer=ANSWER, title="Abroad")

    answer = switch(api, cast.administrator, "disable")

    assert (answer.status_code, answer.json()["is_enabled"]) == (200, False)
    assert draft_for_pattern(pattern) == ([], [])
    assert switch(api, cast.administrator, "enable").json()["is_enabled"] is True
    assert [event.action for event in Event.objects.filter(action__startswith="strategy.").order_by("id")] == [
        "strategy.disable",
        "strategy.enable",
    ]
    assert strategy.history.count() == 3
    assert len(draft_for_pattern(pattern)[0]) == 1


def test_switch__without_right_reason_or_change__is_refused(strategy, api, cast):
    answers = [
        switch(api, cast.engineer, "disable"),
        switch(api, cast.administrator, "disable", " "),
        switch(api, cast.administrator, "enable"),
    ]

    assert answers[0].status_code == 403
    assert {answer.status_code for answer in answers[1:]} <= {409, 422}
    strategy.refresh_from_db()
    assert strategy.is_enabled


def test_switch__team_that_shares_the_platform__must_agree(strategy, other_agent, api, cast):
    assert switch(api, cast.administrator, "disable").status_code == 403


def test_button__stands_for_the_administrator_alone(strategy, cast, client):
    page = reverse("admin:proposals_strategy_change", args=(strategy.pk,))
    button = reverse("admin:proposals_strategy_verb", args=(strategy.pk, "disable"))
    shown = {}
    for name in ("engineer", "administrator"):
        client.force_login(getattr(cast, name))
        shown[name] = button in client.get(page).content.decode()

    client.post(button, {"reason": "it drafts nonsense"})

    strategy.refresh_from_db()
    assert shown == {"engineer": False, "administrator": True}
    assert not strategy.is_enabled
