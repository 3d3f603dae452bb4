"""Whether simulated conversations are like recorded ones: every statistic's distance with its interval. Pure.

The claim "like" must be shown, not merely fail to be refuted: it holds when for every statistic the 90 % interval of the
difference lies within the tolerance, which is two one-sided tests at 5 % each (Schuirmann 1987). All must hold at once, so
the claim needs no correction for their number (intersection-union test, Berger 1982). "Differs" names a statistic whose
interval at 5 % over the number of statistics lies off zero, and which is not shown to be within the tolerance.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from evals.conversing.traits import Traits
from evals.statistics import mean_bound, student_t_quantile, wilson_bounds, z_quantile

__all__ = ["Likeness", "Statistic", "Tolerance", "compare"]

type Verdict = Literal["like", "differs", "undecided"]

_ALPHA = 0.05
# Errors and spreads below this are rounding of none.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far simulated conversations may be from recorded ones, and how many of each it takes to say so.

    `share` is absolute (of one), `ratio` relative to the recorded mean of turns and of words. `clusters` is the least
    number of users, and of simulated cases.
    """

    share: float = 0.15
    ratio: float = 0.25
    clusters: int = 20


@dataclass(frozen=True, slots=True)
class Statistic:
    """One distance. Means of turns and words are geometric and compared as ratios, all else as shares of one.

    `lower` and `upper` bound the difference (for ratios: the ratio less one) at 90 %. `needs` estimates by which
    factor the smaller population must grow to decide; 1 where it is decided.
    """

    name: str
    kind: Literal["share", "ratio"]
    simulated: float
    recorded: float
    difference: float
    lower: float
    upper: float
    verdict: Verdict
    needs: float = 1.0

    @property
    def words(self) -> str:
        """Return the distance as a person reads it."""
        label = _LABELS[self.name]
        if self.kind == "ratio":
            gap, span = f"{self.difference:+.0%}", f"{self.lower:+.0%} to {self.upper:+.0%}"
            return f"{label} {self.simulated:.1f}, recorded {self.recorded:.1f} ({gap}; {span})"
        span = f"{self.lower * 100:+.0f} to {self.upper * 100:+.0f}"
        return f"{label} {self.simulated:.0%}, recorded {self.recorded:.0%} ({self.difference * 100:+.0f} pp; {span})"


@dataclass(frozen=True, slots=True)
class Likeness:
    """The verdict over all statistics, with the sizes it rests on. Units are clusters: users, and cases."""

    verdict: Verdict
    sentence: str
    statistics: tuple[Statistic, ...]
    num_simulated: int
    num_recorded: int
    simulated_clusters: int
    recorded_clusters: int

    def as_mapping(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self) | {"statistics": [asdict(one) | {"words": one.words} for one in self.statistics]}


class _Measure(NamedTuple):
    """A weighted mean with its cluster-robust error, and the effective numbers of clusters and of conversations."""

    mean: float
    error: float
    df: float
    clusters: float
    rows: float


_SHARES: Mapping[str, Callable[[Traits], float]] = {
    "rephrased": lambda one: float(one.rephrased),
    "complained": lambda one: float(one.complained),
    "left": lambda one: float(one.left),
    "asked_person": lambda one: float(one.asked_person),
    "resolved": lambda one: float(one.resolved),
    "specifics": lambda one: one.specifics,
}
_RATIOS: Mapping[str, Callable[[Traits], float]] = {
    "turns": lambda one: math.log(one.turns),
    "words": lambda one: math.log(max(one.words, 0.5)),
}
_LABELS = {
    "turns": "turns of the user", "words": "words a turn", "specifics": "turns that name a particular",
    "rephrased": "rephrased in", "complained": "complained in", "left": "left without a word in",
    "asked_person": "asked for a person in", "resolved": "resolved",
}  # fmt: skip


def compare(simulated: Sequence[Traits], recorded: Sequence[Traits], tolerance: Tolerance) -> Likeness:
    """Compare on the intents both have; recorded conversations are weighted to the simulated mix of intents.

    Deterministic: equal conversations in any order give an equal answer.
    """
    shared = {one.intent for one in simulated} & {one.intent for one in recorded}
    ours = sorted((one for one in simulated if one.intent in shared), key=_order)
    theirs = sorted((one for one in recorded if one.intent in shared), key=_order)
    sizes = {
        "num_simulated": len(ours), "num_recorded": len(theirs),
        "simulated_clusters": len({one.cluster for one in ours}),
        "recorded_clusters": len({one.cluster for one in theirs}),
    }  # fmt: skip
    if missing := _missing(sizes, tolerance):
        return Likeness("undecided", f"undecided: {missing}", (), **sizes)
    mix = _mix(ours)
    weights = (_weights(ours, mix), _weights(theirs, mix))
    found = tuple(
        [_ratio(name, ours, theirs, weights, tolerance) for name in _RATIOS]
        + [_share(name, ours, theirs, weights, tolerance) for name in _SHARES]
    )
    verdict: Verdict = (
        "differs" if any(one.verdict == "differs" for one in found)
        else "like" if all(one.verdict == "like" for one in found) else "undecided"
    )  # fmt: skip
    return Likeness(verdict, _sentence(verdict, found, sizes, tolerance), found, **sizes)


def _order(one: Traits) -> tuple[Any, ...]:
    return (one.intent, one.cluster, one.turns, one.words, one.specifics, one.rephrased, one.complained, one.left)


def _missing(sizes: Mapping[str, int], tolerance: Tolerance) -> str:
    lacks = [
        f"{tolerance.clusters - sizes[name]} more {what} ({sizes[name]} of {tolerance.clusters})"
        for name, what in (
            ("simulated_clusters", "simulated cases"), ("recorded_clusters", "users with recorded conversations"),
        )
        if sizes[name] < tolerance.clusters
    ]  # fmt: skip
    return f"{' and '.join(lacks)} of the same intents are needed." if lacks else ""


def _mix(rows: Sequence[Traits]) -> dict[str, float]:
    counts: dict[str, int] = defaultdict(int)
    for one in rows:
        counts[one.intent] += 1
    return {intent: number / len(rows) for intent, number in counts.items()}


def _weights(rows: Sequence[Traits], mix: Mapping[str, float]) -> list[float]:
    """Return each conversation's weight, so that intents have the shares of `mix`; they sum to 1."""
    own = _mix(rows)
    return [mix[one.intent] / (own[one.intent] * len(rows)) for one in rows]


def _measure(rows: Sequence[Traits], weights: Sequence[float], value: Callable[[Traits], float]) -> _Measure:
    """Return the weighted mean with its cluster-robust error: a cluster is one value, weighing what its rows weigh."""
    mass: dict[str, float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    for one, weight in zip(rows, weights, strict=True):
        mass[one.cluster] += weight
        total[one.cluster] += weight * value(one)
    bound = mean_bound([total[name] / mass[name] for name in mass], 0.95, list(mass.values()))
    return _Measure(bound.mean, bound.standard_error, len(mass) - 1, _effective(mass.values()), _effective(weights))


def _effective(weights: Iterable[float]) -> float:
    """Return Kish's effective number: few that weigh much count as few."""
    return 1.0 / math.fsum(weight * weight for weight in weights)


def _ratio(
    name: str, ours: Sequence[Traits], theirs: Sequence[Traits], weights: tuple[list[float], list[float]], tolerance: Tolerance
) -> Statistic:  # fmt: skip
    """Compare geometric means by Welch's interval of the mean logarithms."""
    a, b = _measure(ours, weights[0], _RATIOS[name]), _measure(theirs, weights[1], _RATIOS[name])
    gap, error = a.mean - b.mean, math.hypot(a.error, b.error)
    squares = a.error**4 / a.df + b.error**4 / b.df
    df = error**4 / squares if squares > 0.0 else a.df + b.df

    def span(alpha: float) -> tuple[float, float]:
        reach = student_t_quantile(1.0 - alpha, round(df, 3)) * error
        return gap - reach, gap + reach

    margin = math.log(1.0 + tolerance.ratio)
    verdict, needs, (lower, upper) = _decide(gap, span, margin)
    return Statistic(
        name, "ratio", math.exp(a.mean), math.exp(b.mean), math.expm1(gap), math.expm1(lower), math.expm1(upper),
        verdict, needs,
    )  # fmt: skip


def _share(
    name: str, ours: Sequence[Traits], theirs: Sequence[Traits], weights: tuple[list[float], list[float]], tolerance: Tolerance
) -> Statistic:  # fmt: skip
    """Compare shares by Newcombe's interval (1998, method 10), honest at none and at all.

    The size of each sample is the one whose binomial spread equals the cluster-robust error. A share that nobody shows
    has no spread and is still not known to be zero: there each cluster counts once.
    """
    a, b = _measure(ours, weights[0], _SHARES[name]), _measure(theirs, weights[1], _SHARES[name])

    def span(alpha: float) -> tuple[float, float]:
        z = z_quantile(1.0 - alpha)
        (low_a, high_a), (low_b, high_b) = (wilson_bounds(one.mean, _binomial_size(one), z) for one in (a, b))
        gap = a.mean - b.mean
        return gap - math.hypot(a.mean - low_a, high_b - b.mean), gap + math.hypot(high_a - a.mean, b.mean - low_b)

    gap = a.mean - b.mean
    verdict, needs, (lower, upper) = _decide(gap, span, tolerance.share)
    return Statistic(name, "share", a.mean, b.mean, gap, lower, upper, verdict, needs)


def _binomial_size(one: _Measure) -> float:
    spread = one.mean * (1.0 - one.mean)
    return min(one.rows, spread / one.error**2) if one.error > _ROUNDING and spread > _ROUNDING else one.clusters


def _decide(
    gap: float, span: Callable[[float], tuple[float, float]], margin: float
) -> tuple[Verdict, float, tuple[float, float]]:
    lower, upper = span(_ALPHA)
    if -margin < lower and upper < margin:
        return "like", 1.0, (lower, upper)
    wide = span(_ALPHA / (2 * (len(_SHARES) + len(_RATIOS))))
    if wide[0] > 0.0 or wide[1] < 0.0:
        return "differs", 1.0, (lower, upper)
    room = margin - abs(gap)
    half = (upper - lower) / 2
    # An interval shrinks with the root of the size; where the estimate itself is beyond the margin, twice as many.
    return "undecided", (half / room) ** 2 if room > 0.1 * margin else 2.0, (lower, upper)


def _sentence(verdict: Verdict, found: Sequence[Statistic], sizes: Mapping[str, int], tolerance: Tolerance) -> str:
    rests = f"{sizes['num_simulated']} simulated and {sizes['num_recorded']} recorded conversations"
    within = f"{tolerance.share * 100:.0f} pp and {tolerance.ratio:.0%}"
    named = "; ".join(one.words for one in found if one.verdict == verdict)
    match verdict:
        case "like":
            return f"like the recorded ones within {within}, on {rests}."
        case "differs":
            return f"differs from the recorded ones on {rests}: {named}."
    factor = max(one.needs for one in found if one.verdict == "undecided")
    smaller = min(sizes["simulated_clusters"], sizes["recorded_clusters"])
    scarce = "simulated cases" if sizes["simulated_clusters"] == smaller else "users with recorded conversations"
    more = max(1, math.ceil(smaller * (factor - 1.0)))
    return f"undecided on {rests}: about {more} more {scarce} to tell whether within {within}: {named}."
