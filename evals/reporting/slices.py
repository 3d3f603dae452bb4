"""Read the mean difference of each slice of a run with its interval: what the forest plot draws."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from evals.gate.pairs import Pair, cluster_means, varies
from evals.gate.policy import GatePolicy
from evals.reporting.cases import CaseLine
from evals.statistics import mean_bound

__all__ = ["Interval", "SliceLine", "change_interval", "intent_lines", "slice_line"]

type SliceKind = Literal["target", "holdout", "protected", "all", "intent"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its two one-sided bounds, each at the same confidence."""

    mean: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class SliceLine:
    """One slice: mean difference candidate - baseline over its clusters, with bounds, and the counts behind it.

    `baseline` and `candidate` are the shares of passed trials. `is_gated` says that the slices gate looks at it.
    """

    kind: SliceKind
    name: str
    split: str
    cases: int
    clusters: int
    pairs: int
    mean: float
    lower: float
    upper: float
    baseline: float
    candidate: float
    fixed: int
    broken: int
    is_target: bool
    is_protected: bool
    is_gated: bool


def change_interval(pairs: Sequence[Pair], confidence: float) -> Interval | None:
    """Return the mean change per cluster and a bound on either side, `None` without any pair.

    Each end is found as the protected gate finds its bound: a pseudo-cluster of the worst change a trial can show,
    1/k_eff downward or upward, joins the values, so that a slice without any visible change is not called certain.
    """
    values = list(cluster_means(pairs).values())
    if not values:
        return None
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.case.case_id] = counts.get(pair.case.case_id, 0) + 1
    k_eff = max(counts.values()) if varies(pairs) else 1
    mean = math.fsum(values) / len(values)
    lower = mean_bound([*values, -1.0 / k_eff], confidence).lower
    upper = mean_bound([*values, 1.0 / k_eff], confidence).upper
    return Interval(mean, max(-1.0, min(mean, lower)), min(1.0, max(mean, upper)))


def slice_line(
    kind: SliceKind, name: str, split: str, pairs: Sequence[Pair], lines: Sequence[CaseLine], policy: GatePolicy,
    *, is_gated: bool = False, look: int = 1,
) -> SliceLine | None:  # fmt: skip
    """Return one line of the forest plot from the slice's own pairs and cases, `None` when nothing can be compared."""
    found = change_interval(pairs, policy.protected_confidence_at(look))
    if found is None:
        return None
    return SliceLine(
        kind=kind, name=name, split=split, cases=len({pair.case.case_id for pair in pairs}),
        clusters=len({pair.case.cluster for pair in pairs}), pairs=len(pairs),
        mean=found.mean, lower=found.lower, upper=found.upper,
        baseline=sum(pair.baseline.success for pair in pairs) / len(pairs),
        candidate=sum(pair.candidate.success for pair in pairs) / len(pairs),
        fixed=sum(line.outcome == "fixed" for line in lines), broken=sum(line.outcome == "broken" for line in lines),
        is_target=any(pair.case.is_target for pair in pairs), is_protected=any(pair.case.is_protected for pair in pairs),
        is_gated=is_gated,
    )  # fmt: skip


def intent_lines(
    split: str, pairs: Sequence[Pair], lines: Sequence[CaseLine], policy: GatePolicy, gated: Collection[str],
    *, look: int = 1,
) -> list[SliceLine]:  # fmt: skip
    """Return a line for each intent of a split, the largest loss first."""
    found = (
        slice_line(
            "intent", intent, split, [pair for pair in pairs if pair.case.intent == intent],
            [line for line in lines if line.intent == intent], policy, is_gated=intent in gated, look=look,
        )
        for intent in sorted({pair.case.intent for pair in pairs})
    )  # fmt: skip
    return sorted((line for line in found if line is not None), key=lambda line: (line.mean, line.name))
