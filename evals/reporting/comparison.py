"""Set two runs side by side: each gate's numbers, each slice, and the cases whose result changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.readings import Decision
from evals.reporting.cases import CaseLine
from evals.reporting.gates import GateLine, Measure, Unit
from evals.reporting.report import RunReport
from evals.reporting.slices import SliceLine

__all__ = ["CaseChange", "Comparison", "GateChange", "MeasureChange", "SliceChange", "compare"]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class MeasureChange:
    """One number of a gate in both runs; `change` is this - other where both have it."""

    label: str
    unit: Unit
    this: float | None
    other: float | None

    @property
    def change(self) -> float | None:
        return None if self.this is None or self.other is None else self.this - self.other


@dataclass(frozen=True, slots=True)
class GateChange:
    """One gate in both runs; a run without it has no verdict there."""

    name: str
    this: Decision | None
    other: Decision | None
    measures: tuple[MeasureChange, ...]


@dataclass(frozen=True, slots=True)
class SliceChange:
    """One slice in both runs."""

    kind: str
    name: str
    this: SliceLine | None
    other: SliceLine | None


@dataclass(frozen=True, slots=True)
class CaseChange:
    """A case that both runs played and whose candidate passes another share of its trials in each."""

    this: CaseLine
    other: CaseLine

    @property
    def change(self) -> float:
        """Return how much larger the candidate's share of passed trials is in this run."""
        return self.this.candidate_passed / self.this.pairs - self.other.candidate_passed / self.other.pairs


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs beside each other. `cases` are those that changed, the largest loss first; `both` is how many were played in both."""

    gates: tuple[GateChange, ...]
    slices: tuple[SliceChange, ...]
    cases: tuple[CaseChange, ...]
    both: int

    @property
    def better(self) -> list[CaseChange]:
        return [one for one in self.cases if one.change > 0]

    @property
    def worse(self) -> list[CaseChange]:
        return [one for one in self.cases if one.change < 0]


def compare(this: RunReport, other: RunReport) -> Comparison:
    """Return what differs between two reports; cases are the same when the benchmark's case is."""
    mine, theirs = ({line.case: line for line in one.cases if line.pairs} for one in (this, other))
    both = [CaseChange(mine[case], theirs[case]) for case in mine if case in theirs]
    changed = [one for one in both if abs(one.change) > _ROUNDING]
    return Comparison(
        gates=tuple(_gates(this.gates, other.gates)), slices=tuple(_slices(this, other)),
        cases=tuple(sorted(changed, key=lambda one: (one.change, one.this.name))), both=len(both),
    )  # fmt: skip


def _gates(mine: Sequence[GateLine], theirs: Sequence[GateLine]) -> list[GateChange]:
    names = list(dict.fromkeys([gate.name for gate in (*mine, *theirs)]))
    left, right = ({gate.name: gate for gate in gates} for gates in (mine, theirs))
    made = []
    for name in names:
        this, other = left.get(name), right.get(name)
        made.append(
            GateChange(
                name,
                this.verdict if this else None,
                other.verdict if other else None,
                tuple(_measures(this.measures if this else (), other.measures if other else ())),
            )
        )
    return made


def _measures(mine: Sequence[Measure], theirs: Sequence[Measure]) -> list[MeasureChange]:
    left, right = ({one.label: one for one in measures} for measures in (mine, theirs))
    units = {one.label: one.unit for one in (*theirs, *mine)}
    labels = dict.fromkeys([one.label for one in (*mine, *theirs)])
    return [
        MeasureChange(
            label,
            units[label],
            left[label].value if label in left else None,
            right[label].value if label in right else None,
        )
        for label in labels
    ]


def _slices(this: RunReport, other: RunReport) -> list[SliceChange]:
    left, right = ({(line.kind, line.name): line for line in (*one.summaries, *one.intents)} for one in (this, other))
    return [SliceChange(*key, this=left.get(key), other=right.get(key)) for key in dict.fromkeys([*left, *right])]
