"""From labels beside verdicts to what the gate reads of a judge. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.gate.oversight import judge_faults
from evals.gate.policy import GatePolicy
from evals.judges.agreement import Agreement, Comparison, Rate, agreement, sensitivity, specificity
from evals.readings import ARMS, JudgeCalibration

__all__ = ["Calibration", "calibrate"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A judge measured against people on one rubric: agreement over all items, rates over all and per arm."""

    agreement: Agreement
    sensitivity: Rate
    specificity: Rate
    by_arm: dict[str, tuple[Rate, Rate]]
    per_arm: bool

    def reading(self, rubric: str = "") -> JudgeCalibration:
        """Return what the gate reads. Where items have no arms, both arms are said to be as all items are."""
        overall = (self.sensitivity, self.specificity)
        (sens_b, spec_b), (sens_c, spec_c) = (self.by_arm[arm] if self.per_arm else overall for arm in ARMS)
        return JudgeCalibration(
            kappa=self.agreement.kappa, kappa_lower=self.agreement.lower, labels=self.agreement.labels,
            sensitivity_baseline=sens_b.share, sensitivity_candidate=sens_c.share,
            specificity_baseline=spec_b.share, specificity_candidate=spec_c.share, rubric=rubric,
            clusters=self.agreement.clusters,
        )  # fmt: skip

    def faults(self, policy: GatePolicy) -> list[str]:
        """Return what the judge lacks before it may decide; empty where it may."""
        return judge_faults(self.reading(), policy)

    def decision(self, policy: GatePolicy) -> str:
        """Return the decision in words: may decide, or what it needs and is advisory for lack of."""
        faults = self.faults(policy)
        return f"advisory: needs {' and '.join(faults)}" if faults else "may decide"


def calibrate(comparisons: Sequence[Comparison], *, top: int, pass_mark: int, per_arm: bool) -> Calibration:
    """Measure a judge on grades 0..`top`.

    `per_arm` demands that each arm be measured by its own items, as a run's judge is; without it the arms of items are
    looked at by nobody, as for verdicts recorded outside of any comparison.
    """
    return Calibration(
        agreement=agreement(comparisons, top=top),
        sensitivity=sensitivity(comparisons, pass_mark=pass_mark),
        specificity=specificity(comparisons, pass_mark=pass_mark),
        by_arm={
            arm: (
                sensitivity(comparisons, pass_mark=pass_mark, arm=arm),
                specificity(comparisons, pass_mark=pass_mark, arm=arm),
            )
            for arm in ARMS
        },
        per_arm=per_arm,
    )
