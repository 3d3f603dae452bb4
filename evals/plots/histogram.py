"""Histograms: both arms of a metric against each other, and the ratio between them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evals.plots.axis import Axis, Tick, linear_axis, log_axis, ratio_axis
from evals.reporting.spread import Spread

__all__ = ["Histogram", "HistogramBar", "MirroredHistogram", "mirrored", "ratio_histogram"]

WIDTH, HEIGHT = 400.0, 96.0
MIN_BINS, MAX_BINS = 6, 24
# Beyond this factor between the ends a linear axis would press most values into one bar.
_LOG_FROM = 10.0
_MIN_REACH = 1.25
_MAX_REACH = 10.0


@dataclass(frozen=True, slots=True)
class HistogramBar:
    """One bar: where it stands, from which value to which it counts, and how many it holds."""

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars on one side of an axis; `limit_x` is where the gate's limit lies."""

    width: float
    height: float
    bars: tuple[HistogramBar, ...]
    ticks: tuple[Tick, ...]
    mean_x: float
    lower_x: float | None
    upper_x: float | None
    one_x: float
    limit_x: float


@dataclass(frozen=True, slots=True)
class MirroredHistogram:
    """The candidate's bars stand on the axis, the baseline's hang from it; medians are marked."""

    width: float
    height: float
    axis_y: float
    candidate: tuple[HistogramBar, ...]
    baseline: tuple[HistogramBar, ...]
    ticks: tuple[Tick, ...]
    candidate_x: float
    baseline_x: float
    is_log: bool


def mirrored(spread: Spread) -> MirroredHistogram:
    """Return both arms' values over one axis, bars of both to one scale."""
    before, after = spread.baseline.values, spread.candidate.values
    low, high = min(*before, *after), max(*before, *after)
    is_log = low > 0.0 and high / low > _LOG_FROM
    axis = (log_axis if is_log else linear_axis)(low, high, width=WIDTH, most=5)
    edges = _edges(axis, len(before))
    counts = [_counted(values, edges, axis) for values in (after, before)]
    highest = max(max(one) for one in counts)
    middle = HEIGHT / 2
    candidate, baseline = (
        _bars(one, edges, axis, highest, middle, base=middle, is_hanging=hangs)
        for one, hangs in zip(counts, (False, True), strict=True)
    )
    return MirroredHistogram(
        WIDTH, HEIGHT, middle, candidate, baseline, axis.ticks, axis.place(spread.candidate.median),
        axis.place(spread.baseline.median), is_log,
    )  # fmt: skip


def ratio_histogram(spread: Spread) -> Histogram:
    """Return the ratios candidate / baseline per cluster around 1, with the gate's limit."""
    farthest = max(abs(math.log(value)) for value in (*spread.ratios, spread.limit, spread.ratio))
    axis = ratio_axis(min(_MAX_REACH, max(_MIN_REACH, math.exp(farthest * 1.02))), width=WIDTH)
    edges = _edges(axis, len(spread.ratios))
    counts = _counted(spread.ratios, edges, axis)
    return Histogram(
        WIDTH, HEIGHT, _bars(counts, edges, axis, max(counts), HEIGHT, base=HEIGHT, is_hanging=False), axis.ticks,
        axis.place(spread.ratio), None if spread.ratio_lower is None else axis.place(spread.ratio_lower),
        None if spread.ratio_upper is None else axis.place(spread.ratio_upper), axis.place(1.0), axis.place(spread.limit),
    )  # fmt: skip


def _edges(axis: Axis, number: int) -> list[float]:
    """Return the edges of bars of equal width on the axis, more of them for more values."""
    bins = min(MAX_BINS, max(MIN_BINS, round(1.5 * math.sqrt(number))))
    if axis.is_log:
        return [axis.low * (axis.high / axis.low) ** (n / bins) for n in range(bins + 1)]
    return [axis.low + (axis.high - axis.low) * n / bins for n in range(bins + 1)]


def _counted(values: Sequence[float], edges: Sequence[float], axis: Axis) -> list[int]:
    """Count the values of each bar; those beyond the axis belong to its first and last."""
    bins = len(edges) - 1
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(bins * axis.place(value) / axis.width))] += 1
    return counts


def _bars(
    counts: Sequence[int],
    edges: Sequence[float],
    axis: Axis,
    highest: int,
    room: float,
    *,
    base: float,
    is_hanging: bool,
) -> tuple[HistogramBar, ...]:
    bars = []
    for index, count in enumerate(counts):
        if not count:
            continue
        left, right = axis.place(edges[index]), axis.place(edges[index + 1])
        height = round((room - 2) * count / highest, 1)
        y = base if is_hanging else round(base - height, 1)
        bars.append(
            HistogramBar(left + 0.5, y, round(right - left - 1, 1), height, edges[index], edges[index + 1], count)
        )
    return tuple(bars)
