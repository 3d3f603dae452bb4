"""Points of the admin's small charts: plain numbers in, SVG coordinates out. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Bar", "bars", "curve", "level"]


@dataclass(frozen=True)
class Bar:
    """One column: where it stands, how high it is, and how high its inner part is."""

    x: float
    y: float
    width: float
    height: float
    inner_y: float
    inner_height: float
    label: str


def level(value: float, *, low: float, high: float, height: float) -> float:
    """Return the y coordinate of `value` on an axis from `low` (bottom) to `high` (top); values outside are clipped."""
    if not math.isfinite(value) or high <= low:
        return height
    return round(height * (1 - (min(max(value, low), high) - low) / (high - low)), 1)


def curve(values: Sequence[float], *, low: float, high: float, width: float, height: float) -> str:
    """Return the points of a polyline through `values`, evenly spaced from left to right."""
    if not values:
        return ""
    gap = width / max(1, len(values) - 1)
    return " ".join(
        f"{i * gap:.1f},{level(value, low=low, high=high, height=height)}" for i, value in enumerate(values)
    )


def bars(columns: Sequence[tuple[str, float, float]], *, width: float, height: float) -> list[Bar]:
    """Return a column for each (label, whole, part); the tallest fills the height."""
    highest = max((whole for _, whole, _ in columns), default=0) or 1
    slot = width / max(1, len(columns))
    made = []
    for index, (label, whole, part) in enumerate(columns):
        top, inner = height * whole / highest, height * part / highest
        place = (round(index * slot + slot * 0.12, 1), round(height - top, 1), round(slot * 0.76, 1), round(top, 1))
        made.append(Bar(*place, round(height - inner, 1), round(inner, 1), label))
    return made
