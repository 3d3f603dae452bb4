"""Judge that what worked still works: non-inferiority on the cases the baseline always passed."""

import math
from collections.abc import Sequence
from typing import Any

from evals.gate.pairs import Pair, cluster_means, counted, pp, shortfall, varies
from evals.gate.policy import GatePolicy
from evals.gate.target import pass_k
from evals.readings import GateReading, RunReadings
from evals.statistics import mean_bound, student_t_cdf, student_t_quantile

__all__ = ["protected_gate"]


def protected_gate(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    """Pass when the lower bound of the mean change per cluster is above -margin.

    One pseudo-cluster d0 = -1/k_eff joins the values: on an agent that never varies the observed spread of a few
    broken cases is far too small, and without d0 a plain t-test lets real harm through three times too often.
    k_eff is 1 when no protected case varied between trials, for then k repetitions told one thing.
    """
    own = [pair for pair in pairs if pair.case.is_protected]
    by_cluster = cluster_means(own)
    values = [by_cluster[name] for name in sorted(by_cluster)]
    n, k = len(values), max((_counts(own)), default=0)
    k_eff = k if varies(own) else min(1, k)
    confidence = policy.protected_confidence_at(readings.look)
    numbers: dict[str, Any] = {
        "clusters": n, "clusters_needed": policy.protected_min_clusters, "margin": policy.protected_margin,
        "confidence": confidence, "k_eff": k_eff, "look": readings.look, "differences": [round(d, 6) for d in values],
        "flips": _flips(own), "mean": math.fsum(values) / n if n else None,
    } | pass_k(own)  # fmt: skip
    note = f" (k={k} gave no information: no case varied)" if k > k_eff else ""
    if n < policy.protected_min_clusters:
        missing = counted(policy.protected_min_clusters - n, "more protected cluster")
        words = f"hold: {missing} ({n} of {policy.protected_min_clusters})."
        return GateReading("protected", "hold", numbers, words)
    if not values:
        words = "pass: no case is protected, and the policy asks for none."
        return GateReading("protected", "pass", numbers, words)

    bound = mean_bound([*values, -1.0 / k_eff], confidence)
    room = bound.mean + policy.protected_margin
    p = 1.0 - student_t_cdf(room / bound.standard_error, n)
    numbers |= {"lower_bound": bound.lower, "standard_error": bound.standard_error, "p": p}
    flips = numbers["flips"]
    stated = (
        f"mean {pp(numbers['mean'])}, lower bound {pp(bound.lower)} at {confidence:.0%}, margin "
        f"{pp(-policy.protected_margin)}, {flips['broken']} cases broken and {flips['mended']} mended{note}"
    )
    if bound.lower > -policy.protected_margin:
        return GateReading("protected", "pass", numbers, f"pass: {stated}.")
    if "protected" in readings.passed_before and room > 0.0:
        return GateReading("protected", "pass", numbers, f"pass: passed at an earlier look of this plan; now {stated}.")
    return _not_shown(readings, own, numbers, room, stated, policy)


def _not_shown(
    readings: RunReadings, pairs: Sequence[Pair], numbers: dict[str, Any], room: float, stated: str, policy: GatePolicy
) -> GateReading:
    """Decide between fail and hold: fail when the estimate itself is beyond the margin, or when the plan is over."""
    futility, p = policy.futility_at(readings.look), numbers["p"]
    if futility is not None and p > futility:
        return GateReading("protected", "fail", numbers, f"fail: futile (p = {p:.2f} > {futility:g}): {stated}.")
    if policy.is_interim(readings.look):
        return GateReading("protected", "hold", numbers, f"hold: 1 more trial, the plan's next look; {stated}.")
    if room <= 0.0 or readings.look >= policy.looks:
        return GateReading("protected", "fail", numbers, f"fail: {stated}.")
    missing = shortfall(pairs, room / student_t_quantile(numbers["confidence"], numbers["clusters"]))
    numbers |= {"clusters_missing": missing.clusters, "trials_missing": missing.trials}
    return GateReading("protected", "hold", numbers, f"hold: {missing.words}: {stated}.")


def _counts(pairs: Sequence[Pair]) -> list[int]:
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.case.case_id] = counts.get(pair.case.case_id, 0) + 1
    return list(counts.values())


def _flips(pairs: Sequence[Pair]) -> dict[str, int]:
    """Count cases that went from k/k to 0/k (broken) and from 0/k to k/k (mended)."""
    always: dict[str, tuple[bool, bool, bool, bool]] = {}
    for pair in pairs:
        b, c = pair.baseline.success, pair.candidate.success and not pair.candidate.crashed
        old = always.get(pair.case.case_id, (True, True, True, True))
        always[pair.case.case_id] = (old[0] and b, old[1] and not c, old[2] and not b, old[3] and c)
    return {
        "broken": sum(row[0] and row[1] for row in always.values()),
        "mended": sum(row[2] and row[3] for row in always.values()),
    }
