"""Judge what the proposal claims: on the target's verify cases, and once more on the fresh hold-out."""

import math
from collections.abc import Sequence
from typing import Any

from evals.gate.pairs import Pair, cluster_means, cluster_sums, counted, pp, shortfall, superiority_error
from evals.gate.policy import GatePolicy
from evals.gate.ratios import log_ratio_bound
from evals.readings import GateReading, RunReadings
from evals.statistics import mean_bound, pass_hat_k, power, sign_flip_p

__all__ = ["holdout_gate", "needs_holdout", "target_clusters_needed", "target_gate"]

RATIO_METRICS = {"cheaper": "cost_usd", "faster": "latency_ms"}


def needs_holdout(readings: RunReadings) -> bool:
    """Return whether the claim is one that a hold-out can confirm; a smaller document needs no confirmation."""
    return readings.claim != "simplifies"


def target_clusters_needed(readings: RunReadings, policy: GatePolicy) -> int:
    """Return the clusters the target test needs; a noisy judge multiplies them by 1/(sens + spec - 1)^2."""
    youden = readings.judge.youden if readings.judge else None
    if youden is None:
        return policy.target_min_clusters
    # At or below chance the judge gate holds the run anyway; the factor only has to stay finite.
    factor = 1.0 / max(youden, 0.1) ** 2
    # Rounded first: .8 is not exact in binary, and 37.500000000000007 must not ask for one cluster more.
    return math.ceil(round(policy.target_min_clusters * factor, 9))


def target_gate(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    """Judge the claim on the verify cases of the target (`cheaper` and `faster` without a target: on all of them)."""
    own = _target_pairs(readings, pairs)
    match readings.claim:
        case "simplifies":
            return _simplifies(readings)
        case "enables":
            return _enables(own, policy)
        case "cheaper" | "faster":
            return _improves_ratio(readings, own, policy)
        case "fixes":
            return _fixes(readings, own, policy)


def _target_pairs(readings: RunReadings, pairs: Sequence[Pair]) -> list[Pair]:
    own = [pair for pair in pairs if pair.case.is_target]
    # A claim about money or time need not name a target slice: then every case is one.
    return own or (list(pairs) if readings.claim in RATIO_METRICS else [])


def _fixes(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    sums = cluster_sums(pairs)
    n, needed = len(sums), target_clusters_needed(readings, policy)
    alpha = policy.target_alpha_at(readings.look)
    p = sign_flip_p(list(sums.values()))
    bound = mean_bound(list(cluster_means(pairs).values()), 1.0 - alpha) if sums else None
    predicted = readings.predicted_effect
    effect = predicted if predicted is not None and predicted > 0.0 else policy.target_default_effect
    chance = power(effect, bound.standard_error, alpha) if bound and n > 1 else 0.0
    numbers: dict[str, Any] = {
        "claim": "fixes", "clusters": n, "clusters_needed": needed, "cases": len({pair.case.case_id for pair in pairs}),
        "differences": [sums[name] for name in sorted(sums)], "p": p, "alpha": alpha, "look": readings.look,
        "effect": bound.mean if bound else None, "predicted_effect": effect, "power": chance,
    } | pass_k(pairs)  # fmt: skip
    if bound is None or n < needed:
        return GateReading(
            "target", "hold", numbers, f"hold: {counted(needed - n, 'more target cluster')} ({n} of {needed})."
        )
    stated = f"{pp(bound.mean)} on {n} clusters, exact p = {p:.4f} (alpha {alpha:g})"
    if p <= alpha:
        return GateReading("target", "pass", numbers, f"pass: {stated}.")
    if "target" in readings.passed_before and bound.mean > 0.0:
        return GateReading("target", "pass", numbers, f"pass: passed at an earlier look of this plan; now {stated}.")
    return _not_shown(readings, pairs, numbers, stated, policy)


def _not_shown(
    readings: RunReadings, pairs: Sequence[Pair], numbers: dict[str, Any], stated: str, policy: GatePolicy
) -> GateReading:
    """Decide between fail and hold for a gain that was not shown: hold only where more evidence could still show it."""
    futility = policy.futility_at(readings.look)
    chance, effect, alpha = numbers["power"], numbers["predicted_effect"], numbers["alpha"]
    seen = f"power {chance:.2f} for {pp(effect)}"
    if futility is not None and numbers["p"] > futility:
        words = f"fail: futile, {stated}; a look this early stops at p > {futility:g}."
        return GateReading("target", "fail", numbers, words)
    if policy.is_interim(readings.look):
        return GateReading("target", "hold", numbers, f"hold: 1 more trial, the plan's next look; {stated}.")
    if chance >= policy.target_power or readings.look >= policy.looks:
        return GateReading("target", "fail", numbers, f"fail: no gain shown: {stated}, {seen}.")
    missing = shortfall(pairs, superiority_error(effect, alpha, policy.target_power))
    numbers |= {"clusters_missing": missing.clusters, "trials_missing": missing.trials}
    words = f"hold: {missing.words}: {stated}, and the spread leaves {seen}."
    return GateReading("target", "hold", numbers, words)


def _improves_ratio(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    metric = RATIO_METRICS[readings.claim]
    confidence = 1.0 - policy.target_alpha_at(readings.look)
    found = log_ratio_bound(pairs, metric, confidence, {})
    needed = target_clusters_needed(readings, policy)
    n = found.clusters if found else 0
    numbers: dict[str, Any] = {
        "claim": readings.claim, "metric": metric, "clusters": n, "clusters_needed": needed, "confidence": confidence,
        "ratio_wanted": policy.improvement_ratio, "look": readings.look,
    }  # fmt: skip
    if found is None or n < needed:
        return GateReading(
            "target", "hold", numbers, f"hold: {counted(needed - n, 'more cluster')} with a measured {metric}."
        )
    goal = math.log(policy.improvement_ratio)
    numbers |= {"ratio": math.exp(found.bound.mean), "ratio_upper": math.exp(found.bound.upper)}
    stated = f"ratio {math.exp(found.bound.mean):.3f}, upper bound {math.exp(found.bound.upper):.3f}"
    if found.bound.upper < goal:
        return GateReading("target", "pass", numbers, f"pass: {stated}, below {policy.improvement_ratio:g}.")
    if "target" in readings.passed_before and found.bound.mean < goal:
        return GateReading("target", "pass", numbers, f"pass: passed at an earlier look of this plan; now {stated}.")
    if found.bound.mean >= goal or (readings.look >= policy.looks):
        words = f"fail: {stated}; the claim {readings.claim!r} needs it below {policy.improvement_ratio:g}."
        return GateReading("target", "fail", numbers, words)
    missing = found.clusters_missing(goal)
    numbers["clusters_missing"] = missing
    return GateReading("target", "hold", numbers, f"hold: about {counted(missing, 'more cluster')}: {stated}.")


def _simplifies(readings: RunReadings) -> GateReading:
    size = readings.size
    if size is None:
        words = "hold: the run does not state the document's size."
        return GateReading("target", "hold", {"claim": "simplifies"}, words)
    numbers = {"claim": "simplifies", "lines_before": size.lines_before, "lines_after": size.lines_after}
    change = f"{size.lines_before} lines before, {size.lines_after} after"
    if size.lines_after < size.lines_before:
        return GateReading("target", "pass", numbers, f"pass: {change}.")
    return GateReading("target", "fail", numbers, f"fail: {change}; the claim 'simplifies' needs fewer lines.")


def _enables(pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    """A new capability's own cases must each pass in most of their trials: there is no baseline worth beating."""
    good: dict[str, list[bool]] = {}
    for pair in pairs:
        good.setdefault(pair.case.case_id, []).append(pair.candidate.success and not pair.candidate.crashed)
    failed = sorted(case for case, trials in good.items() if sum(trials) * 2 <= len(trials))
    means = list(cluster_means(pairs).values())
    numbers: dict[str, Any] = {
        "claim": "enables", "cases": len(good), "cases_needed": policy.enables_min_cases, "failed_cases": failed,
        "effect": math.fsum(means) / len(means) if means else None,
    } | pass_k(pairs)  # fmt: skip
    if len(good) < policy.enables_min_cases:
        missing = policy.enables_min_cases - len(good)
        return GateReading("target", "hold", numbers, f"hold: {counted(missing, 'more case')} of the new capability.")
    if failed:
        words = f"fail: {len(failed)} of {len(good)} cases of the new capability fail, first {failed[0]!r}."
        return GateReading("target", "fail", numbers, words)
    return GateReading("target", "pass", numbers, f"pass: all {len(good)} cases of the new capability.")


def holdout_gate(
    readings: RunReadings, pairs: Sequence[Pair], verify: Sequence[Pair], policy: GatePolicy, *, played: bool
) -> GateReading:
    """Confirm the winner once on target clusters nobody has looked at: mean gain > 0 and exact p <= .20."""
    if not needs_holdout(readings):
        return GateReading("holdout", "pass", {"needed": False}, "pass: a smaller document has no gain to confirm.")
    own, verify_own = _target_pairs(readings, pairs), _target_pairs(readings, verify)
    n = len({pair.case.cluster for pair in own})
    verify_n = len({pair.case.cluster for pair in verify_own})
    needed = max(policy.holdout_min_clusters, math.ceil(policy.holdout_share_of_verify * verify_n))
    numbers: dict[str, Any] = {
        "needed": True, "clusters": n, "clusters_needed": needed, "alpha": policy.holdout_alpha,
        "looks": readings.holdout_looks, "look_budget": policy.holdout_look_budget,
    }  # fmt: skip
    if not policy.asks_for_holdout and not played:
        return GateReading("holdout", "pass", numbers, "pass: not played, and the policy asks for none.")
    refusal = _holdout_refusal(readings, policy, n, needed, played=played)
    if refusal:
        return GateReading("holdout", "hold", numbers, f"hold: {refusal}")
    if readings.claim in RATIO_METRICS:
        found = log_ratio_bound(own, RATIO_METRICS[readings.claim], 1.0 - policy.holdout_alpha, {})
        good = found is not None and found.bound.upper < 0.0
        numbers["ratio_upper"] = math.exp(found.bound.upper) if found else None
        stated = f"upper bound of the ratio {numbers['ratio_upper']}, needs to be below 1"
    else:
        sums = cluster_sums(own)
        p = sign_flip_p(list(sums.values()))
        mean = math.fsum(cluster_means(own).values()) / n
        good = mean > 0.0 and p <= policy.holdout_alpha
        numbers |= {"differences": [sums[name] for name in sorted(sums)], "p": p, "effect": mean} | pass_k(own)
        stated = f"{pp(mean)} on {n} fresh clusters, exact p = {p:.4f} (alpha {policy.holdout_alpha:g})"
    verdict = "pass" if good else "fail"
    return GateReading("holdout", "pass" if good else "fail", numbers, f"{verdict}: {stated}.")


def _holdout_refusal(readings: RunReadings, policy: GatePolicy, n: int, needed: int, *, played: bool) -> str | None:
    if not played:
        return "not played; it is kept for a run that passes everything else."
    if not readings.holdout_is_fresh:
        return "these hold-out cases were already used for this pattern; draw fresh ones."
    if readings.holdout_looks >= policy.holdout_look_budget:
        return f"the hold-out was looked at {readings.holdout_looks} times; rotate at least 30 % of it."
    if n < needed:
        return f"{counted(needed - n, 'more target cluster')} in the hold-out ({n} of {needed})."
    return None


def pass_k(pairs: Sequence[Pair]) -> dict[str, float | int | None]:
    """Return pass^k of both arms: the chance that a case is solved in all of its k trials."""
    solved: dict[str, list[int]] = {}
    for pair in pairs:
        row = solved.setdefault(pair.case.case_id, [0, 0, 0])
        row[0] += 1
        row[1] += pair.baseline.success
        row[2] += pair.candidate.success
    k = max((row[0] for row in solved.values()), default=0)
    trials = [row[0] for row in solved.values()]
    return {
        "k": k,
        "pass_k_baseline": pass_hat_k([row[1] for row in solved.values()], trials, k) if k else None,
        "pass_k_candidate": pass_hat_k([row[2] for row in solved.values()], trials, k) if k else None,
        "success_baseline": sum(row[1] for row in solved.values()) / sum(trials) if k else None,
        "success_candidate": sum(row[2] for row in solved.values()) / sum(trials) if k else None,
    }
