"""Judge what people must look at: refusals found before any trial, the judge, the size of the gain, leaks, luck."""

from collections.abc import Sequence
from typing import Any

from evals.gate.pairs import Pair, cluster_means, counted, pp
from evals.gate.policy import GatePolicy
from evals.readings import Approvals, GateReading, JudgeCalibration, RunReadings
from evals.statistics import welch_greater_p

__all__ = [
    "approvals_needed",
    "effect_gate",
    "false_discovery_gate",
    "judge_faults",
    "judge_gate",
    "leakage_gate",
    "static_gate",
]


def static_gate(readings: RunReadings) -> GateReading:
    """Refuse a run whose change was already found to break a law of the small change."""
    findings = list(readings.static_findings)
    if findings:
        return GateReading("static", "fail", {"findings": findings}, f"fail: {'; '.join(findings)}")
    return GateReading("static", "pass", {"findings": []}, "pass: no finding.")


def judge_gate(readings: RunReadings, policy: GatePolicy) -> GateReading:
    """Hold scores of a model judge that does not agree with people well enough to decide; they stay advisory."""
    judge = readings.judge
    if judge is None:
        return GateReading("judge", "pass", {"judged": False}, "pass: no model judged this run.")
    numbers: dict[str, Any] = {
        "judged": True, "rubric": judge.rubric, "kappa": judge.kappa, "kappa_lower": judge.kappa_lower,
        "labels": judge.labels, "arm_gap": judge.arm_gap, "youden": judge.youden,
    }  # fmt: skip
    on = f" on {judge.rubric!r}" if judge.rubric else ""
    if faults := judge_faults(judge, policy):
        words = f"hold: the judge is advisory{on} ({_measured(judge)}); it needs {' and '.join(faults)}."
        return GateReading("judge", "hold", numbers, words)
    return GateReading("judge", "pass", numbers, f"pass: kappa {judge.kappa:.2f} on {judge.labels} human labels{on}.")


def judge_faults(judge: JudgeCalibration, policy: GatePolicy) -> list[str]:
    """Return what a judge lacks before it may decide, each as what it needs; empty where it may."""
    faults = []
    if judge.labels < policy.judge_labels:
        more = " more" if judge.labels else ""
        faults.append(f"{policy.judge_labels - judge.labels}{more} human labels")
    if judge.labels and (judge.kappa is None or judge.kappa_lower is None):
        faults.append("labels of the other grades: people and judge gave one and the same throughout")
    if judge.kappa is not None and judge.kappa < policy.judge_kappa:
        faults.append(f"kappa {judge.kappa:z.2f} to reach {policy.judge_kappa:.2f}")
    if judge.kappa_lower is not None and judge.kappa_lower < policy.judge_kappa_lower:
        faults.append(f"the lower end of kappa {judge.kappa_lower:z.2f} to reach {policy.judge_kappa_lower:.2f}")
    if judge.labels and judge.arm_gap is None:
        faults.append("labels of both arms, of results that people pass and of results that they fail")
    if judge.arm_gap is not None and judge.arm_gap > policy.judge_arm_gap + 1e-9:
        allowed = f"gap {judge.arm_gap * 100:.1f} pp, allowed {policy.judge_arm_gap:.0%}"
        faults.append(f"the judge to treat both arms alike ({allowed})")
    return faults


def _measured(judge: JudgeCalibration) -> str:
    if not judge.labels:
        return "no labels"
    kappa = "no measurable kappa" if judge.kappa is None else f"kappa {judge.kappa:z.2f}"
    inside = "" if judge.clusters in (None, judge.labels) else f" in {judge.clusters} clusters"
    return f"{kappa} on {judge.labels} labels{inside}"


def effect_gate(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    """State the traffic-weighted overall gain, measured and predicted; a large one asks for more eyes, never blocks.

    It is measured over every intent played: a change may gain most where nobody said it would.
    """
    shares = {one.intent: one.share for one in readings.traffic}
    targets = {pair.case.intent for pair in pairs if pair.case.is_target}
    measured = {}
    for intent in sorted({pair.case.intent for pair in pairs}):
        means = cluster_means(pair for pair in pairs if pair.case.intent == intent)
        measured[intent] = sum(means.values()) / len(means)
    gain = sum(shares.get(intent, 0.0) * effect for intent, effect in measured.items())
    predicted = sum(shares.get(intent, 0.0) for intent in targets) * (readings.predicted_effect or 0.0)
    largest = max(gain, predicted)
    people = 2 if largest >= policy.effect_two_people else 1 if largest >= policy.effect_person else 0
    numbers = {"overall_gain": gain, "predicted_overall_gain": predicted, "by_intent": measured, "people": people}
    asks = {0: "", 1: "; a person must look", 2: "; two people must look"}[people]
    words = f"pass: overall gain {pp(gain)} measured, {pp(predicted)} predicted{asks}."
    if not readings.traffic:
        words = "pass: no overall gain can be stated, for the run states no shares of traffic."
    return GateReading("effect", "pass", numbers, words)


def leakage_gate(
    readings: RunReadings, verify: Sequence[Pair], holdout: Sequence[Pair], policy: GatePolicy
) -> GateReading:
    """Hold a change that seems to know the exam until enough people have released it.

    Two signs: the gain on verify is larger than on the fresh hold-out (one-sided Welch test over target clusters), or
    the patch shares a long run of words with a case.
    """
    first = list(cluster_means(pair for pair in verify if pair.case.is_target).values())
    second = list(cluster_means(pair for pair in holdout if pair.case.is_target).values())
    p = welch_greater_p(first, second) if first and second else None
    gap = sum(first) / len(first) - sum(second) / len(second) if first and second else None
    alpha = policy.leakage_alpha_at(readings.look)
    numbers: dict[str, Any] = {
        "gap": gap, "p": p, "alpha": alpha, "shared_passages": list(readings.shared_passages),
        "releases": readings.leakage_releases, "people": policy.leakage_people,
    }  # fmt: skip
    signs = []
    if p is not None and gap is not None and p < alpha:
        signs.append(f"the gain on verify is {pp(gap)} larger than on the hold-out (p = {p:.4f})")
    if readings.shared_passages:
        count = len(readings.shared_passages)
        signs.append(
            f"the patch shares {policy.leakage_words} words in a row with {counted(count, 'case')} of the exam"
        )
    if not signs:
        stated = "not measured before the hold-out" if gap is None else f"{pp(gap)}, p = {p:.4f}"
        return GateReading("leakage", "pass", numbers, f"pass: verify-minus-hold-out gap {stated}; no shared passage.")
    missing = policy.leakage_people - readings.leakage_releases
    if missing > 0:
        who = "1 more person" if missing == 1 else f"{missing} more people"
        words = f"hold: {' and '.join(signs)}; {who} must release it."
        return GateReading("leakage", "hold", numbers, words)
    words = f"pass: {' and '.join(signs)}; released by {readings.leakage_releases} people."
    return GateReading("leakage", "pass", numbers, words)


def false_discovery_gate(readings: RunReadings, policy: GatePolicy) -> GateReading:
    """State how many promotions may be luck; above the limit every approval needs one more person, alpha stays."""
    share = policy.fdp_per_attempt * readings.attempts / max(1, readings.promotions)
    over = share > policy.fdp_limit + 1e-12
    numbers = {
        "fdp": share, "limit": policy.fdp_limit, "attempts": readings.attempts, "promotions": readings.promotions,
    }  # fmt: skip
    asks = "; each approval needs one more person until the hold-out is rotated" if over else ""
    counts = f"{counted(readings.attempts, 'attempt')}, {counted(readings.promotions, 'promotion')}"
    words = f"pass: about {share:.0%} of promotions may be luck ({counts}){asks}."
    return GateReading("false_discovery", "pass", numbers | {"one_more_person": over}, words)


def approvals_needed(gates: Sequence[GateReading], policy: GatePolicy) -> Approvals:
    """Add up who must approve, and name what they must look at."""
    found = {gate.name: gate.numbers for gate in gates}
    people, reasons = policy.approvals, []
    if looks := found["effect"]["people"]:
        people = max(people, looks)
        gain = max(found["effect"]["overall_gain"], found["effect"]["predicted_overall_gain"])
        reasons.append(f"overall gain of {pp(gain)}")
    if found["cost"]["person"]:
        people = max(people, 1)
        reasons.append(f"cost ratio up to {found['cost']['ratio_upper']:.2f}")
    standing_allowed = not reasons
    if found["false_discovery"]["one_more_person"]:
        people += 1
        reasons.append(f"estimated share of lucky promotions {found['false_discovery']['fdp']:.0%}")
    return Approvals(people=people, standing_allowed=standing_allowed, reasons=tuple(reasons))
