"""Coordinates of the run page's drawings: values in, SVG numbers out. Templates only write them down."""

from evals.plots.forest import Forest, forest
from evals.plots.histogram import Histogram, MirroredHistogram, mirrored, ratio_histogram

__all__ = ["Forest", "Histogram", "MirroredHistogram", "forest", "mirrored", "ratio_histogram"]
