"""Axes: where values lie on a drawing, and which of them carry a tick."""

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Axis", "Tick", "linear_axis", "log_axis", "ratio_axis"]

# Steps that people count in.
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
_RATIOS = (0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_TWICE = 2.0
# A room of nothing is widened, so that a single value stands in the middle.
_NOTHING = 1e-12
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Tick:
    """A value worth naming, and where it lies."""

    x: float
    value: float


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis over [low, high] on `width`; `place` gives any value's x, clipped to the axis."""

    low: float
    high: float
    width: float
    is_log: bool
    ticks: tuple[Tick, ...] = ()

    def place(self, value: float) -> float:
        scale: Callable[[float], float] = math.log if self.is_log else float
        low, high = scale(self.low), scale(self.high)
        kept = min(max(value, self.low), self.high)
        return round(self.width * (scale(kept) - low) / (high - low), 1)


def linear_axis(low: float, high: float, *, width: float, most: int = 6) -> Axis:
    """Return a linear axis from `low` to `high` with at most `most` round ticks."""
    if high - low <= _NOTHING * max(abs(low), abs(high), _NOTHING):
        reach = abs(low) / _TWICE or 1.0
        low, high = low - reach, high + reach
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in _NICE if nice * power >= rough * (1.0 - _ROUNDING))
    first = math.ceil(low / step - _ROUNDING)
    values = [n * step for n in range(first, math.floor(high / step + _ROUNDING) + 1)]
    return _with_ticks(Axis(low, high, width, is_log=False), values)


def log_axis(low: float, high: float, *, width: float, most: int = 6) -> Axis:
    """Return a logarithmic axis over positive values, ticked at 1, 2 and 5 of each power of ten, thinned to `most`."""
    if high / low < 1.0 + _NOTHING:
        low, high = low / _TWICE, high * _TWICE
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1.0, 2.0, 5.0), (1.0,)):
        values = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(values) <= most:
            break
    return _with_ticks(Axis(low, high, width, is_log=True), values[:: -(-len(values) // most) or 1])


def ratio_axis(reach: float, *, width: float, apart: float = 38.0) -> Axis:
    """Return a logarithmic axis around 1, as far to either side as the factor `reach`, its ticks at least `apart`."""
    axis = Axis(1 / reach, reach, width, is_log=True)
    # From the middle outward, so that 1 always carries a tick.
    kept: list[float] = []
    for value in sorted(
        (value for value in _RATIOS if 1 / reach <= value <= reach), key=lambda one: abs(math.log(one))
    ):
        if all(abs(axis.place(value) - axis.place(other)) >= apart for other in kept):
            kept.append(value)
    return _with_ticks(axis, sorted(kept))


def _with_ticks(axis: Axis, values: list[float]) -> Axis:
    ticks = tuple(Tick(axis.place(value), value) for value in values)
    return Axis(axis.low, axis.high, axis.width, axis.is_log, ticks)
