"""The exam asks what customers say, also where the platform knows no intent for it."""

from itertools import islice
from pathlib import Path

import pytest

from accounts.acting import MACHINE
from demo.customers import population
from demo.exam import cases_of, intent_of, unrecognized
from demo.scenario import load
from episodes.intents import Anchors, define
from inference.encoder import encode

SHOP = Path(__file__).parents[2] / "platform" / "demo" / "scenarios" / "shop"


@pytest.fixture
def anchors(agent):
    scenario = load(SHOP)
    for intent in scenario.intents:
        given = intent_of(scenario, intent)
        define(agent, name=given["name"], definition=given["definition"], examples=given["examples"], by=MACHINE)
    return Anchors.of(agent.pk)


def share_unassigned(texts, anchors):
    return sum(anchors.nearest(vector) is None for vector in encode(texts)) / len(texts)


def test_unrecognized__shop__gives_the_exam_cases_for_the_traffic_of_no_intent(anchors):
    scenario = load(SHOP)
    verify = cases_of(scenario, "verify", split="verify", recorded=True)
    openings = [
        customer.wordings[0].render(customer.order_id) for customer in islice(population(scenario, 400, 1), 400)
    ]

    nameless = unrecognized(
        verify,
        [anchors.nearest(vector) is not None for vector in encode([case["messages"][0]["content"] for case in verify])],
    )

    # More than the 5 % that the gate lets go uncovered: so the exam must have cases for it.
    assert 0.05 < share_unassigned(openings, anchors) < 0.25
    assert len(nameless) == 10
    assert {(case["intent"], case["kind"], case["split"]) for case in nameless} == {("", "edge", "verify")}
    assert len({case["cluster"] for case in nameless}) == 10
    assert not {case["name"] for case in nameless} & {case["name"] for case in verify}
