"""Which episodes become drafts: by traffic, over splits and kinds, nothing twice, no cluster in two splits."""

import random
from collections import Counter
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.stratifying import Candidate, Place, Plan, choose


def candidate(number, *, intent="a", split="verify", kind="success", cluster=None, group=None, strength=1):
    place = Place(intent, split, kind, cluster or f"user {number}", UUID(int=group or number + 1))
    return Candidate(place, strength, f"{number:05}")


def many(number, **changes):
    return [candidate(n + changes.pop("first", 0), **changes) for n in range(number)]


def mixed(intent, number, first):
    """Conversations as capture splits them, half of them failed."""
    splits = ["dev"] * 5 + ["verify"] * 3 + ["holdout"] * 2
    return [
        candidate(first + n, intent=intent, split=splits[n % 10], kind=("success", "known_failure")[n // 10 % 2])
        for n in range(number)
    ]


def test_choose__plenty_of_everything__follows_traffic_with_a_floor():
    pool = mixed("often", 400, 0) + mixed("seldom", 400, 1_000) + mixed("rare", 400, 2_000)
    plan = Plan(number=100, at_least=5, shares={"often": 0.89, "seldom": 0.10, "rare": 0.01})

    chosen = choose(pool, [], plan)

    assert Counter(one.place.intent for one in chosen) == {"often": 85, "seldom": 10, "rare": 5}


def test_choose__within_an_intent__fills_verify_first_and_both_kinds_alike():
    chosen = choose(mixed("a", 400, 0), [], Plan(number=40, at_least=5, shares={"a": 1.0}))

    assert Counter(one.place.split for one in chosen) == {"verify": 20, "holdout": 10, "dev": 10}
    assert Counter(one.place.kind for one in chosen) == {"success": 20, "known_failure": 20}


def test_choose__near_duplicates__become_one_case():
    pool = [candidate(n, group=7) for n in range(9)] + [candidate(20)]

    chosen = choose(pool, [], Plan(number=10, at_least=5, shares={"a": 1.0}))

    assert len(chosen) == 2


def test_choose__conversation_with_a_case__is_not_drafted_again():
    there = candidate(1).place

    assert choose([candidate(1)], [there], Plan(number=10, at_least=5, shares={"a": 1.0})) == []


def test_choose__user_read_in_dev__is_not_asked_in_verify():
    there = Place("a", "dev", "success", "user x", UUID(int=99))
    pool = [candidate(1, cluster="user x"), candidate(2, cluster="user y"), candidate(3, split="dev", cluster="user y")]

    chosen = choose(pool, [there], Plan(number=10, at_least=5, shares={"a": 1.0}))

    assert [(one.place.cluster, one.place.split) for one in chosen] == [("user y", "verify")]


def test_choose__few_users__takes_new_clusters_before_more_of_the_same():
    pool = [candidate(n, cluster="loud", strength=3) for n in range(9)] + [candidate(20 + n) for n in range(3)]

    chosen = choose(pool, [], Plan(number=4, at_least=0, shares={"a": 1.0}))
    all_of_them = choose(pool, [], Plan(number=99, at_least=0, shares={"a": 1.0}))

    assert Counter(one.place.cluster for one in chosen) == Counter(["loud", "user 20", "user 21", "user 22"])
    assert len(all_of_them) == 12


def test_choose__best_known__comes_first():
    pool = [candidate(1, strength=0), candidate(2, strength=3), candidate(3, strength=2)]

    chosen = choose(pool, [], Plan(number=2, at_least=0, shares={"a": 1.0}))

    assert [one.strength for one in chosen] == [3, 2]


def test_choose__what_is_there__counts_towards_the_shares():
    there = [candidate(500 + n, intent="often").place for n in range(40)]
    pool = mixed("often", 100, 0) + mixed("seldom", 100, 1_000)

    chosen = choose(pool, there, Plan(number=40, at_least=0, shares={"often": 0.5, "seldom": 0.5}))

    assert Counter(one.place.intent for one in chosen) == {"seldom": 40}


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.integers(0, 60), st.integers(0, 6))
def test_choose__any_pool_in_any_order__keeps_its_promises(dice, number, at_least):
    pool = [
        candidate(
            n, intent=dice.choice("abc"), split=dice.choice(["dev", "verify", "holdout"]), cluster=f"user {dice.randint(0, 20)}",
            kind=dice.choice(["success", "known_failure", "edge", "high_risk"]), group=dice.randint(1, 60),
        )
        for n in range(80)
    ]  # fmt: skip
    plan = Plan(number=number, at_least=at_least, shares={"a": 0.6, "b": 0.3, "c": 0.1})

    chosen = choose(pool, [], plan)
    shuffled = random.Random(1).sample(pool, len(pool))

    homes = {(one.place.cluster, one.place.split) for one in chosen}
    assert len({one.place.group for one in chosen}) == len(chosen) == len(set(chosen))
    assert len(homes) == len({cluster for cluster, _ in homes})
    assert len(chosen) <= max(number, 3 * at_least)
    assert choose(shuffled, [], plan) == chosen
