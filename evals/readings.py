"""Carry what a run measured into the gate, and what the gate found back out, as frozen values.

Nothing here touches the database. Scores are integer thousandths (0..1000), so that the exact test stays exact;
shares, rates and effects are fractions of one; money is in USD, time in milliseconds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

__all__ = [
    "Approvals",
    "Arm",
    "CaseReading",
    "Claim",
    "Decision",
    "GateReading",
    "JudgeCalibration",
    "ReadingError",
    "RunReadings",
    "SizeChange",
    "TrafficShare",
    "TrialReading",
    "Verdict",
]

type Arm = Literal["baseline", "candidate"]
type Claim = Literal["fixes", "cheaper", "faster", "simplifies", "enables"]
type Split = Literal["verify", "holdout"]
type Simulation = Literal["", "calibrated", "uncalibrated"]
type Decision = Literal["pass", "fail", "hold"]

ARMS = ("baseline", "candidate")
CLAIMS = ("fixes", "cheaper", "faster", "simplifies", "enables")
SIMULATIONS = ("", "calibrated", "uncalibrated")
# Drafters read the dev split, so a dev trial proves nothing and the gate refuses to look at one.
GATE_SPLITS = ("verify", "holdout")
FULL_SCORE = 1000


class ReadingError(ValueError):
    """A run was described in a way the gate cannot judge."""


@dataclass(frozen=True, slots=True)
class CaseReading:
    """A case as the gate sees it.

    `cluster` is the coarsest known of authored template, source conversation and user: the unit every test counts.
    `is_protected` says that the baseline passed 5 of 5 in curation trials, which are never part of a run.
    `weight` is the case's share within its intent, relative to the intent's other cases. `simulation` says that its user
    is a simulated one, and whether that one's manner was shown to be like recorded users'.
    """

    case_id: str
    cluster: str
    intent: str
    kind: str = "success"
    split: Split = "verify"
    weight: float = 1.0
    is_target: bool = False
    is_protected: bool = False
    high_risk: bool = False
    requires_escalation: bool = False
    simulation: Simulation = ""

    def __post_init__(self) -> None:
        if self.simulation not in SIMULATIONS:
            msg = f"Case {self.case_id!r} has simulation {self.simulation!r}; allowed are {SIMULATIONS}."
            raise ReadingError(msg)
        if self.split not in GATE_SPLITS:
            msg = f"Case {self.case_id!r} is of split {self.split!r}; a gate reads {GATE_SPLITS}. Leave it out of the run."
            raise ReadingError(msg)


@dataclass(frozen=True, slots=True)
class TrialReading:
    """One result: a case played once by one arm. Trials of the two arms pair by case and number.

    `dropped` is an infrastructure failure after its retries; `crashed` is the agent's own and counts as a result.
    `critical_violations` names what must never happen, however good the rest is. `broke_character` says that a model
    which played the user said what that user could not.
    """

    case_id: str
    arm: Arm
    trial: int
    score: int
    success: bool
    latency_ms: float = 0.0
    cost_usd: float = 0.0
    critical_violations: tuple[str, ...] = ()
    crashed: bool = False
    dropped: bool = False
    escalated: bool = False
    broke_character: bool = False

    def __post_init__(self) -> None:
        if self.arm not in ARMS:
            msg = f"Trial {self.trial} of case {self.case_id!r} has arm {self.arm!r}; allowed are {ARMS}."
            raise ReadingError(msg)
        if not 0 <= self.score <= FULL_SCORE or isinstance(self.score, float):
            msg = f"Score of case {self.case_id!r} is {self.score!r}; give integer thousandths, 0..{FULL_SCORE}."
            raise ReadingError(msg)


@dataclass(frozen=True, slots=True)
class TrafficShare:
    """An intent's share of all live traffic; `emerging` intents have no cases yet and owe none.

    `unassigned` is the traffic that belongs to no intent, under the intent of cases that have none: the empty one.
    """

    intent: str
    share: float
    state: Literal["live", "emerging", "unassigned"] = "live"


@dataclass(frozen=True, slots=True)
class SizeChange:
    """Lines of the document before and after the patch."""

    lines_before: int
    lines_after: int


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """How well the model that scored this run agrees with people, per arm where the arms could differ.

    `labels` counts the items that people graded; a number is `None` where they cannot give it: there are no labels, or
    none of the kind that it counts. `rubric` names what was judged; `clusters` counts the independent ones among the
    labels, which is what the lower end of kappa goes by.
    """

    kappa: float | None
    kappa_lower: float | None
    labels: int
    sensitivity_baseline: float | None
    sensitivity_candidate: float | None
    specificity_baseline: float | None
    specificity_candidate: float | None
    rubric: str = ""
    clusters: int | None = None

    @property
    def arm_gap(self) -> float | None:
        """Return the larger difference of the two arms, `None` where one of the four rates was not measured."""
        gaps = []
        for baseline, candidate in (
            (self.sensitivity_baseline, self.sensitivity_candidate),
            (self.specificity_baseline, self.specificity_candidate),
        ):
            if baseline is None or candidate is None:
                return None
            gaps.append(abs(baseline - candidate))
        return max(gaps)

    @property
    def youden(self) -> float | None:
        """Return sensitivity + specificity - 1 over both arms, what a true effect shrinks by; `None` as above."""
        rates = (
            self.sensitivity_baseline, self.sensitivity_candidate, self.specificity_baseline, self.specificity_candidate,
        )  # fmt: skip
        known = [rate for rate in rates if rate is not None]
        return sum(known) / 2 - 1.0 if len(known) == len(rates) else None


@dataclass(frozen=True, slots=True)
class RunReadings:
    """Everything the gate may know about one run; equal readings give an equal verdict.

    `look` counts the tests of this plan, this one included; a resumed hold is the next look, and `passed_before` names
    the gates earlier looks passed. `attempts` and `promotions` count since the last rotation of the hold-out.
    `shared_passages` names verify or hold-out cases that share a long run of words with the patch, `leakage_releases`
    the people who have looked at a leak and let it go. `calibrations` says how the simulated users of the run were
    calibrated, a sentence each. `static_findings` are sentences; one is enough to refuse.
    """

    claim: Claim
    cases: tuple[CaseReading, ...]
    trials: tuple[TrialReading, ...]
    traffic: tuple[TrafficShare, ...] = ()
    predicted_effect: float | None = None
    size: SizeChange | None = None
    judge: JudgeCalibration | None = None
    static_findings: tuple[str, ...] = ()
    shared_passages: tuple[str, ...] = ()
    calibrations: tuple[str, ...] = ()
    leakage_releases: int = 0
    attempts: int = 1
    promotions: int = 0
    look: int = 1
    passed_before: tuple[str, ...] = ()
    holdout_looks: int = 0
    holdout_is_fresh: bool = True

    def __post_init__(self) -> None:
        if self.claim not in CLAIMS:
            msg = f"Claim {self.claim!r} is unknown; allowed are {CLAIMS}."
            raise ReadingError(msg)
        if self.look < 1:
            msg = f"Look {self.look!r} is impossible; the first look of a plan is 1."
            raise ReadingError(msg)
        known = {case.case_id for case in self.cases}
        if len(known) != len(self.cases):
            msg = "A case appears twice in the run; give each case once, its trials carry the repetition."
            raise ReadingError(msg)
        strangers = sorted({trial.case_id for trial in self.trials} - known)
        if strangers:
            msg = f"Trials of unknown cases {strangers[:5]!r}; every trial needs its case in the run."
            raise ReadingError(msg)

    def as_mapping(self) -> dict[str, Any]:
        """Return plain JSON that `from_mapping` turns back into equal readings."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read what `as_mapping` wrote; refuse keys it does not know."""
        given = _known(cls, mapping)
        given["cases"] = tuple(CaseReading(**_known(CaseReading, row)) for row in mapping["cases"])
        given["trials"] = tuple(
            TrialReading(
                **_known(TrialReading, row) | {"critical_violations": tuple(row.get("critical_violations", ()))}
            )
            for row in mapping["trials"]
        )
        given["traffic"] = tuple(TrafficShare(**_known(TrafficShare, row)) for row in mapping.get("traffic", ()))
        for name, part in (("size", SizeChange), ("judge", JudgeCalibration)):
            if given.get(name) is not None:
                given[name] = part(**_known(part, given[name]))
        for name in ("static_findings", "shared_passages", "calibrations", "passed_before"):
            given[name] = tuple(given.get(name, ()))
        return cls(**given)


@dataclass(frozen=True, slots=True)
class GateReading:
    """One gate's decision, the numbers it can be recomputed from, and a sentence a reviewer can act on."""

    name: str
    verdict: Decision
    numbers: dict[str, Any]
    sentence: str


@dataclass(frozen=True, slots=True)
class Approvals:
    """How many people must approve, whether a standing approval may stand in for one, and what they must look at."""

    people: int
    standing_allowed: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says about a run: fail when any gate fails, else hold when any holds, else pass.

    `wants_holdout` asks the runner to play the fresh hold-out and judge again: everything else passed. `next_look` is
    the number the plan's next look carries; it stays when the target was not tested for want of clusters.
    """

    overall: Decision
    gates: tuple[GateReading, ...]
    approvals: Approvals
    wants_holdout: bool
    look: int
    next_look: int
    policy: dict[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """Return the sentences of the gates that decided: those whose verdict is the overall one."""
        if self.overall == "pass":
            return f"pass: all {len(self.gates)} gates.{self._simulated}"
        decided = [gate for gate in self.gates if gate.verdict == self.overall]
        # The simulation gate says its sentence by itself where it decided.
        said = any(gate.name == "simulation" for gate in decided)
        return " ".join(f"{gate.name} {gate.sentence}" for gate in decided) + ("" if said else self._simulated)

    @property
    def _simulated(self) -> str:
        """Return how much of the evidence is simulated; empty where none is."""
        return next((f" {gate.numbers['share']}" for gate in self.gates if gate.name == "simulation"), "")

    @property
    def passed(self) -> tuple[str, ...]:
        """Return the names of the passed gates, the next look's `passed_before`."""
        return tuple(gate.name for gate in self.gates if gate.verdict == "pass")

    def gate(self, name: str) -> GateReading:
        """Return the reading of the named gate; `KeyError` names the gates there are."""
        for reading in self.gates:
            if reading.name == name:
                return reading
        msg = f"No gate {name!r} in this verdict; it has {[reading.name for reading in self.gates]}."
        raise KeyError(msg)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON that `from_json` turns back into an equal verdict."""
        return asdict(self) | {
            "gates": [asdict(gate) for gate in self.gates],
            "approvals": asdict(self.approvals) | {"reasons": list(self.approvals.reasons)},
        }

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote; refuse keys it does not know."""
        given = _known(cls, mapping)
        approvals = _known(Approvals, mapping["approvals"])
        given["gates"] = tuple(GateReading(**_known(GateReading, row)) for row in mapping["gates"])
        given["approvals"] = Approvals(**approvals | {"reasons": tuple(approvals["reasons"])})
        return cls(**given)


def _known(cls: type[Any], mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `mapping`, refusing keys that are no field of the dataclass."""
    unknown = sorted(set(mapping) - {one.name for one in fields(cls)})
    if unknown:
        msg = f"Unknown keys {unknown!r} for {cls.__name__}; allowed are {[one.name for one in fields(cls)]}."
        raise ReadingError(msg)
    return dict(mapping)
