"""What a proposal claims: the target gate of each claim, and the fresh hold-out."""

import random
from typing import Any

import pytest
from scipy import stats

from evals.gate import GatePolicy, judge
from evals.readings import CaseReading, JudgeCalibration, RunReadings, SizeChange
from tests.evals.gate_runs import build, cases, good_change, index_of, null_change

POLICY = GatePolicy()


def gate(readings: RunReadings, name: str, policy: GatePolicy = POLICY) -> Any:
    return judge(readings, policy).gate(name)


def test_target__clear_gain__passes_with_the_exact_p() -> None:
    reading = gate(build(cases(), good_change), "target")

    differences = reading.numbers["differences"]
    assert reading.verdict == "pass"
    wins = sum(d > 0 for d in differences)
    assert set(differences) == {0, 3000}
    assert reading.numbers["p"] == stats.binomtest(wins, wins, 0.5, alternative="greater").pvalue
    assert reading.numbers["effect"] == pytest.approx(wins / 24)
    assert reading.sentence.startswith("pass: +41.7 pp on 24 clusters, exact p = 0.0010")


def test_target__nothing_changed__fails_because_the_power_was_there() -> None:
    reading = gate(build(cases(), null_change), "target")

    assert reading.verdict == "fail"
    assert reading.numbers["power"] >= 0.8
    assert "no gain shown" in reading.sentence


def test_target__all_zero__has_p_one_and_fails() -> None:
    reading = gate(build(cases(), lambda case, arm, number: not case.is_target), "target")

    assert reading.numbers["p"] == 1.0
    assert reading.verdict == "fail"


def test_target__too_few_clusters__holds_and_says_how_many() -> None:
    reading = gate(build(cases(target=17), good_change), "target")

    assert reading.verdict == "hold"
    assert reading.sentence == "hold: 7 more target clusters (17 of 24)."


def test_target__no_cases__holds() -> None:
    reading = gate(build(cases(target=0), good_change), "target")

    assert reading.sentence == "hold: 24 more target clusters (0 of 24)."


def test_target__many_cases_of_one_cluster__count_once() -> None:
    one = [CaseReading(f"target-{i}", "t", "refund", is_target=True) for i in range(60)]

    reading = gate(build((*cases(target=0), *one), good_change), "target")

    assert reading.numbers["clusters"] == 1
    assert reading.verdict == "hold"


def wild(case: CaseReading, arm: str, number: int) -> bool:
    """Clusters swing between always and never: 9 up, 6 down."""
    if not case.is_target:
        return True
    if index_of(case) % 8 < 3:
        return arm == "candidate"
    return arm == "baseline" if index_of(case) % 8 < 5 else False


def test_target__spread_leaves_little_power__holds_with_the_missing_clusters() -> None:
    reading = gate(build(cases(), wild), "target")

    assert reading.verdict == "hold"
    assert reading.numbers["power"] < 0.8
    missing = reading.numbers["clusters_missing"]
    assert missing > 0
    assert reading.numbers["trials_missing"] is None, "no case varied, so trials cannot help"
    assert f"about {missing} more clusters" in reading.sentence


def test_target__last_look_of_the_plan__no_longer_holds_for_power() -> None:
    reading = gate(build(cases(), wild, look=3), "target")

    assert reading.verdict == "fail"


def noisy(case: CaseReading, arm: str, number: int) -> bool:
    """No gain, and trials that change every time."""
    if not case.is_target:
        return True
    return random.Random(f"{case.case_id}{arm}{number}").random() < 0.5


def test_target__trials_are_the_noise__more_trials_are_offered() -> None:
    reading = gate(build(cases(), noisy, predicted_effect=0.15), "target")

    assert reading.verdict == "hold"
    assert reading.numbers["trials_missing"] in {1, 2, 3}
    assert "more trial" in reading.sentence


def test_target__resumed_hold__tests_at_the_resumed_alpha() -> None:
    first = gate(build(cases(), few_wins), "target")
    resumed = gate(build(cases(), few_wins, look=2), "target")

    assert first.verdict == "pass"
    assert resumed.numbers["p"] == first.numbers["p"] == pytest.approx(1 / 32)
    assert resumed.numbers["alpha"] == 0.01
    assert resumed.verdict != "pass"


def few_wins(case: CaseReading, arm: str, number: int) -> bool:
    return arm == "candidate" and index_of(case) < 5 if case.is_target else True


def test_target__passed_at_an_earlier_look__stays_passed_while_the_gain_lasts() -> None:
    kept = gate(build(cases(), few_wins, look=2, passed_before=("target",)), "target")
    turned = gate(build(cases(), null_change, look=2, passed_before=("target",)), "target")

    assert kept.verdict == "pass"
    assert "earlier look" in kept.sentence
    assert turned.verdict == "hold"


def test_target__noisy_judge__needs_more_clusters() -> None:
    calibration = JudgeCalibration(0.77, 0.68, 300, 0.9, 0.9, 0.9, 0.9)

    reading = gate(build(cases(), good_change, judge=calibration), "target")

    assert reading.numbers["clusters_needed"] == 38
    assert reading.sentence == "hold: 14 more target clusters (24 of 38)."


def test_target__graded_scores__are_used_in_thousandths() -> None:
    def graded(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"score": 615 if arm == "candidate" else 512, "success": False} if case.is_target else {}

    reading = gate(build(cases(), graded), "target")

    assert reading.numbers["differences"] == [309] * 24
    assert reading.verdict == "pass"


def test_target__pass_k__is_shown_for_both_arms() -> None:
    numbers = gate(build(cases(), good_change), "target").numbers

    assert numbers["k"] == 3
    assert numbers["pass_k_baseline"] == pytest.approx(10 / 24)
    assert numbers["pass_k_candidate"] == pytest.approx(20 / 24)


def scaled(metric: str, factor: float, spread: float = 0.02) -> Any:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        value = {"latency_ms": 1000.0, "cost_usd": 0.01}[metric] * (1 + spread * (index_of(case) % 5 - 2))
        return {metric: value * (factor if arm == "candidate" else 1.0) * (1 + spread * (number - 2))}

    return play


@pytest.mark.parametrize(("claim", "metric"), [("cheaper", "cost_usd"), ("faster", "latency_ms")])
def test_target__ratio_claim__needs_the_bound_below_the_wanted_ratio(claim: str, metric: str) -> None:
    better = gate(build(cases(), scaled(metric, 0.80), claim=claim), "target")
    same = gate(build(cases(), scaled(metric, 1.00), claim=claim), "target")

    assert better.verdict == "pass"
    assert better.numbers["ratio"] == pytest.approx(0.80, abs=0.01)
    assert same.verdict == "fail"
    assert "needs it below 0.95" in same.sentence


def test_target__ratio_claim_with_wide_spread__holds_with_the_missing_clusters() -> None:
    def spread(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"cost_usd": 0.01 * (1.0 if arm == "baseline" else (0.4 if index_of(case) % 2 else 1.9))}

    reading = gate(build(cases(), spread, claim="cheaper"), "target")

    assert reading.verdict == "hold"
    assert reading.numbers["clusters_missing"] > 0


def test_target__ratio_claim_that_passed_before__stays_passed() -> None:
    def spread(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"cost_usd": 0.01 * (1.0 if arm == "baseline" else (0.4 if index_of(case) % 2 else 1.9))}

    reading = gate(build(cases(), spread, claim="cheaper", look=2, passed_before=("target",)), "target")

    assert reading.verdict == "pass"


def test_target__ratio_claim_without_measurement__holds() -> None:
    free = build(cases(), lambda case, arm, number: {"cost_usd": 0.0}, claim="cheaper")

    assert gate(free, "target").verdict == "hold"


def test_target__ratio_claim_without_a_target_slice__reads_every_case() -> None:
    reading = gate(build(cases(target=0), scaled("cost_usd", 0.80), claim="cheaper"), "target")

    assert reading.numbers["clusters"] == 160
    assert reading.verdict == "pass"


@pytest.mark.parametrize(
    ("size", "verdict"), [(SizeChange(40, 32), "pass"), (SizeChange(40, 40), "fail"), (None, "hold")]
)
def test_target__simplifies__needs_fewer_lines_and_no_holdout(size: SizeChange | None, verdict: str) -> None:
    found = judge(build(cases(target=0), null_change, claim="simplifies", size=size), POLICY)

    assert found.gate("target").verdict == verdict
    assert found.gate("holdout").verdict == "pass"
    assert found.overall == verdict
    assert not found.wants_holdout


def test_target__enables__needs_its_own_cases_to_pass() -> None:
    def new(case: CaseReading, arm: str, number: int) -> bool:
        return arm == "candidate" if case.is_target else True

    def shaky(case: CaseReading, arm: str, number: int) -> bool:
        return new(case, arm, number) and not (case.case_id == "target-2" and number > 1)

    assert gate(build(cases(target=6), new, claim="enables"), "target").verdict == "pass"
    assert gate(build(cases(target=6), shaky, claim="enables"), "target").numbers["failed_cases"] == ["target-2"]
    assert gate(build(cases(target=6), shaky, claim="enables"), "target").verdict == "fail"
    assert gate(build(cases(target=3), new, claim="enables"), "target").sentence.startswith("hold: 2 more cases")


def test_holdout__not_played__is_wanted_only_by_a_winner() -> None:
    winner = judge(build(cases(), good_change), POLICY)
    loser = judge(build(cases(), null_change), POLICY)

    assert (winner.overall, winner.wants_holdout) == ("hold", True)
    assert (loser.overall, loser.wants_holdout) == ("fail", False)
    assert winner.gate("holdout").sentence.startswith("hold: not played")


def test_holdout__confirms_the_winner__promotes() -> None:
    verdict = judge(build(cases(holdout=24), good_change), POLICY)

    assert verdict.overall == "pass"
    assert verdict.sentence == "pass: all 16 gates."
    assert verdict.gate("holdout").numbers["p"] <= 0.20


def leak(case: CaseReading, arm: str, number: int) -> bool:
    return null_change(case, arm, number) if case.split == "holdout" else good_change(case, arm, number)


def test_holdout__gain_is_not_there__fails_and_shows_the_gap() -> None:
    verdict = judge(build(cases(holdout=24), leak), POLICY)

    assert verdict.gate("holdout").verdict == "fail"
    assert verdict.overall == "fail"
    assert verdict.gate("leakage").verdict == "hold"
    assert "2 more people must release it" in verdict.gate("leakage").sentence


def test_holdout__gap_released_by_two_people__no_longer_holds() -> None:
    verdict = judge(build(cases(holdout=24), leak, leakage_releases=2), POLICY)

    assert verdict.gate("leakage").verdict == "pass"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"holdout_is_fresh": False}, "already used for this pattern"),
        ({"holdout_looks": 20}, "rotate at least 30 %"),
    ],
)
def test_holdout__spent__holds(changes: dict[str, Any], words: str) -> None:
    reading = gate(build(cases(holdout=24), good_change, **changes), "holdout")

    assert reading.verdict == "hold"
    assert words in reading.sentence


def test_holdout__fewer_clusters_than_verify__holds() -> None:
    reading = gate(build(cases(target=30, holdout=24), good_change), "holdout")

    assert reading.sentence == "hold: 6 more target clusters in the hold-out (24 of 30)."


def test_holdout__ratio_claim__is_confirmed_by_its_own_bound() -> None:
    same = gate(build(cases(holdout=24), scaled("cost_usd", 1.0), claim="cheaper"), "holdout")
    better = gate(build(cases(holdout=24), scaled("cost_usd", 0.8), claim="cheaper"), "holdout")

    assert (same.verdict, better.verdict) == ("fail", "pass")


def test_leakage__shared_passage__holds_before_any_holdout() -> None:
    verdict = judge(build(cases(), good_change, shared_passages=("target-3",)), POLICY)

    assert verdict.gate("leakage").verdict == "hold"
    assert "8 words in a row with 1 case of" in verdict.gate("leakage").sentence
    assert not verdict.wants_holdout


def test_target__one_cluster_is_enough_for_the_policy__asks_for_another() -> None:
    def lost(case: CaseReading, arm: str, number: int) -> bool:
        return arm == "baseline" if case.is_target else True

    reading = gate(build(cases(target=1), lost), "target", GatePolicy(target_min_clusters=1))

    assert reading.verdict == "hold"
    assert reading.sentence.startswith("hold: about 1 more cluster:")
