import pytest

from evals.budget import Spending


def spending(**changes):
    return Spending(**{"budget_usd": 5.0, "budget_s": 3_600.0, "missing": 10, **changes})


@pytest.mark.parametrize(
    ("changes", "is_spent"),
    [
        ({}, False),
        ({"usd": 4.99}, False),
        ({"usd": 5.0}, True),
        ({"seconds": 3_600.0}, True),
        ({"usd": 50.0, "seconds": 9_999.0, "missing": 0}, False),
        ({"usd": 50.0, "seconds": 9_999.0, "budget_usd": None, "budget_s": None}, False),
        ({"budget_usd": 0.0}, True),
    ],
)
def test_spending__so_much__is_spent_or_not(changes, is_spent):
    assert spending(**changes).is_spent is is_spent


def test_sentence__money_is_spent__says_what_was_and_what_is_missing():
    spent = spending(missing=20)
    for _ in range(10):
        spent.count(0.5)

    assert spent.sentence == (
        "The run has spent $5.00 of the $5.00 it may spend, and needs about $5.00 more. 10 of 20 results are missing; "
        "what was played is kept. Resume the run with a larger allowance, or cancel it."
    )


def test_sentence__time_is_spent__says_both_durations():
    spent = spending(seconds=7_300.0, budget_s=7_200.0, played=50, missing=50)

    assert spent.sentence.startswith(
        "The run was played for 2.0 h of the 2.0 h it may take, and needs about 2.0 h more."
    )


def test_sentence__nothing_played_yet__guesses_nothing():
    assert "needs about" not in spending(budget_usd=0.0).sentence


def test_count__result_of_another_run__costs_nothing():
    spent = spending()
    spent.count(4.0, paid=False)

    assert (spent.usd, spent.played, spent.missing) == (0.0, 0, 9)
