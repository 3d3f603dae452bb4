"""How far it is to the first decidable gate, by the policy's numbers and none of our own."""

from dataclasses import replace

import pytest

from evals.countdown import IntentStanding, count_down, covered_share, gap_of
from evals.drawing import standing_rows, traffic_columns
from evals.gate.policy import PROFILES, GatePolicy
from evals.gate.slices import coverage_gate
from evals.readings import CaseReading, RunReadings, TrafficShare

DEFAULT = GatePolicy()


def intent(slug, share, verify=0, holdout=0, **more):
    return IntentStanding(
        slug, slug.replace("-", " "), share, verify_cases=verify, verify_clusters=verify, holdout_fresh=holdout, holdout_clusters=holdout,
        **more,
    )  # fmt: skip


def counted(intents, policy=DEFAULT, *, protected=0, uncurated=0, looks=0):
    return count_down(intents, policy, protected_clusters=protected, num_uncurated=uncurated, looks=looks)


def test_sentence__with_something_missing__says_how_much_of_what():
    intents = [intent("refund-status", 0.6, verify=12, holdout=24), intent("returns", 0.4, verify=5)]

    found = counted(intents, protected=122)

    assert found.sentence == (
        "12 more verify clusters of “refund status” and 38 more stable cases until a gate can decide."
    )


def test_sentence__with_everything__says_that_a_gate_can_decide():
    found = counted([intent("refund-status", 1.0, verify=24, holdout=24)], protected=160)

    assert found.is_decidable
    assert found.sentence == "A gate can decide about a change for “refund status” now."


def test_sentence__many_gaps__names_the_largest_and_counts_the_rest():
    intents = [intent("target", 0.2, verify=24, holdout=24), *(intent(f"gap-{n}", 0.2 - n / 100) for n in range(4))]

    found = counted(intents, protected=160)

    assert found.sentence == (
        "5 more verify cases of “gap 0” for coverage, 5 more verify cases of “gap 1” for coverage and cases of 2 further "
        "intents until a gate can decide."
    )


def test_count_down__no_intent__asks_for_one():
    assert "define one" in counted([IntentStanding("", "no intent", 1.0, "unassigned")]).sentence


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_count_down__other_numbers_in_the_policy__are_used(profile):
    policy = PROFILES[profile]

    gap = counted([intent("one", 1.0)], policy).gap

    assert gap is not None
    assert (gap.verify, gap.protected) == (policy.target_min_clusters, policy.protected_min_clusters)
    assert gap.holdout == max(
        policy.holdout_min_clusters, round(policy.holdout_share_of_verify * policy.target_min_clusters)
    )


def test_gap__advisory_gates__ask_for_nothing():
    policy = replace(DEFAULT, advisory=("coverage", "holdout", "protected", "target"))

    assert counted([intent("one", 0.5), intent("two", 0.5)], policy, looks=99).is_decidable


def test_gap__more_verify_than_needed__needs_as_much_holdout():
    one = intent("one", 1.0, verify=30, holdout=24)

    assert gap_of(one, [one], DEFAULT, protected_clusters=160, looks_left=1).holdout == 6


def test_target__nearest_to_decidable__is_chosen_before_the_largest():
    intents = [intent("large", 0.7, verify=5), intent("near", 0.3, verify=20, holdout=20)]

    gap = counted(intents).gap

    assert gap is not None
    assert gap.intent.slug == "near"


def test_looks__of_the_holdout__are_counted_down_with_a_warning():
    ready = [intent("one", 1.0, verify=24, holdout=24)]
    states = {looks: counted(ready, protected=160, looks=looks) for looks in (0, 14, 15, 20, 25)}

    assert [one.looks_left for one in states.values()] == [20, 6, 5, 0, 0]
    assert [one.looks_are_low for one in states.values()] == [False, False, True, True, True]
    assert "rotate soon" in states[15].looks_sentence
    assert "rotation of the hold-out" in states[20].sentence.replace("A rotation", "rotation")
    assert not states[20].is_decidable


@pytest.mark.parametrize("verify", [(5, 5, 0), (5, 4, 5), (0, 0, 0), (9, 9, 9), (5, 5, 4)])
@pytest.mark.parametrize("shares", [(0.5, 0.46, 0.04), (0.5, 0.3, 0.2), (0.96, 0.02, 0.02)])
def test_covered_share__is_what_the_coverage_gate_counts(verify, shares):
    slugs = ("a", "b", "")
    standings = [
        intent(slug, share, verify=number, state="live" if slug else "unassigned")
        for slug, share, number in zip(slugs, shares, verify, strict=True)
    ]
    cases = tuple(
        CaseReading(f"{slug}-{n}", f"{slug}-{n}", slug)
        for slug, number in zip(slugs, verify, strict=True) for n in range(number)
    )  # fmt: skip
    traffic = tuple(TrafficShare(one.slug, one.share, one.state) for one in standings)
    pairs = [type("Played", (), {"case": case})() for case in cases]

    gate = coverage_gate(RunReadings("fixes", cases, (), traffic), pairs, DEFAULT)

    assert covered_share(standings, DEFAULT) == pytest.approx(gate.numbers["covered"])


def test_emerging_intent__owes_nothing():
    intents = [intent("one", 0.5, verify=24, holdout=24), intent("new", 0.5, state="emerging")]

    found = counted(intents, protected=160)

    assert (found.is_decidable, found.covered) == (True, 1.0)


def test_drawing__of_traffic__has_a_column_an_intent_and_strong_ones_are_covered():
    intents = [intent("one", 0.75, verify=5), intent("two", 0.25), intent("new", 0.5, state="emerging")]

    columns = traffic_columns(intents, DEFAULT)
    rows = standing_rows(intents, DEFAULT)

    assert [(one.slug, bar.inner_height == bar.height, is_covered) for bar, one, is_covered in columns] == [
        ("one", True, True), ("two", False, False),
    ]  # fmt: skip
    assert columns[0][0].height == pytest.approx(3 * columns[1][0].height, rel=0.01)
    assert [(row.adds_percent, row.verify_percent, row.is_covered) for row in rows] == [
        (0.0, 21, True), (25.0, 0, False), (0.0, 0, True),
    ]  # fmt: skip
