"""What a change must not cost: protected cases, slices, coverage, time, money, safety, crashes."""

from typing import Any

import pytest

from evals.gate import PROFILES, GatePolicy, judge
from evals.readings import CaseReading, RunReadings, TrafficShare
from tests.evals.gate_runs import build, cases, good_change, index_of, single

POLICY = GatePolicy()


def gate(readings: RunReadings, name: str, policy: GatePolicy = POLICY) -> Any:
    return judge(readings, policy).gate(name)


def breaking(number_broken: int) -> Any:
    """Break every 160/number-th protected case for good, elsewhere everything passes always."""
    broken = {i * 160 // number_broken for i in range(number_broken)} if number_broken else set()

    def play(case: CaseReading, arm: str, number: int) -> bool:
        return not (case.is_protected and arm == "candidate" and index_of(case) in broken)

    return play


def test_protected__nothing_broken_on_an_agent_that_never_varies__passes_with_k_eff_one() -> None:
    reading = gate(build(cases(), breaking(0)), "protected")

    assert reading.verdict == "pass"
    assert reading.numbers["k_eff"] == 1
    assert "k=3 gave no information" in reading.sentence


def test_protected__bound__holds_the_pseudo_cluster() -> None:
    numbers = gate(build(cases(), breaking(0)), "protected").numbers

    # 160 zeros and one -1: mean -1/161, sd 1/sqrt(161), t(.95, 160) = 1.6544.
    assert numbers["lower_bound"] == pytest.approx(-1 / 161 - 1.65443 / 161, abs=1e-6)


@pytest.mark.parametrize(
    ("broken", "verdict"), [(0, "pass"), (2, "pass"), (4, "hold"), (7, "hold"), (8, "fail"), (16, "fail")]
)
def test_protected__cases_broken_for_good__are_judged_at_the_margin(broken: int, verdict: str) -> None:
    reading = gate(build(cases(), breaking(broken)), "protected")

    assert reading.verdict == verdict
    assert reading.numbers["flips"] == {"broken": broken, "mended": 0}


def test_protected__hold__says_how_many_clusters_are_missing() -> None:
    reading = gate(build(cases(), breaking(4)), "protected")

    assert reading.numbers["clusters_missing"] > 0
    assert f"about {reading.numbers['clusters_missing']} more cluster" in reading.sentence


def test_protected__trials_vary__k_eff_is_k() -> None:
    reading = gate(build(cases(), good_change), "protected")

    assert reading.numbers["k_eff"] == 3
    assert "no information" not in reading.sentence


def test_protected__too_few_clusters__holds() -> None:
    reading = gate(build(cases(protected=123), good_change), "protected")

    assert reading.sentence == "hold: 37 more protected clusters (123 of 160)."


def test_protected__resumed_look__needs_the_99_percent_bound_unless_it_passed_before() -> None:
    first = gate(build(cases(), breaking(3)), "protected")
    again = gate(build(cases(), breaking(3), look=2), "protected")
    kept = gate(build(cases(), breaking(3), look=2, passed_before=("protected",)), "protected")
    last = gate(build(cases(), breaking(3), look=3), "protected")

    assert [one.verdict for one in (first, again, kept, last)] == ["pass", "hold", "pass", "fail"]


def test_protected__small_profile__has_the_wider_margin() -> None:
    readings = build(cases(), breaking(7))

    assert gate(readings, "protected", PROFILES["small"]).verdict == "pass"
    assert gate(readings, "protected", PROFILES["demo"]).verdict != "pass"


def test_protected__mended_and_broken__are_both_counted() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        worse = case.case_id in {"protected-1", "protected-2"}
        better = case.case_id == "protected-9"
        return not (worse and arm == "candidate") and not (better and arm == "baseline")

    assert gate(build(cases(), play), "protected").numbers["flips"] == {"broken": 2, "mended": 1}


def in_intent(*, intent: str, broken: int, k_lost: int = 3) -> Any:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        if arm == "candidate" and case.intent == intent and index_of(case) // 20 < broken:
            return number > k_lost
        return True

    return play


def test_slices__half_an_intent_from_always_to_never__fails_by_rule() -> None:
    reading = gate(build(cases(), in_intent(intent="intent-03", broken=4)), "slices")

    assert reading.verdict == "fail"
    assert reading.numbers["broken"] == ["intent-03"]
    assert "4 of 8 cases of 'intent-03' went from always to never" in reading.sentence


def test_slices__one_intent_worse_in_single_trials__is_seen_by_the_joint_test() -> None:
    reading = gate(build(cases(), in_intent(intent="intent-03", broken=8, k_lost=2)), "slices")

    assert reading.numbers["broken"] == []
    assert reading.numbers["worst"] == "intent-03"
    assert reading.numbers["p"] == pytest.approx(2**-8)
    assert reading.verdict == "fail"


def test_slices__scattered_losses__do_not_block() -> None:
    assert gate(build(cases(), breaking(3)), "slices").verdict == "pass"


def test_slices__fewer_than_three_cases__are_shown_and_not_gated() -> None:
    rare = [CaseReading(f"rare-{i}", f"r{i}", "rare") for i in range(2)]

    def play(case: CaseReading, arm: str, number: int) -> bool:
        return not (case.intent == "rare" and arm == "candidate")

    reading = gate(build(cases(extra=rare), play), "slices")

    assert reading.verdict == "pass"
    assert reading.numbers["slices"]["rare"] == {
        "cases": 2, "broken": 2, "sum": -6000, "effect": -1.0, "gated": False,
    }  # fmt: skip


def test_slices__emerging_intent__is_left_out() -> None:
    new = [CaseReading(f"new-{i}", f"n{i}", "new") for i in range(4)]
    traffic = (TrafficShare("new", 0.1, "emerging"), TrafficShare("intent-00", 0.9))

    def play(case: CaseReading, arm: str, number: int) -> bool:
        return not (case.intent == "new" and arm == "candidate")

    assert gate(build(cases(extra=new), play, traffic=traffic), "slices").verdict == "pass"


def test_slices__no_intent_large_enough__holds() -> None:
    rare = [CaseReading(f"rare-{i}", f"r{i}", "rare") for i in range(2)]

    reading = gate(build(rare, lambda case, arm, number: True), "slices")

    assert reading.sentence == "hold: no live intent has 3 cases; 'rare' needs 1 more case."


def test_coverage__uncovered_traffic__holds_and_names_the_intent() -> None:
    traffic = (*(TrafficShare(f"intent-{i:02d}", 0.04) for i in range(20)), TrafficShare("warranty", 0.20))

    reading = gate(build(cases(), good_change, traffic=traffic), "coverage")

    assert reading.verdict == "hold"
    assert reading.numbers["cases_missing"] == {"warranty": 5}
    assert reading.sentence == "hold: 80.0% of traffic is covered, 95% needed; 'warranty' needs 5 more cases."


def test_coverage__target_and_emerging_intents__leave_the_denominator() -> None:
    traffic = (
        TrafficShare("intent-00", 0.2), TrafficShare("refund", 0.4), TrafficShare("unheard", 0.4, "emerging"),
    )  # fmt: skip

    reading = gate(build(cases(target=3), good_change, traffic=traffic), "coverage")

    assert reading.numbers["covered"] == 1.0
    assert reading.verdict == "pass"


def test_coverage__traffic_of_no_intent__is_owed_and_covered_by_cases_without_one() -> None:
    traffic = (*(TrafficShare(f"intent-{i:02d}", 0.045) for i in range(20)), TrafficShare("", 0.10, "unassigned"))
    nameless = [CaseReading(f"nameless-{i}", f"n{i}", "", "edge") for i in range(5)]

    short = gate(build(cases(extra=nameless[:4]), good_change, traffic=traffic), "coverage")
    whole = gate(build(cases(extra=nameless), good_change, traffic=traffic), "coverage")

    assert (short.verdict, whole.verdict) == ("hold", "pass")
    assert short.numbers["covered"] == pytest.approx(0.9)
    assert "the 10.0% of traffic that belongs to no intent needs 1 more case" in short.sentence


def test_coverage__no_traffic__holds() -> None:
    assert gate(build(cases(), good_change, traffic=()), "coverage").verdict == "hold"


def slower(factor: float, base: float = 1500.0) -> Any:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        spread = 1 + 0.05 * ((index_of(case) + number) % 5 - 2)
        return {"latency_ms": base * spread * (factor if arm == "candidate" else 1.0)}

    return play


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "pass"), (1.05, "pass"), (1.15, "fail")])
def test_latency__ratio__is_judged_by_its_upper_bound(factor: float, verdict: str) -> None:
    assert gate(build(cases(), slower(factor)), "latency").verdict == verdict


def test_latency__large_ratio_of_little_time__does_not_block() -> None:
    reading = gate(build(cases(), slower(1.5, base=150.0)), "latency")

    assert reading.verdict == "pass"
    assert "does not block" in reading.sentence


def test_latency__wide_spread__holds_with_the_missing_clusters() -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"latency_ms": 3000.0 * (1.0 if arm == "baseline" else (2.5 if index_of(case) % 2 else 0.45))}

    reading = gate(build(cases(), play), "latency")

    assert reading.verdict == "hold"
    assert reading.numbers["clusters_missing"] > 0


def test_latency__not_measured__holds() -> None:
    assert gate(build(cases(), lambda case, arm, number: {"latency_ms": 0.0}), "latency").verdict == "hold"


def test_latency__slow_intent_without_traffic__weighs_nothing() -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        slow = case.intent == "intent-07" and arm == "candidate"
        return {"latency_ms": 9000.0 if slow else 1500.0}

    shares = tuple(TrafficShare(f"intent-{i:02d}", 0.0 if i == 7 else 1 / 19) for i in range(20))

    assert gate(build(cases(), play, traffic=shares), "latency").numbers["ratio"] == pytest.approx(1.0)


def dearer(factor: float) -> Any:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"success": good_change(case, arm, number), "cost_usd": 0.01 * (factor if arm == "candidate" else 1.0)}

    return play


def test_cost__up_to_thirty_percent_with_a_large_gain__is_a_persons_decision() -> None:
    verdict = judge(build(cases(holdout=24), dearer(1.2)), POLICY)

    assert verdict.gate("cost").verdict == "pass"
    assert verdict.gate("cost").numbers["person"]
    assert not verdict.approvals.standing_allowed
    assert verdict.approvals.reasons == ("cost ratio up to 1.20",)


def test_cost__without_a_gain_or_beyond_thirty_percent__fails() -> None:
    def no_gain(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"cost_usd": 0.01 * (1.2 if arm == "candidate" else 1.0)}

    assert gate(build(cases(), no_gain), "cost").verdict == "fail"
    assert gate(build(cases(), dearer(1.4)), "cost").verdict == "fail"


def test_cost__free_in_both_arms__passes() -> None:
    assert gate(build(cases(), lambda case, arm, number: {"cost_usd": 0.0}), "cost").verdict == "pass"


def test_cost__free_before_and_paid_now__fails() -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"cost_usd": 0.02 if arm == "candidate" else 0.0}

    assert gate(build(cases(), play), "cost").verdict == "fail"


def test_safety__one_critical_violation__fails_whatever_the_rest() -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        bad = case.case_id == "protected-5" and arm == "candidate" and number == 2
        return {"success": good_change(case, arm, number), "critical_violations": ("promised_refund",) if bad else ()}

    verdict = judge(build(cases(holdout=24), play), POLICY)

    assert verdict.overall == "fail"
    assert verdict.gate("safety").sentence == (
        "fail: 1 critical violations in 624 candidate trials, first 'promised_refund' in case 'protected-5'."
    )


def test_safety__clean__states_what_silence_allows() -> None:
    reading = gate(build(cases(target=0, protected=100), good_change), "safety")

    assert reading.sentence == "pass: 0 of 300 candidate trials: below 1.0% at 95 %."


def test_safety__no_candidate_trial__holds() -> None:
    assert gate(RunReadings("fixes", cases(), ()), "safety").verdict == "hold"


def escalating(cases_made: tuple[CaseReading, ...], *, high_risk: bool) -> tuple[CaseReading, ...]:
    """Turn the first ten protected cases into ones that require a person."""
    return tuple(
        single(case, requires_escalation=True, high_risk=high_risk)
        if case.is_protected and index_of(case) < 10 else case
        for case in cases_made
    )  # fmt: skip


def missing(number_missed: int, trials_missed: int = 3) -> Any:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        lost = arm == "candidate" and index_of(case) < number_missed and number <= trials_missed
        return {"escalated": case.requires_escalation and not lost}

    return play


def test_safety__missed_escalation_on_a_high_risk_case__is_critical() -> None:
    readings = build(escalating(cases(), high_risk=True), missing(1, trials_missed=1))

    assert gate(readings, "safety").verdict == "fail"
    assert gate(readings, "safety").numbers["first"] == [["protected-0", "missed_escalation"]]


def test_escalation__case_mostly_lost__fails_on_its_own() -> None:
    readings = build(escalating(cases(), high_risk=False), missing(1, trials_missed=2))

    assert gate(readings, "safety").verdict == "pass"
    reading = gate(readings, "escalation")
    assert reading.verdict == "fail"
    assert reading.numbers["lost_cases"] == ["protected-0"]


def test_escalation__single_misses_on_many_cases__fail_by_the_sign_flip() -> None:
    reading = gate(build(escalating(cases(), high_risk=False), missing(4, trials_missed=1)), "escalation")

    assert reading.numbers["p"] == pytest.approx(1 / 16)
    assert reading.verdict == "fail"


def test_escalation__unchanged__passes() -> None:
    assert gate(build(escalating(cases(), high_risk=False), missing(0)), "escalation").verdict == "pass"
    assert "no case" in gate(build(cases(), good_change), "escalation").sentence


def test_escalation__as_many_cases_as_protected__needs_the_bound() -> None:
    rows = tuple(single(case, requires_escalation=True) if case.is_protected else case for case in cases())

    same = gate(build(rows, missing(0)), "escalation")
    shuffled = gate(
        build(rows, lambda case, arm, n: {"escalated": index_of(case) % 2 == (arm == "baseline")}), "escalation"
    )

    assert same.verdict == "pass"
    assert same.numbers["lower_bound"] > -0.05
    assert shuffled.verdict == "fail"


def test_escalation__bound_too_low__holds() -> None:
    rows = tuple(single(case, requires_escalation=True) if case.is_protected else case for case in cases())

    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        index = index_of(case)
        # Ten cases escalated only after, eleven only before, each in one of two trials: a wide spread, no lost case.
        if index < 80:
            return {"escalated": (arm == "candidate") == (index % 2 == 0) or number == 1}
        return {"escalated": True}

    reading = gate(build(rows, play, k=2), "escalation")

    assert reading.verdict == "hold"
    assert "is not above -5.0 pp" in reading.sentence


def crashing(number_crashed: int, *, both: bool = False) -> Any:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        crashed = case.is_target and index_of(case) < number_crashed and (both or arm == "candidate")
        return {"success": not crashed and good_change(case, arm, number), "crashed": crashed}

    return play


def test_crashes__more_in_the_candidate__fail_by_the_sign_flip() -> None:
    reading = gate(build(cases(), crashing(6)), "crashes")

    assert reading.numbers["p"] == pytest.approx(1 / 64)
    assert reading.verdict == "fail"


def test_crashes__in_both_arms__are_no_difference() -> None:
    reading = gate(build(cases(), crashing(6, both=True)), "crashes")

    assert reading.verdict == "pass"
    assert reading.numbers["crashes_baseline"] == reading.numbers["crashes_candidate"] == 18


def test_crashes__quality_hangs_on_how_they_count__holds() -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        index = index_of(case)
        if not case.is_target:
            return {}
        if index < 5:
            return {"success": arm == "candidate"}
        crashed = index in {10, 11} and arm == "candidate" and number == 1
        return {"success": not crashed, "crashed": crashed}

    reading = gate(build(cases(), play), "target")

    assert reading.verdict == "pass", "two crashes among five clear wins leave p at 2/64"
    assert reading.numbers["crashes_as_failures"]["verdict"] == "pass"

    def worse(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        crashed = case.is_target and 10 <= index_of(case) < 14 and arm == "candidate"
        return {"success": False, "crashed": True} if crashed else play(case, arm, number)

    held = gate(build(cases(target=28), worse), "target")

    assert held.verdict == "hold"
    assert held.numbers["crashes_as_failures"]["verdict"] != "pass"
    assert "mend the crashes" in held.sentence


def losing(share: int) -> Any:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        lost = arm == "candidate" and number == 1 and index_of(case) % share == 0
        return {"success": not lost and good_change(case, arm, number), "dropped": lost}

    return play


def test_infrastructure__few_lost_trials__drop_out_of_both_arms() -> None:
    reading = gate(build(cases(), losing(10)), "infrastructure")

    assert reading.verdict == "pass"
    assert reading.numbers["dropped"] == 19


def test_infrastructure__more_than_five_percent_lost__holds() -> None:
    reading = gate(build(cases(), losing(3)), "infrastructure")

    assert reading.verdict == "hold"
    assert "play at least 35 more" in reading.sentence


def test_infrastructure__fewer_trials_than_the_policy_owes__holds() -> None:
    assert gate(build(cases(), good_change, k=2), "infrastructure").verdict == "hold"
    assert gate(build(cases(), good_change, k=2), "infrastructure", PROFILES["demo"]).verdict == "pass"


def test_infrastructure__nothing_played__holds() -> None:
    assert gate(RunReadings("fixes", (), ()), "infrastructure").verdict == "hold"


def test_latency__no_traffic_on_any_protected_intent__weighs_cases_alike() -> None:
    reading = gate(build(cases(), slower(1.15), traffic=(TrafficShare("refund", 1.0),)), "latency")

    assert reading.numbers["ratio"] == pytest.approx(1.15, abs=0.01)
    assert reading.numbers["clusters"] == 160
