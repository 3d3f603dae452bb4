"""What a policy's sizes ask for beyond what a run holds. Pure."""

from collections import Counter
from dataclasses import dataclass

from evals.gate.policy import GatePolicy
from evals.readings import RunReadings, Verdict

__all__ = ["Missing", "missing_sizes"]

_COUNTED = {"target": "target", "protected": "protected", "holdout": "hold-out"}


@dataclass(frozen=True)
class Missing:
    """One size that is not reached: how many are missing of how many the policy asks for."""

    what: str
    missing: int
    needed: int

    @property
    def words(self) -> str:
        """Return it as a reader acts on it."""
        return f"{self.missing} more {self.what} ({self.needed - self.missing} of {self.needed})"


def missing_sizes(readings: RunReadings, verdict: Verdict, policy: GatePolicy) -> tuple[Missing, ...]:
    """Return the sizes the policy asks for and the run does not hold; advisory gates ask for none.

    A run that its maker can make no larger is judged by a policy that fits it or not at all: one too small for anything
    to pass is too small for anything to fail.
    """
    found = []
    trials = Counter((trial.case_id, trial.arm) for trial in readings.trials)
    owed = policy.trials_at(readings.look)
    if (short := owed - max(trials.values(), default=0)) > 0:
        found.append(Missing("trials for each case and arm", short, owed))
    for gate in verdict.gates:
        if gate.name in _COUNTED and gate.name not in policy.advisory:
            needed = int(gate.numbers.get("clusters_needed", 0))
            if (short := needed - int(gate.numbers.get("clusters", 0))) > 0:
                found.append(Missing(f"{_COUNTED[gate.name]} clusters", short, needed))
    return tuple(found)
