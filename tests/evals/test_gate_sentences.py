"""An open gate says what would decide it: how many of what, where, or who must act."""

import re
from typing import Any

import pytest

from evals.gate import GatePolicy, judge
from evals.readings import CaseReading, GateReading, RunReadings, TrafficShare
from tests.evals.gate_runs import build, cases, good_change, index_of, single

POLICY = GatePolicy()


def gate(readings: RunReadings, name: str) -> GateReading:
    return judge(readings, POLICY).gate(name)


@pytest.mark.parametrize(
    ("counts", "name", "words"),
    [
        ((23, 160, 0), "target", "hold: 1 more target cluster (23 of 24)."),
        ((14, 160, 0), "target", "hold: 10 more target clusters (14 of 24)."),
        ((24, 159, 0), "protected", "hold: 1 more protected cluster (159 of 160)."),
        ((24, 160, 23), "holdout", "hold: 1 more target cluster in the hold-out (23 of 24)."),
    ],
)
def test_too_few_clusters__says_how_many_more(counts: tuple[int, int, int], name: str, words: str) -> None:
    assert gate(build(cases(*counts), good_change), name).sentence == words


def test_coverage__several_intents_short__names_those_that_suffice_and_how_many_cases_each() -> None:
    traffic = (
        *(TrafficShare(f"intent-{i:02d}", 0.04) for i in range(20)),
        TrafficShare("warranty", 0.10), TrafficShare("gifts", 0.06), TrafficShare("rare", 0.04),
    )  # fmt: skip
    known = [CaseReading(f"gift-{i}", f"g{i}", "gifts") for i in range(4)]

    sentence = gate(build(cases(extra=known), good_change, traffic=traffic), "coverage").sentence

    assert sentence.endswith("95% needed; 'warranty' needs 5 more cases, 'gifts' needs 1 more case.")


def test_coverage__very_many_intents_short__names_five_and_counts_the_rest() -> None:
    traffic = tuple(TrafficShare(f"unseen-{i:02d}", 1 / 20) for i in range(20))

    sentence = gate(build(cases(), good_change, traffic=traffic), "coverage").sentence

    assert sentence.count("needs 5 more cases") == 5
    assert sentence.endswith("and 14 more intents too.")


def test_slices__nothing_gated__names_the_nearest_intent_if_there_is_one() -> None:
    def only(intent: str) -> str:
        rows = [CaseReading("rare-1", "r1", intent)]
        return gate(build(rows, lambda case, arm, number: True), "slices").sentence

    assert only("rare") == "hold: no live intent has 3 cases; 'rare' needs 2 more cases."
    assert only("") == "hold: no live intent has 3 cases; cases of no intent need 2 more cases."
    assert gate(build([], good_change), "slices").sentence == "hold: no live intent has 3 cases."


def test_slices__worse_than_chance__says_at_which_alpha() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return not (case.intent == "intent-03" and arm == "candidate" and number > 1)

    assert "(alpha 0.05)" in gate(build(cases(), play), "slices").sentence


def escalating(protected: int) -> RunReadings:
    """A quarter of the protected cases is escalated in one trial less than before, a quarter in one more."""
    rows = tuple(single(case, requires_escalation=True) if case.is_protected else case for case in cases(0, protected))

    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        loses = {0: arm == "candidate", 1: arm == "baseline"}.get(index_of(case) % 4, False)
        return {"escalated": not loses or number == 1}

    return build(rows, play, k=2)


def test_escalation__bound_too_low__says_how_many_clusters_would_raise_it() -> None:
    held = gate(escalating(160), "escalation")

    missing = held.numbers["clusters_missing"]
    assert f"hold: about {missing} more clusters that must be escalated" in held.sentence
    assert gate(escalating(160 + missing // 2), "escalation").verdict == "hold"
    assert gate(escalating(160 + missing + 4), "escalation").verdict == "pass"  # whole quarters


def test_leakage__one_release_given__asks_for_one_more_person() -> None:
    held = gate(build(cases(), good_change, shared_passages=("target-3",), leakage_releases=1), "leakage")

    assert held.sentence.endswith("; 1 more person must release it.")


def test_infrastructure__many_lost__says_how_many_at_least_bring_it_under_the_limit() -> None:
    def losing(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        return {"dropped": arm == "candidate" and number == 1 and index_of(case) % 2 == 0}

    reading = gate(build(cases(), losing), "infrastructure")

    found = re.search(r"play at least (\d+) more", reading.sentence)
    assert found is not None
    left = reading.numbers["dropped"] - int(found[1])
    assert left / reading.numbers["owed"] <= POLICY.dropped_max < (left + 1) / reading.numbers["owed"]


def test_latency_and_safety__nothing_measured__say_what_to_do() -> None:
    unmeasured = build(cases(), lambda case, arm, number: {"latency_ms": 0.0})
    dropped = build(cases(), lambda case, arm, number: {"dropped": True})

    assert "let the runner report it" in gate(unmeasured, "latency").sentence
    assert "play again" in gate(dropped, "safety").sentence


def test_false_discovery__one_attempt__is_counted_in_words() -> None:
    assert "(1 attempt, 0 promotions)" in gate(build(cases(), good_change), "false_discovery").sentence
    assert (
        "(2 attempts, 1 promotion)"
        in gate(build(cases(), good_change, attempts=2, promotions=1), "false_discovery").sentence
    )
