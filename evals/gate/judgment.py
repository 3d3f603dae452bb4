"""Judge a run: every gate, one verdict."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from evals.gate.oversight import (
    approvals_needed,
    effect_gate,
    false_discovery_gate,
    judge_gate,
    leakage_gate,
    static_gate,
)
from evals.gate.pairs import Pair, Pairing, pair_trials
from evals.gate.policy import GatePolicy
from evals.gate.protected import protected_gate
from evals.gate.ratios import cost_gate, latency_gate
from evals.gate.safety import crash_gate, escalation_gate, infrastructure_gate, safety_gate
from evals.gate.simulation import counted, simulation_gate
from evals.gate.slices import coverage_gate, slices_gate
from evals.gate.target import holdout_gate, needs_holdout, target_gate
from evals.readings import Decision, GateReading, RunReadings, Verdict

__all__ = ["judge"]

# Gates that may refuse at the end of a sequential plan, but not three times along it at the same alpha.
HELD_AT_INTERIM = frozenset({"slices", "latency", "cost", "escalation", "crashes"})

type QualityGate = Callable[[RunReadings, Sequence[Pair], GatePolicy], GateReading]


def judge(results: RunReadings, policy: GatePolicy) -> Verdict:
    """Return the verdict on a run: pass, fail or hold, with every gate's numbers and who must approve.

    Pure and deterministic: equal readings and policy give an equal verdict, whatever the order of the rows. The
    hold-out is judged when its trials are there; `Verdict.wants_holdout` says when to play them. In a sequential plan
    the hold-out is played with all its trials at the look that wants it, once.
    """
    look = results.look
    played_verify = pair_trials(results, "verify", policy.trials_at(look))
    played_holdout = pair_trials(results, "holdout", policy.trials)
    # What proves something is what counts; what does harm is looked for in everything that was played.
    verify, holdout = counted(played_verify, policy), counted(played_holdout, policy)
    target = _quality(target_gate, results, verify, policy)
    first = [
        static_gate(results),
        _infrastructure(played_verify, played_holdout, policy),
        judge_gate(results, policy),
        target,
        _quality(protected_gate, results, verify, policy),
        _quality(slices_gate, results, played_verify, policy),
        coverage_gate(results, verify.clean, policy),
        latency_gate(results, verify.quality, policy),
        cost_gate(results, verify.quality, target.numbers.get("effect"), policy),
        safety_gate(results),
        escalation_gate(played_verify.clean, policy),
        crash_gate((*played_verify.clean, *played_holdout.clean), policy),
        *simulation_gate(results, policy),
    ]
    if policy.is_interim(look):
        first = [_hold_at_interim(gate) for gate in first]
    first = [_advise(gate, policy) for gate in first]
    last = [
        effect_gate(results, verify.quality, policy),
        _advise(leakage_gate(results, verify.quality, holdout.quality, policy), policy),
        false_discovery_gate(results, policy),
    ]
    played = bool(played_holdout.clean)

    def fresh(readings: RunReadings, pairs: Sequence[Pair], policy: GatePolicy) -> GateReading:
        return holdout_gate(readings, pairs, verify.quality, policy, played=played)

    gates = [*first, _advise(_quality(fresh, results, holdout, policy), policy), *last]
    is_open = not played and policy.asks_for_holdout and needs_holdout(results)
    return Verdict(
        overall=_overall(gates),
        gates=tuple(gates),
        approvals=approvals_needed(gates, policy),
        wants_holdout=is_open and _overall([*first, *last]) == "pass",
        look=look,
        next_look=look + 1 if _was_tested(target) else look,
        policy=policy.as_mapping(),
    )


def _overall(gates: Sequence[GateReading]) -> Decision:
    verdicts = {gate.verdict for gate in gates}
    return "fail" if "fail" in verdicts else "hold" if "hold" in verdicts else "pass"


def _quality(gate: QualityGate, readings: RunReadings, pairing: Pairing, policy: GatePolicy) -> GateReading:
    """Judge quality twice where only the candidate crashed: without those trials, and with them as failures.

    The two must agree, else nobody knows what a crash costs and the gate holds.
    """
    reading = gate(readings, pairing.quality, policy)
    if len(pairing.strict) == len(pairing.quality):
        return reading
    strict = gate(readings, pairing.strict, policy)
    numbers = reading.numbers | {"crashes_as_failures": {"verdict": strict.verdict} | strict.numbers}
    if strict.verdict == reading.verdict:
        return replace(reading, numbers=numbers)
    words = (
        f"hold: {reading.verdict!r} without the trials in which only the candidate crashed, {strict.verdict!r} with them "
        f"as failures; mend the crashes. {reading.sentence}"
    )
    return GateReading(reading.name, "hold", numbers, words)


def _infrastructure(verify: Pairing, holdout: Pairing, policy: GatePolicy) -> GateReading:
    """Judge lost trials over both splits; a hold-out that was not played yet owes nothing."""
    if not holdout.clean:
        return infrastructure_gate(verify, policy)
    both = replace(verify, owed=verify.owed + holdout.owed, dropped=verify.dropped + holdout.dropped)
    return infrastructure_gate(both, policy)


def _hold_at_interim(gate: GateReading) -> GateReading:
    if gate.name not in HELD_AT_INTERIM or gate.verdict != "fail":
        return gate
    return replace(gate, verdict="hold", sentence=f"hold: the plan's next look decides; now {gate.sentence}")


def _advise(gate: GateReading, policy: GatePolicy) -> GateReading:
    """Let an advisory gate through, saying what it would have said."""
    if gate.name not in policy.advisory or gate.verdict == "pass":
        return gate
    numbers = gate.numbers | {"advised": gate.verdict}
    return replace(gate, verdict="pass", numbers=numbers, sentence=f"pass: advisory by policy; {gate.sentence}")


def _was_tested(target: GateReading) -> bool:
    """Return whether the target test could have passed: a look below the minimum of clusters spends nothing."""
    return bool(target.numbers.get("clusters", 0) >= target.numbers.get("clusters_needed", 0))
