"""Whether simulated conversations are like recorded ones: right about equal and about different populations."""

import json
import math
import random
from dataclasses import asdict

import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from episodes.turns import Turn
from evals.conversing.likeness import Tolerance, compare
from evals.conversing.traits import Traits, traits_of

RATES = {"rephrased": 0.35, "complained": 0.15, "left": 0.2, "asked_person": 0.1, "resolved": 0.55}
POPULATIONS = 40


def people(chance, number, tag, trials=1, words=2.3, **rates):
    """Draw conversations of as many users, whose ways differ from each other (ICC .3), of five intents."""
    made = []
    for user in range(number):
        own = {name: chance.betavariate(rate * 7 / 3, (1 - rate) * 7 / 3) for name, rate in (RATES | rates).items()}
        own_words = chance.gauss(words, 0.2)
        for _ in range(trials):
            turns = min(8, 1 + int(chance.expovariate(1.2)))
            drawn = {name: chance.random() < rate for name, rate in own.items()}
            length = math.exp(chance.gauss(own_words, 0.4))
            made.append(Traits(f"{tag}{user}", f"i{user % 5}", turns, length, chance.random() < 0.3, **drawn))
    return made


def verdicts(seed, **differences):
    """Return how often each verdict comes, for 60 simulated users played 3 times and 200 recorded ones."""
    chance = random.Random(seed)
    found = [
        compare(people(chance, 60, "c", 3, **differences), people(chance, 200, "u"), Tolerance()).verdict
        for _ in range(POPULATIONS)
    ]
    return {verdict: found.count(verdict) / POPULATIONS for verdict in ("like", "differs", "undecided")}


def test_compare__equal_populations__are_seldom_called_different():
    shares = verdicts("equal")

    # 5 % by construction, and three standard errors of so many draws.
    assert shares["differs"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / POPULATIONS)
    assert shares["like"] >= 0.05


@pytest.mark.parametrize("difference", [{"resolved": 0.40}, {"words": 2.3 + math.log(1.25)}])
def test_compare__as_far_apart_as_tolerated__are_seldom_called_like(difference):
    shares = verdicts(str(difference), **difference)

    assert shares["like"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / POPULATIONS)


@pytest.mark.parametrize("difference", [{"asked_person": 0.45}, {"words": 3.2}, {"complained": 0.55}])
def test_compare__far_apart__are_called_different_and_the_statistic_is_named(difference):
    chance = random.Random(str(difference))
    found = compare(people(chance, 60, "c", 5, **difference), people(chance, 300, "u"), Tolerance())

    assert found.verdict == "differs"
    assert {one.name for one in found.statistics if one.verdict == "differs"} == set(difference)
    assert "recorded" in found.sentence


def test_compare__nobody_shows_it_among_few__is_not_shown_to_be_alike():
    chance = random.Random(1)
    rates = dict.fromkeys(RATES, 0.0001)
    few = compare(people(chance, 20, "c", **rates), people(chance, 20, "u", **rates), Tolerance(share=0.10))

    left = next(one for one in few.statistics if one.name == "left")
    assert (left.simulated, left.recorded, left.verdict) == (0.0, 0.0, "undecided")
    assert few.verdict == "undecided"
    assert "more simulated cases" in few.sentence


def test_compare__too_few_of_either__says_how_many_are_missing():
    chance = random.Random(2)

    found = compare(people(chance, 5, "c"), people(chance, 7, "u"), Tolerance())

    assert found.verdict == "undecided"
    assert "15 more simulated cases (5 of 20)" in found.sentence
    assert "13 more users with recorded conversations (7 of 20)" in found.sentence


def test_compare__no_intent_in_common__compares_nothing():
    chance = random.Random(3)
    strangers = [Traits(**asdict(one) | {"intent": f"other-{one.intent}"}) for one in people(chance, 50, "u")]

    found = compare(people(chance, 50, "c"), strangers, Tolerance())

    assert (found.verdict, found.num_simulated, found.num_recorded) == ("undecided", 0, 0)


def test_compare__another_mix_of_intents__is_weighted_to_the_simulated_one():
    def of(intent, number, tag, turns):
        return [Traits(f"{tag}{intent}{n}", intent, turns, 9.0, 0.0, *[False] * 5) for n in range(number)]

    ours = of("a", 30, "c", 4) + of("b", 10, "c", 1)
    theirs = of("a", 20, "u", 4) + of("b", 200, "u", 1)

    turns = next(one for one in compare(ours, theirs, Tolerance()).statistics if one.name == "turns")

    assert turns.simulated == pytest.approx(turns.recorded) == pytest.approx(4**0.75)


def test_compare__one_conversation_a_cluster__equals_the_textbook():
    chance = random.Random(4)
    ours, theirs = (
        [Traits(**asdict(one) | {"intent": "a"}) for one in people(chance, number, tag)]
        for number, tag in ((80, "c"), (200, "u"))
    )

    found = {one.name: one for one in compare(ours, theirs, Tolerance()).statistics}

    logs = [[math.log(one.turns) for one in rows] for rows in (ours, theirs)]
    welch = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.90)
    assert math.log1p(found["turns"].lower) == pytest.approx(welch.low, abs=1e-4)
    assert math.log1p(found["turns"].upper) == pytest.approx(welch.high, abs=1e-4)
    counts = [sum(one.resolved for one in rows) for rows in (ours, theirs)]
    # The cluster-robust error divides by n - 1 where the binomial one divides by n.
    low, high = confint_proportions_2indep(counts[0], 80, counts[1], 200, method="newcomb", alpha=0.10)
    assert found["resolved"].lower == pytest.approx(low, abs=2e-3)
    assert found["resolved"].upper == pytest.approx(high, abs=2e-3)


def test_compare__conversations_in_any_order__give_the_same_reading():
    chance = random.Random(5)
    ours, theirs = people(chance, 30, "c", 2), people(chance, 40, "u")
    shuffled = [random.Random(6).sample(rows, len(rows)) for rows in (ours, theirs)]

    one, two = (compare(*rows, Tolerance()).as_mapping() for rows in ((ours, theirs), shuffled))

    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)


def talk(*texts):
    return [Turn("user" if place % 2 == 0 else "assistant", text) for place, text in enumerate(texts)]


def read(said, *, resolved=False, handed_off=False):
    return traits_of(said, cluster="c", intent="i", resolved=resolved, handed_off=handed_off)


def test_traits__of_a_talk__are_read_from_what_was_said():
    said = talk(
        "Where is my parcel?", "Which order?", "4711-1", "I do not know 4711-1.", "That's not what I asked.", "Sorry.",
        "This is useless, I want a real person.", "No.",
    )  # fmt: skip

    found = read(said)

    assert (found.turns, found.specifics) == (4, 0.25)
    assert (found.rephrased, found.complained, found.asked_person, found.left) == (True, True, True, False)
    assert found.words == pytest.approx((4 + 2 + 6 + 8) / 4)


def test_traits__farewell_and_silence__are_told_apart():
    thanked = read(talk("Where is it?", "On its way.", "Thanks, that is all."), resolved=True)
    silent = read(talk("Where is it?", "Which one?"))

    assert (thanked.turns, thanked.left, thanked.resolved) == (1, False, True)
    assert silent.left
    assert not read(talk("Where is it?", "A colleague helps."), handed_off=True).left
    assert read([Turn("assistant", "Hello?")]) is None
