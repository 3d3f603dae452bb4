"""The verdict as a whole: how gates add up, who must approve, the sequential plan, policies, replay."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evals.gate import PROFILES, GatePolicy, GatePolicyError, judge
from evals.readings import (
    CaseReading,
    JudgeCalibration,
    ReadingError,
    RunReadings,
    SizeChange,
    TrafficShare,
    TrialReading,
    Verdict,
)
from tests.evals.gate_runs import build, cases, good_change, index_of, null_change

POLICY = GatePolicy()
SEQUENTIAL = GatePolicy(mode="sequential")


def test_verdict__all_gates_pass__is_pass_with_one_approval() -> None:
    verdict = judge(build(cases(holdout=24), good_change), POLICY)

    assert verdict.overall == "pass"
    assert (verdict.approvals.people, verdict.approvals.standing_allowed) == (1, True)
    assert verdict.passed == tuple(gate.name for gate in verdict.gates)


def test_verdict__any_fail__outweighs_every_hold() -> None:
    verdict = judge(build(cases(target=10), good_change, static_findings=("two layers are touched.",)), POLICY)

    assert verdict.gate("target").verdict == "hold"
    assert verdict.overall == "fail"
    assert verdict.sentence == "static fail: two layers are touched."


def test_verdict__hold__names_each_gate_that_holds() -> None:
    verdict = judge(build(cases(target=10, protected=150, holdout=0), good_change), POLICY)

    assert verdict.overall == "hold"
    assert "target hold: 14 more target clusters" in verdict.sentence
    assert "protected hold: 10 more protected clusters" in verdict.sentence


def test_verdict__unknown_gate__is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="coverage"):
        judge(build(cases(), good_change), POLICY).gate("charm")


@pytest.mark.parametrize(("share", "people", "standing"), [(0.10, 1, True), (0.40, 1, False), (0.80, 2, False)])
def test_approvals__large_overall_gain__asks_for_more_eyes(share: float, people: int, standing: bool) -> None:
    others = (1.0 - share) / 20
    traffic = (TrafficShare("refund", share), *(TrafficShare(f"intent-{i:02d}", others) for i in range(20)))

    verdict = judge(build(cases(holdout=24), good_change, traffic=traffic), POLICY)

    assert verdict.gate("effect").numbers["overall_gain"] == pytest.approx(share * 10 / 24)
    assert (verdict.approvals.people, verdict.approvals.standing_allowed) == (people, standing)


def test_effect__gain_outside_of_the_target__asks_for_people_too() -> None:
    def better_everywhere(case: CaseReading, arm: str, trial: int) -> bool:
        return arm == "candidate"

    traffic = (TrafficShare("refund", 0.03), *(TrafficShare(f"intent-{i:02d}", 0.97 / 20) for i in range(20)))

    reading = judge(build(cases(), better_everywhere, traffic=traffic), POLICY).gate("effect")

    assert reading.numbers["overall_gain"] == pytest.approx(1.0)
    assert reading.numbers["people"] == 2


def test_approvals__many_attempts_per_promotion__ask_for_one_more_and_leave_alpha() -> None:
    verdict = judge(build(cases(holdout=24), good_change, attempts=33, promotions=3), POLICY)

    assert verdict.gate("false_discovery").numbers["fdp"] == pytest.approx(0.11)
    assert verdict.approvals.people == 2
    assert verdict.gate("target").numbers["alpha"] == 0.05
    assert judge(build(cases(), good_change, attempts=30, promotions=3), POLICY).approvals.people == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": 60}, "40 more human labels"),
        ({"kappa": 0.6}, "kappa 0.60 to reach 0.70"),
        ({"kappa_lower": 0.5}, "the lower end of kappa"),
        ({"sensitivity_candidate": 0.8}, "both arms alike (gap 10.0 pp"),
    ],
)
def test_judge__poor_agreement__is_advisory(changes: dict[str, Any], words: str) -> None:
    calibration = replace(JudgeCalibration(0.77, 0.68, 300, 0.9, 0.9, 0.9, 0.9), **changes)

    reading = judge(build(cases(), good_change, judge=calibration), POLICY).gate("judge")

    assert reading.verdict == "hold"
    assert words in reading.sentence


def test_next_look__target_not_tested__is_not_spent() -> None:
    assert judge(build(cases(target=10), good_change), POLICY).next_look == 1
    assert judge(build(cases(), good_change), POLICY).next_look == 2


def test_sequential__first_look__needs_its_own_alpha() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return good_change(case, arm, number) and not (case.is_protected and arm == "candidate" and index_of(case) < 3)

    verdict = judge(build(cases(), play, k=1), SEQUENTIAL)

    assert verdict.gate("infrastructure").verdict == "pass"
    assert verdict.gate("target").numbers["alpha"] == 0.005
    assert verdict.gate("target").verdict == "pass"
    assert verdict.gate("protected").numbers["confidence"] == 0.99
    assert verdict.gate("protected").verdict == "hold"
    assert "the plan's next look" in verdict.gate("protected").sentence


def test_sequential__no_sign_of_a_gain__stops_for_futility() -> None:
    verdict = judge(build(cases(), lambda case, arm, n: not case.is_target, k=1), SEQUENTIAL)

    assert verdict.gate("target").verdict == "fail"
    assert "futile" in verdict.gate("target").sentence


def test_sequential__protected_clearly_harmed__stops_for_futility() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return good_change(case, arm, number) and not (case.is_protected and arm == "candidate" and index_of(case) < 30)

    reading = judge(build(cases(), play, k=1), SEQUENTIAL).gate("protected")

    assert reading.verdict == "fail"
    assert reading.sentence.startswith("fail: futile")


def test_sequential__interim_slice__holds_where_the_last_look_fails() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return good_change(case, arm, number) and not (arm == "candidate" and case.intent == "intent-03")

    interim = judge(build(cases(), play, k=1), SEQUENTIAL).gate("slices")
    last = judge(build(cases(), play, k=3, look=3), SEQUENTIAL).gate("slices")

    assert (interim.verdict, last.verdict) == ("hold", "fail")
    assert "next look decides" in interim.sentence


def test_sequential__last_look__ends_in_pass_or_fail() -> None:
    verdict = judge(build(cases(holdout=24), good_change, look=3), SEQUENTIAL)
    lost = judge(build(cases(), null_change, look=3), SEQUENTIAL)

    assert verdict.gate("target").numbers["alpha"] == 0.04
    assert verdict.overall == "pass"
    assert lost.gate("target").verdict == "fail"


def test_sequential__early_gap_to_the_holdout__spends_the_looks_alpha() -> None:
    numbers = judge(build(cases(holdout=24), good_change, k=1), SEQUENTIAL).gate("leakage").numbers

    assert numbers["alpha"] == 0.005


def sample(seed: int, *, holdout: int = 24) -> RunReadings:
    """Return a random run with every field in use."""
    chance = random.Random(seed)

    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        better = case.is_target and arm == "candidate"
        return {
            "success": chance.random() < (0.95 if not case.is_target else 0.8 if better else 0.4),
            "score": chance.choice((0, 250, 500, 1000)), "latency_ms": chance.uniform(500, 3000),
            "cost_usd": chance.uniform(0.001, 0.02), "crashed": chance.random() < 0.004,
            "dropped": chance.random() < 0.01, "escalated": chance.random() < 0.5,
            "critical_violations": ("leaked_address",) if chance.random() < 0.0005 else (),
        }  # fmt: skip

    rows = tuple(
        replace(case, weight=chance.uniform(0.5, 2.0), requires_escalation=index_of(case) % 9 == 0)
        for case in cases(holdout=holdout)
    )
    return build(
        rows, play, size=SizeChange(40, 42), judge=JudgeCalibration(0.8, 0.7, 200, 0.98, 0.98, 0.99, 0.99),
        attempts=7, promotions=2, holdout_looks=3, shared_passages=("target-1",) if seed % 2 else (),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("policy", [POLICY, SEQUENTIAL, PROFILES["demo"]], ids=["default", "sequential", "demo"])
def test_replay__from_stored_json__gives_the_identical_verdict(seed: int, policy: GatePolicy) -> None:
    readings = sample(seed)
    verdict = judge(readings, policy)

    stored = json.loads(json.dumps({"readings": readings.as_mapping(), "verdict": verdict.as_json()}, allow_nan=False))
    again = judge(RunReadings.from_mapping(stored["readings"]), GatePolicy.from_mapping(stored["verdict"]["policy"]))

    assert RunReadings.from_mapping(stored["readings"]) == readings
    assert again == verdict
    assert again.as_json() == stored["verdict"]
    assert Verdict.from_json(stored["verdict"]) == verdict


@pytest.mark.parametrize("seed", range(3))
def test_replay__rows_in_another_order__changes_nothing(seed: int) -> None:
    readings = sample(seed)
    shuffled = [list(readings.cases), list(readings.trials), list(readings.traffic)]
    for rows in shuffled:
        random.Random(seed + 1).shuffle(rows)

    verdict = judge(
        replace(readings, cases=tuple(shuffled[0]), trials=tuple(shuffled[1]), traffic=tuple(shuffled[2])), POLICY
    )

    assert [gate.sentence for gate in verdict.gates] == [gate.sentence for gate in judge(readings, POLICY).gates]
    assert verdict == judge(readings, POLICY)


def swapped(readings: RunReadings) -> RunReadings:
    """Return the run with the arms' labels exchanged."""
    other = {"baseline": "candidate", "candidate": "baseline"}
    return replace(readings, trials=tuple(replace(trial, arm=other[trial.arm]) for trial in readings.trials))


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=24, max_size=24))
def test_labels_swapped__any_target__mirrors_the_differences_and_never_passes_twice(
    outcomes: list[tuple[bool, bool]],
) -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return outcomes[index_of(case)][arm == "candidate"] if case.is_target else True

    readings = build(cases(protected=20), play, k=1)
    there, back = (judge(one, POLICY).gate("target") for one in (readings, swapped(readings)))

    assert back.numbers["differences"] == [-d for d in there.numbers["differences"]]
    assert there.numbers["p"] + back.numbers["p"] >= 1.0
    assert not (there.verdict == back.verdict == "pass")


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.integers(0, 9999), st.integers(0, 159))
def test_protected__one_more_trial_succeeds__bound_of_the_mean_does_not_fall(seed: int, index: int) -> None:
    chance = random.Random(seed)
    won = {(i, n): chance.random() < 0.9 for i in range(160) for n in (1, 2, 3)}

    def play(case: CaseReading, arm: str, number: int) -> bool:
        return arm == "baseline" or not case.is_protected or won[index_of(case), number]

    before = judge(build(cases(target=0), play), POLICY).gate("protected").numbers["mean"]
    won[index, 1] = True
    after = judge(build(cases(target=0), play), POLICY).gate("protected").numbers["mean"]

    assert after >= before


def test_profiles__sizes__are_those_of_the_page_and_alphas_never_differ() -> None:
    small, demo = PROFILES["small"], PROFILES["demo"]

    assert (demo.target_min_clusters, demo.holdout_min_clusters, demo.protected_min_clusters, demo.trials) == (
        12, 8, 100, 2,
    )  # fmt: skip
    assert demo.protected_margin == POLICY.protected_margin
    assert small.protected_margin == 0.10
    for profile in (small, demo):
        assert not [name for name in profile.overrides() if "alpha" in name or "confidence" in name]


def test_demo_profile__its_own_sizes__can_pass() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return arm == "candidate" and index_of(case) % 5 < 4 if case.is_target else True

    readings = build(cases(target=12, protected=100, holdout=8), play, k=2)

    assert judge(readings, PROFILES["demo"]).overall == "pass"
    assert judge(readings, POLICY).overall == "hold"


def test_policy__from_mapping__starts_from_its_profile() -> None:
    policy = GatePolicy.from_mapping({"profile": "demo", "trials": 3, "look_futilities": [0.6, 0.4]})

    assert (policy.target_min_clusters, policy.trials, policy.look_futilities) == (12, 3, (0.6, 0.4))
    assert GatePolicy.from_mapping(json.loads(json.dumps(policy.as_mapping()))) == policy
    assert GatePolicy.from_mapping({}) == POLICY
    assert POLICY.overrides() == {}


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"target_alfa": 0.1}, "unknown keys \\['target_alfa'\\]"),
        ({"profile": "tiny"}, "'tiny' is unknown"),
        ({"target_alpha": 1.5}, "'target_alpha' is 1.5"),
        ({"target_alpha": True}, "'target_alpha' is True"),
        ({"target_alpha": "0.05"}, "'target_alpha' is '0.05'"),
        ({"target_min_clusters": 24.0}, "'target_min_clusters' is 24.0"),
        ({"mode": "hopeful"}, "'mode' is 'hopeful'"),
        ({"latency_ratio": 0.0}, "'latency_ratio' is 0.0"),
        ({"look_target_alphas": [0.05]}, "one value for each"),
        ({"look_futilities": []}, "'look_futilities' is"),
        ({"profile": 3}, "3 is unknown"),
    ],
)
def test_policy__bad_number__is_refused_by_name(mapping: dict[str, Any], words: str) -> None:
    with pytest.raises(GatePolicyError, match=words):
        GatePolicy.from_mapping(mapping)


CASE = CaseReading("a", "a", "refund")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CaseReading("a", "a", "refund", split="dev"), "split 'dev'"),
        (lambda: TrialReading("a", "control", 1, 0, success=False), "arm 'control'"),
        (lambda: TrialReading("a", "baseline", 1, 1001, success=True), "1001"),
        (lambda: TrialReading("a", "baseline", 1, 0.5, success=True), "integer thousandths"),
        (lambda: RunReadings("nicer", (), ()), "'nicer' is unknown"),
        (lambda: RunReadings("fixes", (), (), look=0), "Look 0"),
        (lambda: RunReadings("fixes", (CASE, CASE), ()), "twice"),
        (lambda: RunReadings("fixes", (), (TrialReading("b", "baseline", 1, 0, success=False),)), "unknown cases"),
        (lambda: RunReadings.from_mapping({"claim": "fixes", "cases": [], "trials": [], "mood": 1}), "Unknown keys"),
    ],
)
def test_readings__impossible__are_refused(make: Any, words: str) -> None:
    with pytest.raises(ReadingError, match=words):
        make()


def test_sequential__gain_not_shown_yet__holds_for_the_next_look() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return arm == "candidate" and index_of(case) < 5 if case.is_target else True

    reading = judge(build(cases(), play, k=1), SEQUENTIAL).gate("target")

    assert reading.verdict == "hold"
    assert reading.sentence.startswith("hold: 1 more trial, the plan's next look")


def test_advisory__gate_that_fails__informs_and_lets_through() -> None:
    readings = build(cases(holdout=24), null_change)
    strict = judge(readings, POLICY)
    lenient = judge(readings, replace(POLICY, advisory=("target", "holdout")))

    assert (strict.overall, strict.gate("target").verdict) == ("fail", "fail")
    assert lenient.overall == "pass"
    assert lenient.gate("target").numbers["advised"] == "fail"
    assert lenient.gate("target").sentence.startswith("pass: advisory by policy; fail:")
    assert lenient.policy["advisory"] == ["target", "holdout"]


def test_advisory__one_gate__leaves_the_others_deciding() -> None:
    readings = build(cases(holdout=24), good_change, static_findings=("two layers are touched.",))

    assert judge(readings, replace(POLICY, advisory=("target", "protected", "slices"))).overall == "fail"


def test_advisory__survives_json_and_counts_as_an_override() -> None:
    policy = GatePolicy.from_mapping({"profile": "demo", "advisory": ["slices"]})

    assert GatePolicy.from_mapping(policy.as_mapping()) == policy
    assert policy.overrides()["advisory"] == ["slices"]


@pytest.mark.parametrize("names", [["static"], ["safety"], ["charm"], "slices", [3]])
def test_advisory__laws_and_strangers__are_refused(names: object) -> None:
    with pytest.raises(GatePolicyError):
        GatePolicy.from_mapping({"advisory": names})
