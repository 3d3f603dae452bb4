"""Reports what agents can do at the first attempt, and what their loop within a task makes of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from episodes.attempts import LOOKED_AT, newest_attempts
from episodes.detectors.attempts import Attempts
from evals.statistics import mean_bound, wilson_bounds, z_quantile
from harness.models import Agent

__all__ = ["Measured", "Report", "card", "report", "report_of"]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """A share or a mean with its two-sided 95 % interval; `lower` and `upper` are `None` where one run tells of none."""

    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class Report:
    """First-pass and final success of an agent's newest runs with attempts; without any, only `number` speaks."""

    number: int
    first_pass: Measured | None = None
    final: Measured | None = None
    attempts: Measured | None = None


def report_of(agent: Agent) -> Report:
    """Return the report of one agent; costs one query over its last `episodes.attempts.LOOKED_AT` episodes."""
    return report(newest_attempts(agent))


def report(runs: Sequence[Attempts]) -> Report:
    """Return the report of some runs, each counted as independent of the others.

    Shares have Wilson's interval (1927), the mean number of attempts Student's.
    """
    if not runs:
        return Report(0)
    return Report(
        len(runs),
        _share([run.passed_first for run in runs]),
        _share([run.passed for run in runs]),
        _mean([float(run.number) for run in runs]),
    )


def card(agent: Agent) -> dict[str, Any]:
    """Return what an agent's page shows of its attempts."""
    return {"template": "console/attempts.html", "report": report_of(agent), "looked_at": LOOKED_AT}


def _share(passed: Sequence[bool]) -> Measured:
    share = sum(passed) / len(passed)
    lower, upper = wilson_bounds(share, len(passed), z_quantile(0.5 + _CONFIDENCE / 2))
    return Measured(share, max(0.0, lower), min(1.0, upper))


def _mean(values: Sequence[float]) -> Measured:
    bound = mean_bound(values, 0.5 + _CONFIDENCE / 2)
    if math.isinf(bound.standard_error):
        return Measured(bound.mean, None, None)
    return Measured(bound.mean, bound.lower, bound.upper)
