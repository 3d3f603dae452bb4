"""Pair the two arms' trials and add them up by cluster, the unit every test counts."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evals.readings import FULL_SCORE, CaseReading, RunReadings, TrialReading
from evals.statistics import z_quantile

__all__ = [
    "Pair",
    "Pairing",
    "Shortfall",
    "cluster_means",
    "cluster_sums",
    "counted",
    "pair_trials",
    "pp",
    "shortfall",
    "superiority_error",
    "varies",
]


class Pair(NamedTuple):
    """The same case and trial number in both arms; `difference` is candidate - baseline in thousandths."""

    case: CaseReading
    baseline: TrialReading
    candidate: TrialReading
    difference: int


@dataclass(frozen=True, slots=True)
class Pairing:
    """One split's trials, paired.

    `quality` leaves out every pair in which an arm crashed; `strict` is `quality` plus the pairs in which only the
    candidate crashed, counted as failures. `clean` also holds the crashed pairs. `dropped` counts the pairs that were
    owed and are not there.
    """

    quality: tuple[Pair, ...]
    strict: tuple[Pair, ...]
    clean: tuple[Pair, ...]
    owed: int
    dropped: int


def pair_trials(readings: RunReadings, split: str, trials_owed: int) -> Pairing:
    """Pair by (case, trial number), in an order that does not depend on the order of the rows.

    An infrastructure failure in one arm drops the trial in both; so does a trial the other arm never played.
    """
    cases = {case.case_id: case for case in readings.cases if case.split == split}
    arms: dict[str, dict[tuple[str, int], TrialReading]] = {"baseline": {}, "candidate": {}}
    for trial in readings.trials:
        if trial.case_id in cases and not trial.dropped:
            arms[trial.arm][trial.case_id, trial.trial] = trial
    quality, strict, clean = [], [], []
    numbers = {(trial.case_id, trial.trial) for trial in readings.trials if trial.case_id in cases}
    for key in sorted(numbers):
        baseline, candidate = arms["baseline"].get(key), arms["candidate"].get(key)
        if baseline is None or candidate is None:
            continue
        pair = Pair(cases[key[0]], baseline, candidate, candidate.score - baseline.score)
        clean.append(pair)
        if candidate.crashed and not baseline.crashed:
            strict.append(pair._replace(difference=-baseline.score))
        elif not candidate.crashed and not baseline.crashed:
            quality.append(pair)
            strict.append(pair)
    owed = max(len(numbers), len(cases) * trials_owed)
    return Pairing(tuple(quality), tuple(strict), tuple(clean), owed, owed - len(clean))


def cluster_sums(pairs: Iterable[Pair]) -> dict[str, int]:
    """Return D per cluster: the sum of its differences, in thousandths."""
    sums: dict[str, int] = defaultdict(int)
    for pair in pairs:
        sums[pair.case.cluster] += pair.difference
    return dict(sums)


def cluster_means(pairs: Iterable[Pair]) -> dict[str, float]:
    """Return d per cluster as a fraction: the mean over each case's trials, then over the cluster's cases."""
    cases: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        cases[pair.case.cluster][pair.case.case_id].append(pair.difference)
    return {
        cluster: math.fsum(sum(values) / len(values) for values in own.values()) / len(own) / FULL_SCORE
        for cluster, own in cases.items()
    }


def varies(pairs: Iterable[Pair]) -> bool:
    """Return whether any case scored differently between two trials of the same arm."""
    first: dict[str, tuple[int, int]] = {}
    for pair in pairs:
        scores = (pair.baseline.score, pair.candidate.score)
        if first.setdefault(pair.case.case_id, scores) != scores:
            return True
    return False


class Shortfall(NamedTuple):
    """What would decide an open test: more clusters, or (where trials are the noise) more trials per case."""

    clusters: int
    trials: int | None

    @property
    def words(self) -> str:
        """Return the shortfall as a reviewer reads it."""
        clusters = f"about {counted(self.clusters, 'more cluster')}"
        return clusters if self.trials is None else f"{clusters}, or {counted(self.trials, 'more trial')}"


def shortfall(pairs: Sequence[Pair], needed_error: float) -> Shortfall:
    """Return how far a mean difference is from the standard error a test needs.

    The observed variance of the cluster means is split into what trials contribute (their spread within a cluster,
    divided by k) and what clusters contribute; more trials only shrink the first.
    """
    by_trial: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        by_trial[pair.case.cluster][pair.baseline.trial].append(pair.difference)
    rows = [[sum(one) / len(one) / FULL_SCORE for one in trials.values()] for trials in by_trial.values()]
    n = len(rows)
    if n <= 1 or needed_error <= 0.0:
        return Shortfall(1, None)
    k = max(len(row) for row in rows)
    means = [sum(row) / len(row) for row in rows]
    total = _variance(means)
    # By chance the trials can seem to explain more than the clusters vary; the total is then all theirs.
    within = min(sum(_variance(row) for row in rows if len(row) > 1) / n, total * k)
    goal = needed_error**2 * n
    clusters = max(1, math.ceil(n * total / goal) - n)
    room = goal - (total - within / k)
    if within <= 0.0 or room <= 0.0:
        return Shortfall(clusters, None)
    trials = max(1, math.ceil(within / room) - k)
    # More than doubling the plan's trials is no practical answer.
    return Shortfall(clusters, trials if trials <= max(3, k) else None)


def superiority_error(effect: float, alpha: float, target_power: float) -> float:
    """Return the standard error at which a one-sided test sees `effect` with the wanted power."""
    return effect / (z_quantile(1.0 - alpha) + z_quantile(target_power))


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def counted(number: int, noun: str) -> str:
    """Return the number with its noun, in the plural but for one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def pp(share: float) -> str:
    """Return a fraction as signed percentage points."""
    return f"{share * 100:+.1f} pp"
