"""Build small runs for the gate's tests: a list of cases, and a function that says how a trial ended."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from evals.readings import CaseReading, RunReadings, TrafficShare, TrialReading

__all__ = ["INTENTS", "build", "cases", "good_change", "index_of", "null_change", "single"]

INTENTS = 20
HOLDOUT_K = 3

type Play = Callable[[CaseReading, str, int], dict[str, Any] | bool]

# What a run's reading says of the gates in front of the hold-out.
GATES_PASSED = [
    {"name": name, "verdict": "pass", "numbers": {}, "sentence": "pass"} for name in ("target", "protected")
]


def index_of(case: CaseReading) -> int:
    """Return a case's number within its group."""
    return int(case.case_id.rsplit("-", 1)[1])


def cases(
    target: int = 24, protected: int = 160, holdout: int = 0, extra: Iterable[CaseReading] = ()
) -> tuple[CaseReading, ...]:
    """Return target, hold-out and protected cases, one per cluster, the protected spread over twenty intents."""
    made = [CaseReading(f"target-{i}", f"t{i}", "refund", "known_failure", is_target=True) for i in range(target)]
    made += [
        CaseReading(f"holdout-{i}", f"h{i}", "refund", "known_failure", "holdout", is_target=True)
        for i in range(holdout)
    ]
    made += [
        CaseReading(f"protected-{i}", f"p{i}", f"intent-{i % INTENTS:02d}", is_protected=True) for i in range(protected)
    ]
    return (*made, *extra)


def build(cases: Iterable[CaseReading], play: Play, *, k: int = 3, **given: Any) -> RunReadings:
    """Return a run in which `play(case, arm, trial)` says True, False, or the fields of the trial."""
    rows = tuple(cases)
    trials = []
    for case in rows:
        for arm in ("baseline", "candidate"):
            for number in range(1, (HOLDOUT_K if case.split == "holdout" else k) + 1):
                played = play(case, arm, number)
                fields = played if isinstance(played, dict) else {"success": played}
                success = bool(fields.pop("success", True))
                fields.setdefault("score", 1000 if success else 0)
                fields = {"latency_ms": 1000.0 + 10 * number, "cost_usd": 0.01} | fields
                trials.append(TrialReading(case.case_id, arm, number, success=success, **fields))
    intents = sorted({case.intent for case in rows})
    given.setdefault("traffic", tuple(TrafficShare(intent, 1 / len(intents)) for intent in intents))
    given.setdefault("claim", "fixes")
    given.setdefault("predicted_effect", 0.20)
    return RunReadings(cases=rows, trials=tuple(trials), **given)


def good_change(case: CaseReading, arm: str, number: int) -> bool:
    """Two fifths of the target pass before and four fifths after; one trial in fifty of the others fails in both."""
    index = index_of(case)
    if case.is_target:
        return index % 5 < (2 if arm == "baseline" else 4)
    return (index + number + (arm == "baseline")) % 50 != 0


def null_change(case: CaseReading, arm: str, number: int) -> bool:
    """Nothing changes for better or worse: the arms' failures only fall on different trials."""
    index = index_of(case)
    if case.is_target:
        return (index + number + (arm == "baseline")) % 2 == 0
    return (index + number + (arm == "baseline")) % 50 != 0


def single(case: CaseReading, **changes: Any) -> CaseReading:
    """Return a case with other fields."""
    return replace(case, **changes)
