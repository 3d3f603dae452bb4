"""The gate's numbers, held against scipy and against counting by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from evals import statistics

SMALL_INTEGERS = st.lists(st.integers(min_value=-5, max_value=5), min_size=1, max_size=9)


def brute_force_p(differences: list[int]) -> float:
    sizes = [abs(d) for d in differences]
    sums = [
        sum(sign * size for sign, size in zip(signs, sizes, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(sizes))
    ]
    return sum(one >= sum(differences) for one in sums) / len(sums)


@given(SMALL_INTEGERS)
def test_sign_flip__any_small_integers__counts_every_pattern(differences: list[int]) -> None:
    assert statistics.sign_flip_p(differences) == pytest.approx(brute_force_p(differences), abs=1e-12)


@given(st.integers(min_value=1, max_value=400), st.data())
def test_sign_flip__wins_and_losses_of_one__is_the_exact_binomial_test(n: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(min_value=0, max_value=n))

    p = statistics.sign_flip_p([1] * wins + [-1] * (n - wins) + [0, 0])

    assert p == pytest.approx(stats.binomtest(wins, n, 0.5, alternative="greater").pvalue, rel=1e-9, abs=1e-300)


def test_sign_flip__graded_scores__agrees_with_scipys_permutation_test() -> None:
    differences = [333, -120, 500, 0, 275, 810, -45, 95, 400, -333, 15]

    found = stats.permutation_test(
        (np.array(differences),), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )

    assert statistics.sign_flip_p(differences) == pytest.approx(found.pvalue, abs=1e-12)


@pytest.mark.parametrize("differences", [[], [0], [0] * 200])
def test_sign_flip__no_difference__gives_one(differences: list[int]) -> None:
    assert statistics.sign_flip_p(differences) == 1.0


@given(SMALL_INTEGERS)
def test_sign_flip__labels_swapped__covers_both_tails(differences: list[int]) -> None:
    there = statistics.sign_flip_p(differences)
    back = statistics.sign_flip_p([-d for d in differences])

    ties = there + back - 1.0
    assert ties >= -1e-12
    assert min(there, back) > 0.0


@given(SMALL_INTEGERS, st.integers(min_value=0, max_value=8))
def test_sign_flip__one_cluster_turns_from_loss_to_gain__p_does_not_rise(differences: list[int], index: int) -> None:
    index %= len(differences)
    better = [abs(d) if i == index else d for i, d in enumerate(differences)]

    assert statistics.sign_flip_p(better) <= statistics.sign_flip_p(differences) + 1e-12


def test_sign_flip__many_graded_clusters__stays_exact() -> None:
    p = statistics.sign_flip_p([1] * 300 + [997] * 60)

    assert p == pytest.approx(2.0**-360, rel=1e-12)


@example(5.960464477539063e-08, 23.0)
@given(
    st.floats(min_value=-60, max_value=60, allow_nan=False),
    st.sampled_from([1.0, 2.0, 5.5, 23.0, 160.0, 5000.0]),
)
def test_student_t_cdf__any_t__agrees_with_scipy(t: float, df: float) -> None:
    # So near zero scipy loses the argument in rounding; the distribution function is a straight line there.
    expected = stats.t.cdf(t, df) if abs(t) > 1e-4 else 0.5 + t * stats.t.pdf(0.0, df)

    assert statistics.student_t_cdf(t, df) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("df", [1, 2, 7, 23, 100, 160, 1000])
@pytest.mark.parametrize("probability", [0.01, 0.2, 0.5, 0.8, 0.95, 0.99, 0.9995])
def test_student_t_quantile__any_level__agrees_with_scipy(probability: float, df: int) -> None:
    assert statistics.student_t_quantile(probability, df) == pytest.approx(stats.t.ppf(probability, df), abs=1e-8)


def test_student_t__no_degrees_of_freedom__is_refused() -> None:
    with pytest.raises(ValueError, match="Degrees of freedom"):
        statistics.student_t_cdf(1.0, 0)


@pytest.mark.parametrize("probability", [0.0, 1.0, 1.5])
def test_student_t_quantile__no_probability__is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="strictly between"):
        statistics.student_t_quantile(probability, 5)


def test_student_t_cdf__infinite_t__is_certain() -> None:
    assert statistics.student_t_cdf(math.inf, 5) == 1.0
    assert statistics.student_t_cdf(-math.inf, 5) == 0.0
    assert statistics.student_t_cdf(-1e200, 5) == 0.0


def test_mean_bound__equal_weights__is_the_t_interval() -> None:
    values = [0.1, -0.2, 0.3, 0.05, 0.0, 0.4]

    bound = statistics.mean_bound(values, 0.95)

    low, high = stats.t.interval(0.90, 5, loc=np.mean(values), scale=stats.sem(values))
    assert (bound.lower, bound.upper) == pytest.approx((low, high))
    weighted = statistics.mean_bound(values, 0.95, [2.0] * 6)
    assert list(weighted) == pytest.approx(list(bound))


def test_mean_bound__one_value__is_unbounded() -> None:
    bound = statistics.mean_bound([0.3], 0.95)

    assert (bound.mean, bound.lower, bound.upper) == (0.3, -math.inf, math.inf)


def test_mean_bound__no_value__is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        statistics.mean_bound([], 0.95)


def test_welch__two_groups__agrees_with_scipy() -> None:
    first, second = [0.2, 0.5, 0.9, 0.4, 0.6], [0.1, 0.3, 0.0, 0.2]

    expected = stats.ttest_ind(first, second, equal_var=False, alternative="greater").pvalue

    assert statistics.welch_greater_p(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [([1.0, 1.0], [0.0, 0.0], 0.0), ([1.0, 1.0], [1.0, 1.0], 1.0), ([1.0], [0.0, 0.0], 1.0)],
)
def test_welch__no_spread__is_decided_by_the_means(first: list[float], second: list[float], expected: float) -> None:
    assert statistics.welch_greater_p(first, second) == expected


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=8))
def test_worst_slice__few_clusters__counts_every_pattern(rows: list[tuple[int, int, int]]) -> None:
    observed = min(sum(column) for column in zip(*rows, strict=True))
    patterns = list(itertools.product((-1, 1), repeat=len(rows)))
    as_bad = 0
    for signs in patterns:
        sums = [sum(s * row[i] for s, row in zip(signs, rows, strict=True)) for i in range(3)]
        as_bad += min(sums) <= observed
    # A worst slice that did not fall needs no count: the test has no alternative there.
    expected = as_bad / len(patterns) if observed < 0 else 1.0

    assert statistics.worst_slice_p(rows).p == pytest.approx(expected)


def test_worst_slice__many_clusters__draws_near_the_exact_p_and_repeats_it() -> None:
    rows = [(-1,)] * 20 + [(1,)] * 10

    test = statistics.worst_slice_p(rows)

    exact = stats.binomtest(20, 30, 0.5, alternative="greater").pvalue
    assert test.draws == statistics.SLICE_DRAWS
    assert test.p == pytest.approx(exact, abs=0.01)
    assert statistics.worst_slice_p(rows[::-1]) == test


def test_worst_slice__far_from_alpha__stops_at_the_first_draws() -> None:
    test = statistics.worst_slice_p([(-1, 0), (1, 0)] * 10 + [(0, -1)])

    assert test.draws == statistics.SLICE_FIRST_DRAWS
    assert test.p > 0.5


def test_worst_slice__nothing_moved__gives_one() -> None:
    assert statistics.worst_slice_p([(0, 0), (0, 0)]) == (1.0, 0)
    assert statistics.worst_slice_p([]) == (1.0, 0)


def test_zero_event_bound__300_clean_runs__is_below_one_percent() -> None:
    assert statistics.zero_event_bound(300) == pytest.approx(0.00994, abs=1e-4)
    assert statistics.zero_event_bound(300) == pytest.approx(stats.binomtest(0, 300).proportion_ci(0.90).high, abs=1e-6)
    assert statistics.zero_event_bound(0) == 1.0


def test_power__effect_of_two_and_a_half_errors__is_four_fifths() -> None:
    assert statistics.power(2.4865, 1.0, 0.05) == pytest.approx(0.80, abs=1e-3)
    assert statistics.power(0.1, 0.0, 0.05) == 1.0
    assert statistics.power(0.0, 0.0, 0.05) == 0.05


def test_pass_hat_k__mixed_cases__is_the_mean_of_the_ratios() -> None:
    assert statistics.pass_hat_k([3, 2, 0], [3, 3, 3], 2) == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert statistics.pass_hat_k([1], [1], 2) is None


@given(st.integers(min_value=1, max_value=500), st.data())
def test_wilson__any_count__agrees_with_scipy(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(min_value=0, max_value=n))

    lower, upper = statistics.wilson_bounds(k / n, n, statistics.z_quantile(0.975))

    expected = stats.binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert (max(0.0, lower), min(1.0, upper)) == pytest.approx((expected.low, expected.high), abs=1e-9)
