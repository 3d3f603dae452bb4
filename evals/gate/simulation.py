"""Say how much of a run's evidence is simulated, and let only what counts prove anything."""

from collections.abc import Sequence
from dataclasses import replace

from evals.gate.pairs import Pair, Pairing
from evals.gate.policy import GatePolicy
from evals.readings import CaseReading, GateReading, RunReadings

__all__ = ["counted", "is_advisory", "simulation_gate"]


def is_advisory(case: CaseReading, policy: GatePolicy) -> bool:
    """Return whether a case is played and shown without proving anything: its user is simulated and does not count."""
    match policy.simulated_counts:
        case "always":
            return False
        case "never":
            return case.simulation != ""
        case "calibrated":
            return case.simulation == "uncalibrated"


def counted(pairing: Pairing, policy: GatePolicy) -> Pairing:
    """Return the pairing without the pairs of advisory cases; what was owed and lost stays as it was."""

    def kept(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        return tuple(pair for pair in pairs if not is_advisory(pair.case, policy))

    return replace(pairing, quality=kept(pairing.quality), strict=kept(pairing.strict), clean=kept(pairing.clean))


def simulation_gate(readings: RunReadings, policy: GatePolicy) -> list[GateReading]:
    """Return the reading of the simulated part; none where every case was recorded or written out.

    Holds when too many counted trials were played with a user out of character: they say little about the agent, and
    leaving them out would choose by what the agent did.
    """
    simulated = [case for case in readings.cases if case.simulation]
    if not simulated:
        return []
    clusters = {case.cluster for case in readings.cases}
    own = {case.cluster for case in simulated}
    idle = {case.cluster for case in simulated if is_advisory(case, policy)}
    ids = {case.case_id for case in simulated if not is_advisory(case, policy)}
    trials = [trial for trial in readings.trials if trial.case_id in ids and not trial.dropped]
    broken = sum(trial.broke_character for trial in trials)
    share = f"{len(own)} of {len(clusters)} clusters are simulated users{_standing(len(own), len(idle), policy)}."
    numbers = {
        "clusters": len(clusters), "simulated": len(own), "advisory": len(idle), "policy": policy.simulated_counts,
        "trials": len(trials), "broke_character": broken, "calibrations": list(readings.calibrations), "share": share,
    }  # fmt: skip
    words = " ".join([share, *readings.calibrations])
    if trials and broken > policy.dropped_max * len(trials):
        words = (
            f"hold: in {broken} of {len(trials)} trials the model that played the user broke character, more than "
            f"{policy.dropped_max:.0%}; use a stronger model, or rules. {words}"
        )
        return [GateReading("simulation", "hold", numbers, words)]
    note = f" In {broken} trials the user broke character." if broken else ""
    return [GateReading("simulation", "pass", numbers, f"pass: {words}{note}")]


def _standing(own: int, idle: int, policy: GatePolicy) -> str:
    if policy.simulated_counts == "always":
        return ", which count by policy whether calibrated or not"
    if idle == 0:
        return ""
    why = "by policy" if policy.simulated_counts == "never" else "until their simulation is calibrated"
    return f", {'none' if idle == own else f'{idle} of them not'} counted {why}"
