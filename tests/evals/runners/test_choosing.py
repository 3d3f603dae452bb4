"""Which runner an agent gets, and what is said where it can have none."""

import pytest

from accounts.acting import MACHINE, acting
from accounts.exceptions import NotPermittedError
from evals.exceptions import RunnerError
from evals.runners import HttpRunner, OpenAiRunner, runner_for
from evals.runners.internal_runner import InternalRunner
from harness.models import Agent
from harness.registration import describe_agent


def as_agent(agent, **fields):
    for name, value in fields.items():
        setattr(agent, name, value)
    return agent


@pytest.mark.parametrize(
    ("fields", "kind", "name"),
    [
        ({"endpoint": "http://127.0.0.1:9"}, HttpRunner, "http http://127.0.0.1:9"),
        ({"runner": "openai", "endpoint": "http://127.0.0.1:9/v1"}, OpenAiRunner, "openai http://127.0.0.1:9/v1"),
        ({"runner": "critic", "level": 1}, InternalRunner, "internal critic"),
        ({"runner": "proposer", "level": 1}, InternalRunner, "internal proposer"),
        ({"runner": "judge", "level": 2}, InternalRunner, "internal judge"),
    ],
)
def test_runner_for__setting__chooses(agent, fields, kind, name):
    with runner_for(as_agent(agent, **fields)) as runner:
        assert isinstance(runner, kind)
        assert runner.name == name


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "has no endpoint"),
        ({"runner": "openai"}, "has no model to ask"),
        ({"runner": "external"}, "its team's own CI"),
        ({"runner": "critic"}, "is of level 0 and cannot be played as the platform's critic"),
        ({"runner": "judge", "level": 1}, "which is of level 2"),
    ],
)
def test_runner_for__cannot_play__says_what_is_missing(agent, fields, words, settings):
    settings.INFERENCE_ENDPOINT = ""

    with pytest.raises(RunnerError, match=words):
        runner_for(as_agent(agent, **fields))


def test_runner__limits__are_the_policys(agent):
    agent.endpoint = "http://127.0.0.1:9"

    with runner_for(agent) as runner:
        assert runner._connections._timeout_s == agent.current_policy().playing.trial_timeout_s == 60


def test_describe_agent__runner__is_a_governed_setting(agent, cast):
    describe_agent(agent, runner="openai", by=cast.administrator.as_actor(), reason="no service of its own")

    stored = Agent.objects.get(pk=agent.pk)
    assert stored.runner == "openai"
    assert stored.history.first().history_actor == "administrator"
    with pytest.raises(NotPermittedError):
        describe_agent(agent, runner="http", by=cast.engineer.as_actor(), reason="mine")


def test_agents_api__runner__is_chosen_and_checked(agent, cast, api):
    changed = api(cast.administrator).patch("/api/v1/agents/shop-desk", {"runner": "openai"}, format="json")
    refused = api(cast.administrator).patch("/api/v1/agents/shop-desk", {"runner": "magic"}, format="json")

    assert (changed.status_code, changed.json()["runner"]) == (200, "openai")
    assert refused.status_code in {400, 422}
    with acting(MACHINE, reason="read"):
        assert Agent.objects.get(pk=agent.pk).runner == "openai"
