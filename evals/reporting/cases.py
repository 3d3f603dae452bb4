"""Say of each case of a run what came of it in both arms, and which cases flipped."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from evals.gate.pairs import Pair
from evals.readings import RunReadings, TrialReading

__all__ = ["WISHES", "CaseLine", "Outcome", "case_lines", "narrow"]

type Outcome = Literal["broken", "fixed", "same", "not_compared"]

# What cases may be narrowed by, and what each wish asks of a line.
WISHES = ("part", "split", "intent", "outcome", "trouble", "pairs")
_FIELDS = {
    ("part", "target"): "is_target", ("part", "protected"): "is_protected", ("trouble", "crashed"): "num_crashed",
    ("trouble", "dropped"): "num_dropped", ("trouble", "violations"): "violations",
}  # fmt: skip
# Passed shares are ratios of small counts; beneath this they are equal.
_ROUNDING = 1e-9
_MANY_DIGITS = 9


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case of a run, counted over the pairs of trials in which neither arm crashed and none was dropped.

    `run_case` names the frozen case, `case` the benchmark's. Crashes and drops are counted beside, never as failures.
    """

    run_case: str
    case: str
    name: str
    intent: str
    split: str
    kind: str
    cluster: str
    is_target: bool
    is_protected: bool
    pairs: int
    baseline_passed: int
    candidate_passed: int
    baseline_crashed: int
    candidate_crashed: int
    baseline_dropped: int
    candidate_dropped: int
    violations: int

    @property
    def change(self) -> float:
        """Return how much the share of passed trials moved, candidate - baseline."""
        return (self.candidate_passed - self.baseline_passed) / self.pairs if self.pairs else 0.0

    @property
    def outcome(self) -> Outcome:
        """Return whether the case passes less often, more often or as often as before; nothing without a whole pair."""
        if not self.pairs:
            return "not_compared"
        return "fixed" if self.change > _ROUNDING else "broken" if self.change < -_ROUNDING else "same"

    @property
    def is_complete(self) -> bool:
        """Return whether a flip is from always to never, or from never to always."""
        return abs(self.change) > 1.0 - _ROUNDING

    @property
    def num_crashed(self) -> int:
        return self.baseline_crashed + self.candidate_crashed

    @property
    def num_dropped(self) -> int:
        return self.baseline_dropped + self.candidate_dropped


def case_lines(
    readings: RunReadings, quality: Iterable[Pair], labels: Mapping[str, Mapping[str, str]]
) -> list[CaseLine]:
    """Return a line for every case, in the order of the readings; `labels` has `name`, `case` and `split` of each."""
    passed: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for pair in quality:
        row = passed[pair.case.case_id]
        row[0] += 1
        row[1] += pair.baseline.success
        row[2] += pair.candidate.success
    trials: dict[str, list[TrialReading]] = defaultdict(list)
    for trial in readings.trials:
        trials[trial.case_id].append(trial)
    lines = []
    for case in readings.cases:
        pairs, baseline, candidate = passed[case.case_id]
        own, label = trials[case.case_id], labels[case.case_id]
        lines.append(
            CaseLine(
                run_case=case.case_id,
                case=label["case"],
                name=label["name"],
                intent=case.intent,
                split=label["split"],
                kind=case.kind,
                cluster=case.cluster,
                is_target=case.is_target,
                is_protected=case.is_protected,
                pairs=pairs,
                baseline_passed=baseline,
                candidate_passed=candidate,
                baseline_crashed=_count(own, "baseline", "crashed"),
                candidate_crashed=_count(own, "candidate", "crashed"),
                baseline_dropped=_count(own, "baseline", "dropped"),
                candidate_dropped=_count(own, "candidate", "dropped"),
                violations=sum(bool(trial.critical_violations) for trial in own if trial.arm == "candidate"),
            )
        )
    return lines


def _count(trials: Iterable[TrialReading], arm: str, what: Literal["crashed", "dropped"]) -> int:
    return sum(getattr(trial, what) for trial in trials if trial.arm == arm)


def narrow(lines: Iterable[CaseLine], wishes: Mapping[str, str]) -> list[CaseLine]:
    """Return the lines that meet every wish; a wish that no line can have is met by none. `pairs` is the least number."""
    return [line for line in lines if all(_meets(line, name, value) for name, value in wishes.items())]


def _meets(line: CaseLine, name: str, value: str) -> bool:
    if name == "pairs":
        return value.isdecimal() and len(value) < _MANY_DIGITS and line.pairs >= int(value)
    if name in {"part", "trouble"}:
        field = _FIELDS.get((name, value))
        return field is not None and bool(getattr(line, field))
    return name in WISHES and bool(getattr(line, name) == value)
