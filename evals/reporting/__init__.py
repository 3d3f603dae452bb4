"""Turn what a run measured into what a reviewer is shown: slices, gates, flips, reliability, distributions, comparisons.

Values in, frozen values out: no database, no clock. The same values are drawn on the page and served over REST.
"""

from evals.reporting.comparison import Comparison, compare
from evals.reporting.report import RunReport, build_report

__all__ = ["Comparison", "RunReport", "build_report", "compare"]
