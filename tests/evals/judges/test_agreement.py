"""Kappa, its error and the rates, against statsmodels and scipy."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.inter_rater import cohens_kappa

from evals.judges.agreement import Comparison, agreement, sensitivity, specificity


def comparisons(table, *, arm=""):
    """One item for each count of a square table with people in rows, every item a cluster of its own."""
    items = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [Comparison(i, j, str(number), arm) for number, (i, j) in enumerate(items)]


@pytest.mark.parametrize(
    "table",
    [
        [[40, 9], [6, 45]],
        [[3, 11], [7, 7]],
        [[80, 5], [10, 5]],
        [[20, 5, 1], [4, 30, 6], [0, 7, 27]],
        [[9, 3, 1, 0], [2, 14, 5, 1], [1, 4, 20, 6], [0, 2, 3, 29]],
    ],
)
def test_agreement__any_table__is_what_statsmodels_says(table):
    found = agreement(comparisons(table), top=len(table) - 1)

    expected = cohens_kappa(np.array(table), wt="quadratic" if len(table) > 2 else None)
    n = sum(map(sum, table))
    assert found.kappa == pytest.approx(expected.kappa, abs=1e-12)
    assert found.standard_error == pytest.approx(expected.std_kappa * math.sqrt(n / (n - 1)), rel=1e-9)
    reach = stats.t.ppf(0.975, n - 1) * found.standard_error / (1 - expected.kappa**2)
    ends = np.tanh(np.arctanh(expected.kappa) + np.array([-reach, reach]))
    assert (found.lower, found.upper) == pytest.approx(ends)
    assert found.lower == pytest.approx(expected.kappa_low, abs=0.08)
    assert (found.labels, found.clusters) == (n, n)
    assert found.observed == pytest.approx(np.trace(table) / n)


def test_agreement__more_than_two_grades__weighs_far_misses_more():
    near = agreement(comparisons([[30, 5, 0], [5, 30, 5], [0, 5, 30]]), top=2)
    far = agreement(comparisons([[30, 0, 10], [0, 40, 0], [10, 0, 30]]), top=2)

    assert near.observed == pytest.approx(far.observed, abs=0.05)
    assert near.kappa > far.kappa + 0.2


def test_agreement__every_label_five_times_in_its_cluster__is_no_surer():
    once = comparisons([[12, 4], [3, 15]])
    repeated = [one for one in once for _ in range(5)]
    as_if_independent = [one._replace(cluster=str(number)) for number, one in enumerate(repeated)]

    first, same, fooled = (agreement(rows, top=1) for rows in (once, repeated, as_if_independent))

    assert same.kappa == pytest.approx(first.kappa)
    assert same.standard_error == pytest.approx(first.standard_error)
    assert (same.lower, same.upper) == pytest.approx((first.lower, first.upper))
    assert (same.labels, same.clusters) == (170, 34)
    assert fooled.standard_error < 0.5 * first.standard_error


def test_agreement__perfect_on_few_labels__proves_little():
    perfect = agreement(comparisons([[16, 0], [0, 4]]), top=1)
    one_miss = agreement(comparisons([[15, 1], [0, 4]]), top=1)
    opposite = agreement(comparisons([[0, 10], [10, 0]]), top=1)
    many = agreement(comparisons([[80, 0], [0, 80]]), top=1)

    assert (perfect.kappa, perfect.standard_error) == (1.0, 0.0)
    # One clean label in twenty may hide a disagreement of up to 1 - .025^(1/20), of .32 that chance would bring.
    assert perfect.lower == pytest.approx(1 - (1 - 0.025 ** (1 / 20)) / 0.32)
    assert one_miss.lower < perfect.lower
    assert (opposite.kappa, opposite.lower) == (-1.0, -1.0)
    assert opposite.upper > -0.7
    assert many.lower > 0.9


def test_agreement__perfect_within_few_clusters__proves_less_than_as_many_independent_labels():
    rows = [Comparison(number % 2, number % 2, str(number % 12)) for number in range(120)]

    found = agreement(rows, top=1)

    # 120 labels, ten a cluster: 120 / (1 + 9 * .4) = 26 independent ones.
    assert found.lower == pytest.approx(1 - (1 - 0.025 ** (1 / 26)) / 0.5)


@pytest.mark.parametrize("table", [[[0, 0], [0, 12]], [[7, 0], [0, 0]]])
def test_agreement__one_grade_throughout__is_not_measurable(table):
    found = agreement(comparisons(table), top=1)

    assert (found.kappa, found.lower, found.upper) == (None, None, None)
    assert found.observed == 1.0


def test_agreement__judge_that_passes_everything__has_no_kappa_above_chance():
    found = agreement(comparisons([[0, 27], [0, 36]]), top=1)

    assert found.kappa == pytest.approx(0.0)


def test_agreement__nothing_or_one_cluster__claims_nothing():
    one_cluster = [Comparison(1, 1, "a"), Comparison(0, 0, "a")]

    assert agreement([], top=1).kappa is None
    assert agreement([], top=1).observed is None
    assert (agreement(one_cluster, top=1).lower, agreement(one_cluster, top=1).upper) == (-1.0, 1.0)


@pytest.mark.parametrize(("kappa", "passing"), [(0.55, 0.5), (0.7, 0.5), (0.55, 0.8), (0.9, 0.6)])
def test_interval__lower_end__lies_above_the_truth_in_no_more_than_one_of_forty(kappa, passing):
    share = kappa * passing * (1 - passing)
    cells = [(1 - passing) ** 2 + share, *[passing * (1 - passing) - share] * 2, passing**2 + share]
    tables = np.random.default_rng(7).multinomial(120, cells, size=400)

    above = sum(agreement(comparisons(table.reshape(2, 2)), top=1).lower > kappa for table in tables)

    assert above / len(tables) <= 0.035  # 2.5 % nominal, and what 400 draws add by luck


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from("abcdefgh"), st.sampled_from(["baseline", ""])),
        max_size=40,
    )
)
def test_agreement__any_labels__stay_in_range_whatever_their_order(rows):
    items = [Comparison(*row) for row in rows]

    found, other = agreement(items, top=3), agreement(items[::-1], top=3)

    if found.kappa is not None:
        assert -1.0 - 1e-9 <= found.lower <= found.kappa + 1e-9
        assert found.kappa - 1e-9 <= found.upper <= 1.0 + 1e-9
        assert (found.kappa, found.lower) == pytest.approx((other.kappa, other.lower))


def test_rates__per_arm_and_over_all__count_what_people_said():
    rows = comparisons([[8, 2], [1, 9]], arm="baseline") + comparisons([[6, 4], [0, 10]], arm="candidate")
    rows += comparisons([[0, 0], [0, 3]])

    assert sensitivity(rows, pass_mark=1, arm="baseline").share == pytest.approx(0.9)
    assert sensitivity(rows, pass_mark=1, arm="candidate").share == 1.0
    assert specificity(rows, pass_mark=1, arm="candidate").share == pytest.approx(0.6)
    assert sensitivity(rows, pass_mark=1) == (22, 23)
    assert specificity(rows, pass_mark=1) == (14, 20)
    assert specificity([], pass_mark=1).share is None


def test_rates__ordinal__are_cut_at_the_pass_mark():
    rows = [Comparison(i, j, f"{i}{j}") for i, j in product(range(5), range(5))]

    assert sensitivity(rows, pass_mark=3) == (4, 10)
    assert specificity(rows, pass_mark=3) == (9, 15)
