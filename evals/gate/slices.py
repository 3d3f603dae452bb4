"""Judge every live intent at once, and whether the run saw enough of the traffic to say so."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from evals.gate.pairs import Pair, counted, pp
from evals.gate.policy import GatePolicy
from evals.readings import FULL_SCORE, GateReading, RunReadings
from evals.statistics import worst_slice_p

__all__ = ["coverage_gate", "slices_gate"]

# Of the intents that lack cases, so many are named: enough to act on, short enough to read.
COVERAGE_NAMED = 5


def slices_gate(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    """Block when the worst live intent is worse than random signs would make any, or when an intent visibly broke.

    Unstable cases count too: an intent whose cases fail half the time can still get worse. Intents with too few cases
    are shown and not gated.
    """
    emerging = {one.intent for one in readings.traffic if one.state == "emerging"}
    slices: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        if pair.case.intent not in emerging:
            slices[pair.case.intent][pair.case.case_id].append(pair)
    gated = sorted(intent for intent, cases in slices.items() if len(cases) >= policy.slice_min_cases)
    column = {intent: index for index, intent in enumerate(gated)}
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * len(gated))
    shown: dict[str, dict[str, Any]] = {}
    broken_intents = []
    for intent, cases in sorted(slices.items()):
        rows = [pair for trials in cases.values() for pair in trials]
        broken = sum(_broke(trials) for trials in cases.values())
        shown[intent] = {
            "cases": len(cases), "broken": broken, "sum": sum(pair.difference for pair in rows),
            "effect": sum(pair.difference for pair in rows) / len(rows) / FULL_SCORE, "gated": intent in column,
        }  # fmt: skip
        if intent not in column:
            continue
        if broken >= policy.slice_broken_share * len(cases):
            broken_intents.append(intent)
        for pair in rows:
            sums[pair.case.cluster][column[intent]] += pair.difference
    test = worst_slice_p([sums[cluster] for cluster in sorted(sums)])
    worst = min(gated, key=lambda intent: (shown[intent]["sum"], intent), default="")
    numbers: dict[str, Any] = {
        "p": test.p, "alpha": policy.slice_alpha, "draws": test.draws, "worst": worst, "slices": shown,
        "broken": broken_intents,
    }  # fmt: skip
    if not gated:
        words = f"hold: no live intent has {policy.slice_min_cases} cases{_nearest(shown, policy)}."
        return GateReading("slices", "hold", numbers, words)
    state = f"worst intent {worst!r} {pp(shown[worst]['effect'])}, joint p = {test.p:.4f} over {len(gated)} intents"
    if broken_intents:
        first = broken_intents[0]
        words = f"fail: {shown[first]['broken']} of {shown[first]['cases']} cases of {first!r} went from always to never; {state}."
        return GateReading("slices", "fail", numbers, words)
    if test.p <= policy.slice_alpha:
        return GateReading("slices", "fail", numbers, f"fail: {state} (alpha {policy.slice_alpha:g}).")
    return GateReading("slices", "pass", numbers, f"pass: {state}.")


def _nearest(shown: Mapping[str, Mapping[str, Any]], policy: GatePolicy) -> str:
    """Return which intent comes nearest to being gated and what it lacks; nothing where none was played."""
    if not shown:
        return ""
    first = min(shown, key=lambda intent: (-shown[intent]["cases"], intent))
    missing = counted(policy.slice_min_cases - shown[first]["cases"], "more case")
    return f"; {first!r} needs {missing}" if first else f"; cases of no intent need {missing}"


def _broke(trials: Sequence[Pair]) -> bool:
    """Return whether a case went from k of k to 0 of k."""
    return all(pair.baseline.success and not (pair.candidate.success and not pair.candidate.crashed) for pair in trials)


def coverage_gate(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
    """Hold until nearly all traffic belongs to intents of which this run played enough cases, of any kind.

    The target's own intents and the emerging ones leave the denominator: the first are judged by the target test, the
    second have no cases yet. Traffic of no intent is owed like an intent's, and covered by cases that have none.
    """
    played: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        played[pair.case.intent].add(pair.case.case_id)
    targets = {case.intent for case in readings.cases if case.is_target}
    owed = {one.intent: one.share for one in readings.traffic if one.state != "emerging" and one.intent not in targets}
    total = sum(owed.values())
    short = {
        intent: policy.coverage_min_cases - len(played[intent])
        for intent in sorted(owed, key=lambda name: (-owed[name], name))
        if len(played[intent]) < policy.coverage_min_cases
    }
    # Covered traffic over owed traffic; nothing owed is nothing missed.
    covered = 1.0 - sum(owed[intent] for intent in short) / total if total else 1.0
    numbers: dict[str, Any] = {
        "covered": covered, "needed": policy.coverage, "min_cases": policy.coverage_min_cases, "cases_missing": short,
    }  # fmt: skip
    if not readings.traffic and policy.coverage > 0:
        return GateReading("coverage", "hold", numbers, "hold: the run states no shares of traffic.")
    if covered >= policy.coverage - 1e-9:
        return GateReading("coverage", "pass", numbers, f"pass: {covered:.1%} of traffic is covered.")
    needs = []
    reached = covered
    for intent, missing in short.items():
        if reached >= policy.coverage - 1e-9:
            break
        named = repr(intent) if intent else f"the {owed[intent]:.1%} of traffic that belongs to no intent"
        needs.append(f"{named} needs {counted(missing, 'more case')}")
        reached += owed[intent] / total
    more = f", and {counted(len(needs) - COVERAGE_NAMED, 'more intent')} too" if len(needs) > COVERAGE_NAMED else ""
    words = (
        f"hold: {covered:.1%} of traffic is covered, {policy.coverage:.0%} needed; "
        f"{', '.join(needs[:COVERAGE_NAMED])}{more}."
    )
    return GateReading("coverage", "hold", numbers, words)
