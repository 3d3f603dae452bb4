"""Judge latency and cost as ratios: per case the median over trials, weighted by live traffic."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median
from typing import Any

from evals.gate.pairs import Pair, counted
from evals.gate.policy import GatePolicy
from evals.readings import GateReading, RunReadings
from evals.statistics import MeanBound, mean_bound

__all__ = ["RatioReading", "cost_gate", "latency_gate", "log_ratio_bound"]

# Added to both arms so that a free or instant trial has a ratio; far below anything a person would gate on.
FLOORS = {"latency_ms": 1.0, "cost_usd": 1e-6}


@dataclass(frozen=True, slots=True)
class RatioReading:
    """The mean log-ratio candidate / baseline over clusters, and the mean change in the metric's own unit."""

    bound: MeanBound
    clusters: int
    change: float

    def clusters_missing(self, goal: float) -> int:
        """Return how many more clusters would bring the upper bound to `goal`, were the mean to stay."""
        room, reach = goal - self.bound.mean, self.bound.upper - self.bound.mean
        return max(1, math.ceil(self.clusters * (reach / room) ** 2) - self.clusters) if room > 0.0 else 1


def log_ratio_bound(
    pairs: Sequence[Pair], metric: str, confidence: float, shares: Mapping[str, float]
) -> RatioReading | None:
    """Return the (traffic-weighted) mean log-ratio with bounds, or `None` when the metric was not measured at all.

    `shares` maps intent to share of traffic; empty, every case weighs alike. Fewer than two clusters give `None` too.
    """
    rows: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    cases = {pair.case.case_id: pair.case for pair in pairs}
    read = attrgetter(metric)
    for case, baseline_trial, candidate_trial, _ in pairs:
        row = rows[case.case_id]
        row[0].append(read(baseline_trial))
        row[1].append(read(candidate_trial))
    if not any(any(one) for row in rows.values() for one in row):
        return None
    in_intent: dict[str, float] = defaultdict(float)
    for case in cases.values():
        in_intent[case.intent] += case.weight
    weights = {
        name: case.weight * (shares.get(case.intent, 0.0) / in_intent[case.intent] if shares else 1.0)
        for name, case in cases.items()
        if case.weight > 0.0
    }
    if not any(weights.values()):
        weights = dict.fromkeys(cases, 1.0)
    floor = FLOORS[metric]
    clusters: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    change = 0.0
    for name, weight in weights.items():
        baseline, candidate = (median(one) for one in rows[name])
        clusters[cases[name].cluster][0] += weight
        clusters[cases[name].cluster][1] += weight * math.log((candidate + floor) / (baseline + floor))
        change += weight * (candidate - baseline)
    kept = [(weight, total / weight) for weight, total in clusters.values() if weight > 0.0]
    if len(kept) <= 1:
        return None
    bound = mean_bound([value for _, value in kept], confidence, [weight for weight, _ in kept])
    return RatioReading(bound, len(kept), change / math.fsum(weights.values()))


def _measure(
    readings: RunReadings, pairs: Sequence[Pair], metric: str, policy: GatePolicy
) -> tuple[RatioReading | None, dict[str, Any]]:
    shares = {one.intent: one.share for one in readings.traffic}
    protected = [pair for pair in pairs if pair.case.is_protected]
    found = log_ratio_bound(protected, metric, policy.protected_confidence, shares)
    target = log_ratio_bound([pair for pair in pairs if pair.case.is_target], metric, policy.protected_confidence, {})
    numbers: dict[str, Any] = {
        "metric": metric, "confidence": policy.protected_confidence,
        "target_slice_ratio": math.exp(target.bound.mean) if target else None,
    }  # fmt: skip
    if found:
        numbers |= {
            "clusters": found.clusters, "ratio": math.exp(found.bound.mean), "ratio_upper": math.exp(found.bound.upper),
            "mean_change": found.change,
        }  # fmt: skip
    return found, numbers


def latency_gate(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    """Block a slower answer: the bound beyond the allowed ratio and the mean increase beyond what people notice."""
    found, numbers = _measure(readings, pairs, "latency_ms", policy)
    numbers |= {"ratio_allowed": policy.latency_ratio, "floor_ms": policy.latency_floor_ms}
    if not policy.protected_min_clusters and not any(pair.case.is_protected for pair in pairs):
        return GateReading("latency", "pass", numbers, "pass: no case is protected, and the policy asks for none.")
    if found is None:
        return GateReading(
            "latency",
            "hold",
            numbers,
            "hold: no latency was measured on 2 protected clusters; let the runner report it.",
        )
    limit = math.log(policy.latency_ratio)
    stated = f"ratio {numbers['ratio']:.3f}, upper bound {numbers['ratio_upper']:.3f}, {found.change:+.0f} ms"
    if found.bound.upper < limit:
        return GateReading("latency", "pass", numbers, f"pass: {stated}.")
    if found.change <= policy.latency_floor_ms:
        words = f"pass: {stated}; an increase up to {policy.latency_floor_ms:g} ms does not block."
        return GateReading("latency", "pass", numbers, words)
    return _over(found, numbers, "latency", limit, f"{stated}; allowed is {policy.latency_ratio:g}")


def cost_gate(readings: RunReadings, pairs: Sequence[Pair], gain: float | None, policy: GatePolicy) -> GateReading:
    """Block a dearer answer; up to the second ratio it is a person's decision when the target gains enough.

    `gain` is the measured effect on the target, `None` where the claim measures none. `numbers.person` says that the
    pass needs a person's look.
    """
    found, numbers = _measure(readings, pairs, "cost_usd", policy)
    numbers |= {"ratio_allowed": policy.cost_ratio, "ratio_person": policy.cost_ratio_person, "person": False}
    if found is None:
        return GateReading("cost", "pass", numbers, "pass: neither arm spent anything on protected cases.")
    limit = math.log(policy.cost_ratio)
    stated = f"ratio {numbers['ratio']:.3f}, upper bound {numbers['ratio_upper']:.3f}"
    if found.bound.upper < limit:
        return GateReading("cost", "pass", numbers, f"pass: {stated}.")
    if found.bound.upper < math.log(policy.cost_ratio_person) and (gain or 0.0) >= policy.cost_person_gain:
        numbers["person"] = True
        return GateReading("cost", "pass", numbers, f"pass: {stated}; a person decides whether the gain is worth it.")
    return _over(found, numbers, "cost", limit, f"{stated}; allowed is {policy.cost_ratio:g}")


def _over(found: RatioReading, numbers: dict[str, Any], name: str, limit: float, stated: str) -> GateReading:
    """Fail when the estimate itself is over the limit, hold when only its bound is."""
    if found.bound.mean >= limit:
        return GateReading(name, "fail", numbers, f"fail: {stated}.")
    missing = found.clusters_missing(limit)
    numbers["clusters_missing"] = missing
    return GateReading(name, "hold", numbers, f"hold: about {counted(missing, 'more protected cluster')}: {stated}.")
