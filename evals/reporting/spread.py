"""Read how latency and cost are distributed in both arms, and how the two compare cluster by cluster."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median

from evals.gate.pairs import Pair
from evals.gate.policy import GatePolicy
from evals.gate.ratios import FLOORS
from evals.statistics import mean_bound

__all__ = ["ArmSpread", "Spread", "median_interval", "spread"]

UNITS = {"latency_ms": "ms", "cost_usd": "USD"}


@dataclass(frozen=True, slots=True)
class ArmSpread:
    """One arm's values, one a cluster, and their median; the bounds are `None` where too few values allow any."""

    median: float
    lower: float | None
    upper: float | None
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric in both arms; `ratios` are candidate / baseline per cluster, `ratio` their geometric mean.

    `confidence` holds for each end of each interval by itself; `limit` is the ratio the gate allows.
    """

    metric: str
    unit: str
    clusters: int
    baseline: ArmSpread
    candidate: ArmSpread
    ratios: tuple[float, ...]
    ratio: float
    ratio_lower: float | None
    ratio_upper: float | None
    limit: float
    confidence: float


def spread(pairs: Sequence[Pair], metric: str, policy: GatePolicy) -> Spread | None:
    """Return both arms' distributions over all clusters of `pairs`, unweighted; `None` when nothing was measured.

    As in the gate a case counts with the median of its trials, and a floor keeps the ratio of a free trial finite. No
    answer takes no time at all: pairs without a measured latency are left out.
    """
    read = attrgetter(metric)
    if metric == "latency_ms":
        pairs = [pair for pair in pairs if read(pair.baseline) and read(pair.candidate)]
    if not any(read(pair.baseline) or read(pair.candidate) for pair in pairs):
        return None
    trials: dict[str, tuple[str, list[float], list[float]]] = {}
    for pair in pairs:
        row = trials.setdefault(pair.case.case_id, (pair.case.cluster, [], []))
        row[1].append(read(pair.baseline))
        row[2].append(read(pair.candidate))
    clusters: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for cluster, *arms in trials.values():
        before, after = (median(one) for one in arms)
        clusters[cluster].append((before, after))
    floor = FLOORS[metric]
    logs = [
        math.fsum(math.log((after + floor) / (before + floor)) for before, after in own) / len(own)
        for own in clusters.values()
    ]
    confidence = policy.protected_confidence
    bound = mean_bound(logs, confidence)
    known = len(logs) > 1
    return Spread(
        metric=metric, unit=UNITS[metric], clusters=len(logs),
        baseline=_arm([median(before for before, _ in own) for own in clusters.values()], confidence),
        candidate=_arm([median(after for _, after in own) for own in clusters.values()], confidence),
        ratios=tuple(math.exp(one) for one in logs), ratio=math.exp(bound.mean),
        ratio_lower=math.exp(bound.lower) if known else None, ratio_upper=math.exp(bound.upper) if known else None,
        limit=policy.latency_ratio if metric == "latency_ms" else policy.cost_ratio, confidence=confidence,
    )  # fmt: skip


def _arm(values: Sequence[float], confidence: float) -> ArmSpread:
    lower, upper = median_interval(values, confidence) or (None, None)
    return ArmSpread(median(values), lower, upper, tuple(values))


def median_interval(values: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """Return bounds of the median, each at `confidence`, from order statistics alone (sign test, any distribution).

    The j-th smallest value is above the median with P(Binomial(n, 1/2) < j); the largest j for which that stays within
    1 - confidence is taken from either end. `None` where not even the smallest value is far enough out.
    """
    n, j = len(values), 0
    # Whole numbers until the division: 2^n is beyond a float for a thousand clusters.
    choices, below, every = 1, 1, 2**n
    while below / every <= 1.0 - confidence:
        choices = choices * (n - j) // (j + 1)
        below += choices
        j += 1
    ordered = sorted(values)
    return (ordered[j - 1], ordered[n - j]) if j else None
