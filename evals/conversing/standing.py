"""Which simulated users of a benchmark were shown to be like recorded ones, and so count."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from evals.conversing.model_user import model_name
from evals.conversing.persona import SimulatedUser
from evals.conversing.reading import talk_of
from evals.gate.policy import GatePolicy
from evals.models import Benchmark, SimulationCalibration
from evals.readings import Simulation

__all__ = ["Standing", "advisory_cases", "manner_of", "standing_of"]


def manner_of(conversation: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the digest and the manner of a case's simulated user as it would be played now; `None` without one."""
    talk = talk_of(conversation)
    if not isinstance(talk, SimulatedUser):
        return None
    model = model_name() if talk.by == "model" else ""
    return talk.manner_digest(model), talk.manner(model)


@dataclass(frozen=True)
class Standing:
    """The calibrations that hold for a benchmark, by manner."""

    newest: Mapping[str, SimulationCalibration]

    def of(self, conversation: Mapping[str, Any]) -> Simulation:
        """Return how a case's simulated user stands; empty without one."""
        found = manner_of(conversation)
        if found is None:
            return ""
        row = self.newest.get(found[0])
        return "calibrated" if row is not None and row.verdict == SimulationCalibration.Verdict.LIKE else "uncalibrated"

    def statements(self, conversations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Return what is known of the simulated users among these cases, a sentence for each manner."""
        manners = {found[0] for one in conversations if (found := manner_of(one)) is not None}
        known = [self.newest[manner].statement for manner in sorted(manners) if manner in self.newest]
        missing = sum(manner not in self.newest for manner in manners)
        return (*known, *([f"{missing} ways of simulating users were never calibrated."] if missing else ()))


def standing_of(benchmark: Benchmark) -> Standing:
    """Return the newest calibration of every manner of the benchmark's simulated users."""
    rows = SimulationCalibration.objects.filter(benchmark=benchmark).newest()
    return Standing({row.manner_digest: row for row in rows})


def advisory_cases(benchmark: Benchmark, policy: GatePolicy) -> frozenset[UUID]:
    """Return the active cases whose simulated user proves nothing under this policy."""
    if policy.simulated_counts == "always":
        return frozenset()
    standing = standing_of(benchmark)
    cases = benchmark.cases.active().simulated()
    never = policy.simulated_counts == "never"
    return frozenset(case.pk for case in cases if never or standing.of(case.conversation) != "calibrated")
