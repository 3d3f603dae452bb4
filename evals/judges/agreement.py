"""Answer how well a judge agrees with people: Cohen's kappa with an interval, sensitivity and specificity. Pure.

Kappa = 1 - D/E: the mean disagreement seen over the mean disagreement that the two margins alone would bring (Cohen
1960; weighted by the squared distance of ordinal grades, Cohen 1968). Its error is the delta method's (Fleiss, Cohen and
Everitt 1969), written with each label's influence, so that labels of one cluster are added up before they are squared.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evals.statistics import student_t_quantile, zero_event_bound

__all__ = ["CONFIDENCE", "Agreement", "Comparison", "Rate", "agreement", "sensitivity", "specificity"]

CONFIDENCE = 0.95
# How alike the cases of one cluster are, as in everything else that the gate's numbers were found by.
ICC = 0.40


class Comparison(NamedTuple):
    """What a person and the judge said of one item, as grades. Items of one cluster are not independent.

    `arm` is empty where the item was not played in a comparison.
    """

    label: int
    verdict: int
    cluster: str
    arm: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Kappa with its two-sided 95 % interval; all three are `None` where both sides gave one and the same grade.

    `labels` counts items, `clusters` independent ones; `observed` is the share of items with equal grades.
    """

    kappa: float | None
    lower: float | None
    upper: float | None
    standard_error: float | None
    labels: int
    clusters: int
    observed: float | None


class Rate(NamedTuple):
    """A share with the counts behind it."""

    hits: int
    number: int

    @property
    def share(self) -> float | None:
        """Return the share, `None` where there was nothing to count."""
        return self.hits / self.number if self.number else None


def agreement(comparisons: Sequence[Comparison], *, top: int) -> Agreement:
    """Return how far the grades 0..`top` of people and judge agree beyond chance, weighted by squared distance.

    On a binary scale the weights make no difference and it is the plain kappa. The interval is symmetric in Fisher's
    z = artanh(kappa): the plain one puts its lower end above a true kappa of .7 in 4-6 % of measurements by 100 labels
    instead of 2.5 %, this one in 1-2 % (simulated). Its lower end is never above what perfect agreement on as many labels
    would show: few labels without one disagreement prove little, though the delta method sees no spread in them.
    """
    n, clusters = len(comparisons), {one.cluster for one in comparisons}
    observed = sum(one.label == one.verdict for one in comparisons) / n if n else None
    seen, by_chance = _disagreement(comparisons, top)
    if by_chance <= 0.0:
        return Agreement(None, None, None, None, n, len(clusters), observed)
    kappa = 1.0 - seen / by_chance
    if len(clusters) == 1:
        return Agreement(kappa, -1.0, 1.0, None, n, 1, observed)
    error = _standard_error(comparisons, top, seen, by_chance)
    lower, upper = _interval(kappa, error, len(clusters))
    unseen = zero_event_bound(_independent(n, len(clusters)), 0.5 + CONFIDENCE / 2) / by_chance
    lower, upper = max(-1.0, min(lower, 1.0 - unseen)), min(1.0, max(upper, unseen - 1.0))
    return Agreement(kappa, lower, upper, error, n, len(clusters), observed)


def _independent(labels: int, clusters: int) -> int:
    """Return how many independent labels these are worth: n over the design effect 1 + (m - 1) ICC, m labels a cluster."""
    return math.floor(labels / (1.0 + (labels / clusters - 1.0) * ICC))


def _interval(kappa: float, error: float, clusters: int) -> tuple[float, float]:
    """Return the two-sided interval; kappa's error on the scale of z is error / (1 - kappa^2)."""
    if abs(kappa) >= 1.0:
        return kappa, kappa
    reach = student_t_quantile(0.5 + CONFIDENCE / 2, clusters - 1) * error / (1.0 - kappa**2)
    return math.tanh(math.atanh(kappa) - reach), math.tanh(math.atanh(kappa) + reach)


def _distance(first: int, second: int, top: int) -> float:
    return float(((first - second) / top) ** 2)


def _disagreement(comparisons: Sequence[Comparison], top: int) -> tuple[float, float]:
    """Return the mean distance of the pairs as they are, and of every label with every verdict."""
    n = len(comparisons)
    if not n:
        return 0.0, 0.0
    labels, verdicts = Counter(one.label for one in comparisons), Counter(one.verdict for one in comparisons)
    seen = math.fsum(_distance(one.label, one.verdict, top) for one in comparisons) / n
    by_chance = math.fsum(
        _distance(label, verdict, top) * labels[label] * verdicts[verdict] for label in labels for verdict in verdicts
    )
    return seen, by_chance / n**2


def _standard_error(comparisons: Sequence[Comparison], top: int, seen: float, by_chance: float) -> float:
    """Return kappa's standard error: the root of the summed squares of the clusters' influences, over n.

    With D = `seen` and E = `by_chance`, item (i, j) moves D by d(i,j) - D and E by the mean distance of i to all verdicts
    plus that of j to all labels minus 2E; kappa moves by D*dE/E^2 - dD/E. Clusters G/(G-1) as for any variance.
    """
    n = len(comparisons)
    labels, verdicts = Counter(one.label for one in comparisons), Counter(one.verdict for one in comparisons)
    to_verdicts = {i: sum(_distance(i, j, top) * number for j, number in verdicts.items()) / n for i in labels}
    to_labels = {j: sum(_distance(i, j, top) * number for i, number in labels.items()) / n for j in verdicts}
    sums: dict[str, float] = defaultdict(float)
    for one in comparisons:
        moved_seen = _distance(one.label, one.verdict, top) - seen
        moved_chance = to_verdicts[one.label] + to_labels[one.verdict] - 2.0 * by_chance
        sums[one.cluster] += seen * moved_chance / by_chance**2 - moved_seen / by_chance
    clusters = len(sums)
    squares = math.fsum(value * value for value in sums.values())
    return math.sqrt(clusters / (clusters - 1) * squares) / n


def sensitivity(comparisons: Sequence[Comparison], *, pass_mark: int, arm: str | None = None) -> Rate:
    """Return how many of what people passed the judge passed too, in one arm or in all."""
    own = [one for one in comparisons if one.label >= pass_mark and arm in (None, one.arm)]
    return Rate(sum(one.verdict >= pass_mark for one in own), len(own))


def specificity(comparisons: Sequence[Comparison], *, pass_mark: int, arm: str | None = None) -> Rate:
    """Return how many of what people failed the judge failed too, in one arm or in all."""
    own = [one for one in comparisons if one.label < pass_mark and arm in (None, one.arm)]
    return Rate(sum(one.verdict < pass_mark for one in own), len(own))
