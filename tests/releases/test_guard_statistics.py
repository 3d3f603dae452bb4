"""The guard's mathematics against brute force, enumeration and independent libraries."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from releases.bucketing import Arm
from releases.guard.betting import EFFECTS, SLICE_EFFECTS, LabelBet, e_bh
from releases.guard.confidence import MIN_EFFECTIVE_USERS, MIN_USERS, ArmTotals, Strata, half_width
from releases.guard.forecast import detection_users, promotion_users
from releases.guard.observations import Exposure, Trail
from releases.guard.ratio import SampleRatio

Episodes = list[tuple[int, str, bool, bool]]
episodes = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 25).map("u{}".format), st.booleans(), st.booleans()), max_size=150
)


def wealth_of(draws: list[tuple[float, bool, bool]], effects: tuple[float, ...] = EFFECTS) -> float:
    bet = LabelBet(effects)
    for chance, canary, failed in draws:
        bet.observe(canary=canary, failed=failed, chance=chance)
    return bet.e_value


@pytest.mark.parametrize("effects", [EFFECTS, SLICE_EFFECTS])
@pytest.mark.parametrize("chances", [(0.5,) * 6, (0.05, 0.05, 0.25, 0.9, 0.5, 0.2)])
def test_label_bet__equal_arms__expects_exactly_one_for_every_outcome(
    chances: tuple[float, ...], effects: tuple[float, ...]
) -> None:
    for outcomes in itertools.product((False, True), repeat=len(chances)):
        expected = math.fsum(
            math.prod(q if one else 1 - q for q, one in zip(chances, arms, strict=True))
            * wealth_of(list(zip(chances, arms, outcomes, strict=True)), effects)
            for arms in itertools.product((False, True), repeat=len(chances))
        )

        assert expected == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("canary_rate", "control_rate"), [(0.1, 0.1), (0.1, 0.3), (0.0, 1.0), (0.9, 0.99), (0.5, 1.0)])
def test_label_bet__canary_no_worse__expects_at_most_one(canary_rate: float, control_rate: float) -> None:
    expected = 0.0
    for cells in itertools.product(itertools.product((False, True), repeat=2), repeat=4):
        chance = 1.0
        for canary, failed in cells:
            rate = canary_rate if canary else control_rate
            chance *= 0.4 * (0.4 / 0.4 if canary else 1.5) * (rate if failed else 1 - rate)
        expected += chance * wealth_of([(0.4, canary, failed) for canary, failed in cells])

    assert expected <= 1.0 + 1e-12


def test_label_bet__control_fails_almost_always__never_pays_for_a_better_canary() -> None:
    bet = LabelBet()
    for _ in range(200):
        bet.observe(canary=False, failed=True, chance=None)
    for _ in range(50):
        bet.observe(canary=True, failed=False, chance=0.5)

    assert bet.e_value == 1.0


def test_label_bet__three_draws__is_the_formula_by_hand() -> None:
    expected = 0.0
    for effect in EFFECTS:
        first = (0.3 + effect) / (0.5 * (0.3 + effect) + 0.5 * 0.3)
        second = 0.7 / (0.25 * (0.7 - effect) + 0.75 * 0.7)
        base = 0.6 / 3
        third = (1 - base - effect) / (0.5 * (1 - base - effect) + 0.5 * (1 - base))
        expected += first * second * third / len(EFFECTS)

    assert wealth_of([(0.5, True, True), (0.25, False, False), (0.5, True, False)]) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1e6), max_size=8))
def test_e_bh__any_values__rejects_what_the_definition_says(values: list[float]) -> None:
    named = [(str(index), value) for index, value in enumerate(values)]
    ranks = [k for k in range(1, len(values) + 1) if sum(v >= len(values) / (0.05 * k) for v in values) >= k]

    assert len(e_bh(named, 0.05)) == max(ranks, default=0)


def brute_bounds(record: Episodes, level: float, horizon: float) -> tuple[float, float, float] | None:
    """Return difference, lower and upper straight from the printed formula, per-user lists and all."""
    stages: dict[int, dict[bool, dict[str, list[bool]]]] = defaultdict(lambda: {True: {}, False: {}})
    for stage, user, canary, failed in record:
        stages[stage][canary].setdefault(user, []).append(failed)
    weights, differences, variances = [], [], []
    for arms in stages.values():
        if min(len(arms[True]), len(arms[False])) < MIN_USERS:
            continue
        sizes = {a: [len(v) for v in arms[a].values()] for a in arms}
        if sum(sum(n) ** 2 / sum(x * x for x in n) for n in sizes.values()) < MIN_EFFECTIVE_USERS:
            continue
        rate, variance, total = {}, 0.0, {}
        for a, users in arms.items():
            m = total[a] = sum(sizes[a])
            rate[a] = sum(map(sum, users.values())) / m
            spread = sum((sum(v) - rate[a] * len(v)) ** 2 for v in users.values())
            smooth = (rate[a] * m + 1) / (m + 2)
            variance += max(spread / m**2 * len(users) / (len(users) - 1), smooth * (1 - smooth) / m)
        weights.append(total[True] * total[False] / (total[True] + total[False]))
        differences.append(rate[True] - rate[False])
        variances.append(variance)
    if not weights:
        return None
    w = sum(weights)
    d = sum(x * y for x, y in zip(weights, differences, strict=True)) / w
    v = sum(x * x * y for x, y in zip(weights, variances, strict=True)) / w**2
    nu = 4 * w
    r = (-2 * math.log(2 * level) + math.log(-2 * math.log(2 * level) + 1)) / horizon
    half = (
        math.sqrt(v) * math.sqrt(nu)
        * math.sqrt(2 * (nu * r + 1) / (nu**2 * r) * math.log(1 + math.sqrt(nu * r + 1) / (2 * level)))
    )  # fmt: skip
    return d, d - half, d + half


def strata_of(record: Episodes) -> Strata:
    strata = Strata()
    for stage, user, canary, failed in record:
        strata.add(stage, user, canary=canary, failed=failed)
    return strata


@given(episodes, st.sampled_from([(0.025, 500), (0.01, 500), (0.05, 1000)]))
def test_strata__any_record__equals_the_formula_by_brute_force(record: Episodes, at: tuple[float, int]) -> None:
    found = strata_of(record).bounds(*at)
    expected = brute_bounds(record, *at)

    assert (found is None) == (expected is None)
    if found is not None:
        assert found[:3] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(episodes)
def test_strata__labels_swapped__mirrors_its_bounds(record: Episodes) -> None:
    found = strata_of(record).bounds(0.025, 500)
    mirrored = strata_of([(stage, user, not canary, failed) for stage, user, canary, failed in record]).bounds(
        0.025, 500
    )

    if found is None or mirrored is None:
        assert found is mirrored
    else:
        assert (mirrored.lower, mirrored.upper) == pytest.approx((-found.upper, -found.lower), abs=1e-12)


def test_arm_totals__clustered_users__have_the_variance_of_cluster_robust_regression() -> None:
    rng = np.random.default_rng(5)
    users = rng.integers(0, 40, 600)
    failed = rng.random(600) < rng.beta(0.5, 2, 40)[users]
    totals = ArmTotals()
    for user, fails in zip(users, failed, strict=True):
        totals.add(f"u{user}", failed=bool(fails))

    fit = sm.OLS(failed.astype(float), np.ones(600)).fit(cov_type="cluster", cov_kwds={"groups": users})

    assert totals.variance == pytest.approx(float(fit.cov_params()[0, 0]))


def test_arm_totals__no_failure_at_all__is_floored_not_certain() -> None:
    totals = ArmTotals()
    for number in range(100):
        totals.add(f"u{number}", failed=False)

    assert totals.variance == pytest.approx((1 / 102) * (101 / 102) / 100)


@pytest.mark.parametrize("level", [0.01, 0.025, 0.05])
def test_half_width__in_standard_errors__is_tightest_at_the_horizon(level: float) -> None:
    # The optimum of the mixture is approximate; within a factor of two of the horizon nothing is gained.
    at = half_width(1.0, 500, level, 500)

    assert at < half_width(1.0, 50, level, 500)
    assert at < half_width(1.0, 5000, level, 500)
    assert at > 1.96


def test_trail__crossover__is_drawn_with_the_conditional_chance() -> None:
    trail = Trail()
    assert trail.chance("u", 0.05) == 0.05
    trail.note("u", 0.05, canary=False)

    assert trail.chance("u", 0.25) == pytest.approx((0.25 - 0.05) / 0.95)
    assert trail.chance("u", 0.05) is None
    assert trail.chance("u", 0.25, control_before=0.10) == pytest.approx(0.15 / 0.90)
    assert trail.chance("u", 1.0) is None

    trail.note("u", 0.25, canary=True)
    assert trail.chance("u", 0.50) is None
    assert trail.chance("stranger", 0.0) is None


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.05, 0.25, 0.5, 0.95]))
def test_sample_ratio__one_stream__is_the_beta_form(canaries: int, controls: int, weight: float) -> None:
    ratio = SampleRatio.of(
        Exposure(f"u{index}", 0, Arm.CANARY if index < canaries else Arm.CONTROL, weight, float(index))
        for index in range(canaries + controls)
    )
    log = special.betaln(1 + canaries, 1 + controls) - canaries * math.log(weight) - controls * math.log(1 - weight)

    assert ratio.shares.e_value == pytest.approx(math.exp(log), rel=1e-9)


def test_sample_ratio__draws_as_planned__expects_one_over_two_stages() -> None:
    # Five users at 25 %, and whoever was control is drawn again at 50 %.
    expected = 0.0
    for firsts in itertools.product((True, False), repeat=5):
        left = [user for user, canary in enumerate(firsts) if not canary]
        for seconds in itertools.product((True, False), repeat=len(left)):
            again = (0.5 - 0.25) / 0.75
            chance = math.prod(0.25 if one else 0.75 for one in firsts)
            chance *= math.prod(again if one else 1 - again for one in seconds)
            shown = [Exposure(f"u{user}", 0, _arm(one), 0.25, float(user)) for user, one in enumerate(firsts)]
            shown += [
                Exposure(f"u{user}", 1, _arm(one), 0.5, 10.0 + user) for user, one in zip(left, seconds, strict=True)
            ]
            expected += chance * SampleRatio.of(shown).shares.e_value

    assert expected == pytest.approx(1.0)


def _arm(canary: bool) -> Arm:
    return Arm.CANARY if canary else Arm.CONTROL


def test_sample_ratio__repeated_exposure_in_a_stage__is_one_draw() -> None:
    shown = [Exposure("u", 0, Arm.CANARY, 0.5, float(moment)) for moment in range(20)]

    assert SampleRatio.of(shown).shares.e_value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("base", "margin", "published_per_arm"),
    [(0.10, 0.03, 1134), (0.10, 0.05, 440), (0.10, 0.10, 140), (0.05, 0.05, 247), (0.05, 0.10, 88)],
)
def test_promotion_users__simulated_medians__are_met_within_two_fifths(
    base: float, margin: float, published_per_arm: int
) -> None:
    # The forecast follows the expected path; a real one wanders and crosses somewhat sooner.
    found = promotion_users(base, margin)

    assert found is not None
    assert 0.95 <= found / 2 / published_per_arm <= 1.45


def test_promotion_users__demo_margin_at_a_fifth_failing__is_260_an_arm() -> None:
    assert promotion_users(0.20, 0.10) == pytest.approx(2 * 260, rel=0.02)


def test_detection_users__harm_of_ten_points__is_what_was_simulated() -> None:
    found = detection_users(0.10, 0.10, level=0.01)

    assert found is not None
    assert 540 <= found <= 705
    assert detection_users(0.10, 0.0001, level=0.01) is None


def test_detection_users__almost_everything_fails_already__is_left_to_the_bounds() -> None:
    assert detection_users(0.85, 0.10, level=0.01) is not None
