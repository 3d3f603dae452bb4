from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from evals.gate.policy import GatePolicy
from harness.canonical import DocumentError, canonical_bytes, parse_json
from harness.controller import Candidate, Situation, Watch, acceleration_alarm, start_refusals
from harness.objective import Objective, default_objective, demo_objective
from harness.policy import (
    PROFILES,
    Difference,
    Policy,
    Velocity,
    default_policy,
    demo_policy,
    differences,
    small_policy,
    validate_policy,
)
from releases import plan

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
VELOCITY = Velocity()


@pytest.mark.parametrize("name", ["default", "small", "demo"])
def test_profiles__shipped_document__survives_its_canonical_bytes(name):
    document = PROFILES[name]()

    policy = validate_policy(parse_json(canonical_bytes(document)))

    assert policy.profile == name
    assert policy.gate == policy.plan == {"profile": name}
    assert policy.document() == document


@pytest.mark.parametrize("name", ["default", "small", "demo"])
def test_profiles__gate_and_plan__are_shipped_by_their_stages(name):
    assert GatePolicy.from_mapping(PROFILES[name]()["gate"]).profile == name
    assert plan.profile(PROFILES[name]()["plan"]["profile"])


def test_policy__nothing_given__is_the_default_profile():
    assert Policy() == Policy.model_validate({}) == validate_policy(default_policy())


def test_differences__demo_from_default__are_clocks_and_shipped_sizes_only():
    assert [one.path for one in differences(demo_policy(), default_policy())] == [
        "/gate/profile",
        "/plan/profile",
        "/profile",
        "/velocity/cooldown_s",
        "/velocity/throttle_s",
    ]


def test_differences__missing_and_added_values__are_listed_as_none():
    policy = {**small_policy(), "gate": {"profile": "small", "trials": 2}}
    del policy["benchmark"]

    assert differences(policy, {**small_policy(), "benchmark": "shop"}) == [
        Difference("/benchmark", "shop", None),
        Difference("/gate/trials", None, 2),
    ]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"unknown": 1}, "/unknown"),
        ({"risk": "medium"}, "/risk"),
        ({"patch": {"lines": {"promt": 3}}}, ""),
        ({"patch": {"lines": {"prompt": -1}}}, ""),
        ({"patch": {"max_operations": "64"}}, "/patch/max_operations"),
        ({"gate": {"profile": 3}}, "/gate"),
        ({"redaction": {"kinds": ["names"]}}, ""),
        ({"effect_limits": {"person_at": 0.3}}, ""),
        ({"approvals": {"low_risk": 0}}, "/approvals/low_risk"),
        ({"autonomy": {"mode": "bounded"}}, ""),
    ],
)
def test_validate_policy__wrong__is_refused_with_its_path(document, path):
    with pytest.raises(DocumentError) as refused:
        validate_policy(document)

    assert (refused.value.code, refused.value.path) == ("invalid_policy", path)


def bounded(risk="low", **standing):
    given = {"layers": ["context"], "effect_limit": 0.05, "max_weight": 0.5, **standing}
    return {"risk": risk, "autonomy": {"mode": "bounded", "standing": given}}


@pytest.mark.parametrize(
    "document",
    [bounded(risk="high"), bounded(layers=["context", "guardrails"]), bounded(effect_limit=0.10), bounded(layers=[])],
)
def test_validate_policy__standing_approval_that_goes_too_far__is_refused(document):
    with pytest.raises(DocumentError):
        validate_policy(document)


def test_stands_for__within_layers_effect_and_weight__only():
    policy = validate_policy(bounded())

    assert policy.stands_for("context", overall_gain=0.05, weight=0.5)
    assert not policy.stands_for("prompt", overall_gain=0.05, weight=0.5)
    assert not policy.stands_for("context", overall_gain=0.06, weight=0.5)
    assert not policy.stands_for("context", overall_gain=0.05, weight=0.6)
    assert not Policy().stands_for("context", overall_gain=0.0, weight=0.0)


@pytest.mark.parametrize(
    ("risk", "layer", "gain", "people"),
    [
        ("low", "context", 0.0, 1),
        ("low", "context", 0.10, 1),
        ("low", "context", 0.20, 2),
        ("low", "guardrails", 0.0, 2),
        ("high", "context", 0.0, 2),
    ],
)
def test_approvals_needed__risk_layer_and_gain__take_the_greatest(risk, layer, gain, people):
    assert Policy(risk=risk).approvals_needed(layer, overall_gain=gain) == people


@pytest.mark.parametrize(("gain", "people"), [(0.0999, 0), (0.10, 1), (0.1999, 1), (0.20, 2), (-0.3, 0)])
def test_people_for__overall_gain__at_ten_one_at_twenty_two(gain, people):
    assert Policy().people_for(gain) == people


def test_objective__shipped__reads_the_agents_own_word_nowhere():
    objective = Objective.model_validate(default_objective())

    assert objective == Objective()
    assert objective.truth_sources == ["customer", "staff", "detector"]
    assert Objective.model_validate(demo_objective()).maturity_s == 1


@pytest.mark.parametrize(
    "document",
    [
        {"truth_sources": ["agent"]},
        {"truth_sources": []},
        {"truth_sources": ["staff", "staff"]},
        {"maturity_s": 0},
        {"guards": {"resolved": {"direction": "higher", "margin": 0.05}}},
        {"guards": {"cost": {"direction": "lower", "margin": 0}}},
        {"tripwires": {"spend": {"at_least": 0}}},
        {"primary": {"name": "Resolved!"}},
        {"weights": {}},
    ],
)
def test_objective__wrong__is_refused(document):
    with pytest.raises(ValidationError):
        Objective.model_validate(document)


def codes(candidate, situation):
    return [one.code for one in start_refusals(candidate, situation, VELOCITY, now=NOW)]


def test_start_refusals__nothing_going_on__are_none():
    assert codes(Candidate("context"), Situation()) == []


def test_start_refusals__live_ramp__blocks_all_but_a_hotfix():
    situation = Situation(live_ramps=("r-1",), rolled_back_at=NOW)

    assert codes(Candidate("context"), situation) == ["ramp_live", "cooling_down"]
    assert codes(Candidate("context", is_hotfix=True), situation) == []


def test_start_refusals__aftermath__blocks_the_same_layer_or_intents_unless_accepted():
    situation = Situation(watches=(Watch("r-1", "context", frozenset({"refund"})),))

    assert codes(Candidate("context"), situation) == ["aftermath_overlap"]
    assert codes(Candidate("tools", frozenset({"refund"})), situation) == ["aftermath_overlap"]
    assert codes(Candidate("tools", frozenset({"delivery"})), situation) == []
    assert codes(Candidate("context", overlap_accepted=True), situation) == []


def test_start_refusals__cool_down__ends_after_24_hours():
    assert codes(Candidate("context"), Situation(rolled_back_at=NOW - timedelta(hours=23, minutes=59))) == [
        "cooling_down"
    ]
    assert codes(Candidate("context"), Situation(rolled_back_at=NOW - timedelta(hours=24))) == []


def test_start_refusals__alarm__leaves_one_release_a_week():
    rang = NOW - timedelta(days=1)

    assert codes(Candidate("context"), Situation(throttled_at=rang, started_at=NOW - timedelta(days=6))) == [
        "throttled"
    ]
    assert codes(Candidate("context"), Situation(throttled_at=rang, started_at=NOW - timedelta(days=7))) == []
    assert codes(Candidate("context"), Situation(throttled_at=rang)) == []


@pytest.mark.parametrize(
    ("gains", "rings"),
    [
        ([], False),
        ([0.5], False),
        ([0.02, 0.03, 0.01, 0.02, 0.03], False),
        ([0.02, 0.03, 0.01, 0.02, 0.09], True),
        ([0.02, 0.02, 0.02, 0.02, 0.03], False),
        ([0.00, 0.01, 0.03, 0.07], True),
        ([0.000, 0.005, 0.015, 0.030], False),
        ([0.10, 0.08, 0.05, 0.01], False),
    ],
)
def test_acceleration_alarm__history_of_gains__rings_only_when_they_run_away(gains, rings):
    assert (acceleration_alarm(gains, VELOCITY) is not None) is rings
