"""The forest plot: a mean with its interval per slice, zero and the margin through all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.plots.axis import Tick, linear_axis
from evals.reporting.slices import SliceLine

__all__ = ["Forest", "ForestRow", "forest"]

WIDTH, ROW_HEIGHT, LABEL_HEIGHT, FOOT = 400.0, 34.0, 18.0, 34.0
SIDE = 6.0
# Small slices have intervals from one end to the other; the axis shows the means and lets such intervals run out.
_ROOM = 1.15


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One slice: where its label, interval and mean lie; an end that runs out of the axis is cut and drawn as an arrow."""

    line: SliceLine
    label_y: float
    y: float
    x: float
    x_lower: float
    x_upper: float
    is_lower_cut: bool
    is_upper_cut: bool


@dataclass(frozen=True, slots=True)
class Forest:
    """The whole plot, in the units of its viewBox."""

    width: float
    height: float
    axis_y: float
    zero_x: float
    margin_x: float
    rows: tuple[ForestRow, ...]
    ticks: tuple[Tick, ...]


def forest(lines: Sequence[SliceLine], margin: float) -> Forest | None:
    """Return the plot of the lines in their order, `None` without any.

    The axis holds every mean, the margin, and the intervals of summaries; it never leaves -1..1.
    """
    if not lines:
        return None
    firm = [value for line in lines if line.kind != "intent" for value in (line.lower, line.upper)]
    values = [0.0, -margin, margin, *firm, *(line.mean for line in lines)]
    axis = linear_axis(max(-1.0, min(values) * _ROOM), min(1.0, max(values) * _ROOM), width=WIDTH - 2 * SIDE)
    rows = []
    for index, line in enumerate(lines):
        top = index * ROW_HEIGHT
        rows.append(
            ForestRow(
                line,
                top + LABEL_HEIGHT - 5,
                top + LABEL_HEIGHT + 6,
                SIDE + axis.place(line.mean),
                SIDE + axis.place(line.lower),
                SIDE + axis.place(line.upper),
                line.lower < axis.low,
                line.upper > axis.high,
            )
        )
    bottom = len(lines) * ROW_HEIGHT + 4
    return Forest(
        WIDTH, bottom + FOOT, bottom, SIDE + axis.place(0.0), SIDE + axis.place(-margin), tuple(rows),
        tuple(Tick(SIDE + tick.x, tick.value) for tick in axis.ticks),
    )  # fmt: skip
