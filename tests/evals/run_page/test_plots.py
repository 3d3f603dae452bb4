"""Coordinates of the drawings: in the frame, in order, at the value they stand for."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.plots import forest, mirrored, ratio_histogram
from evals.plots.axis import linear_axis, log_axis, ratio_axis
from evals.reporting.slices import SliceKind, SliceLine
from evals.reporting.spread import ArmSpread, Spread

NUMBERS = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
POSITIVE = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False)


def line(kind: SliceKind, mean: float, lower: float, upper: float) -> SliceLine:
    return SliceLine(
        kind, kind, "verify", 9, 9, 18, mean, lower, upper, 0.5, 0.5 + mean, 0, 0, is_target=False, is_protected=False,
        is_gated=True,
    )  # fmt: skip


def measured(before: list[float], after: list[float]) -> Spread:
    ratios = tuple(new / old for old, new in zip(before, after, strict=True))
    arms = (ArmSpread(sorted(one)[len(one) // 2], None, None, tuple(one)) for one in (before, after))
    return Spread(
        "latency_ms", "ms", len(before), *arms, ratios, ratios[0], 0.9 * ratios[0], 1.1 * ratios[0], 1.1, 0.95
    )


@given(NUMBERS, NUMBERS)
def test_linear_axis__any_ends__has_a_few_ticks_in_order_inside(one: float, other: float) -> None:
    axis = linear_axis(min(one, other), max(one, other), width=400)

    places = [tick.x for tick in axis.ticks]
    assert places == sorted(places)
    assert 1 <= len(places) <= 8
    assert all(0 <= x <= 400 for x in places)
    assert axis.place(axis.low) == 0
    assert axis.place(axis.high) == 400
    assert axis.place(axis.high + 1) == 400


@given(POSITIVE, POSITIVE)
def test_log_axis__any_ends__places_them_at_the_ends(one: float, other: float) -> None:
    axis = log_axis(min(one, other), max(one, other), width=400)

    assert (axis.place(axis.low), axis.place(axis.high)) == (0, 400)
    assert len(axis.ticks) <= 6
    assert axis.place(math.sqrt(axis.low * axis.high)) == pytest.approx(200, abs=0.1)


@pytest.mark.parametrize("reach", [1.25, 1.5, 3.0, 10.0])
def test_ratio_axis__any_reach__ticks_one_and_leaves_room_between_labels(reach: float) -> None:
    axis = ratio_axis(reach, width=400)

    places = [tick.x for tick in axis.ticks]
    assert 1.0 in {tick.value for tick in axis.ticks}
    assert axis.place(1.0) == 200
    assert all(after - before >= 38 for before, after in itertools.pairwise(places))


def test_forest__rows__lie_at_their_values_beside_zero_and_margin() -> None:
    plot = forest([line("target", 0.3, 0.1, 0.5), line("intent", -0.1, -1.0, 0.2)], 0.05)

    assert plot is not None
    target, intent = plot.rows
    assert plot.margin_x < plot.zero_x < target.x_lower < target.x < target.x_upper < plot.width
    assert intent.x < plot.margin_x
    assert (intent.is_lower_cut, target.is_lower_cut, target.is_upper_cut) == (True, False, False)
    assert target.y < intent.y < plot.axis_y < plot.height


def test_forest__of_nothing__is_none() -> None:
    assert forest([], 0.05) is None


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=80))
def test_histograms__any_values__count_each_once_and_stay_in_their_frame(values: list[tuple[float, float]]) -> None:
    before, after = ([pair[arm] for pair in values] for arm in (0, 1))
    spread = measured(before, after)

    arms, ratio = mirrored(spread), ratio_histogram(spread)

    for bars in (arms.candidate, arms.baseline, ratio.bars):
        assert sum(bar.count for bar in bars) == len(values)
        assert all(bar.width > 0 and bar.y >= 0 and bar.y + bar.height <= arms.height for bar in bars)
    assert all(bar.y + bar.height == pytest.approx(arms.axis_y) for bar in arms.candidate)
    assert all(bar.y == arms.axis_y for bar in arms.baseline)
    assert ratio.one_x < ratio.limit_x <= ratio.width


def test_mirrored__values_over_orders_of_magnitude__lie_on_a_logarithmic_axis() -> None:
    assert mirrored(measured([1.0, 50.0, 900.0], [2.0, 60.0, 800.0])).is_log
    assert not mirrored(measured([500.0, 600.0], [550.0, 650.0])).is_log
