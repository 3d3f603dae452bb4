"""Read pass^k: how often a case is solved in all of k trials, which users who come back feel and means hide."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.gate.pairs import Pair
from evals.statistics import pass_hat_k

__all__ = ["Reliability", "reliability"]


@dataclass(frozen=True, slots=True)
class Reliability:
    """pass^k of both arms: mean over cases of C(solved, k) / C(trials, k) (Yao et al. 2024, tau-bench).

    `cases` is how many have at least k trials; only they count.
    """

    group: str
    k: int
    cases: int
    baseline: float
    candidate: float


def reliability(group: str, pairs: Sequence[Pair]) -> list[Reliability]:
    """Return pass^k for every k that some case has trials for, over pairs in which neither arm crashed."""
    solved: dict[str, list[int]] = {}
    for pair in pairs:
        row = solved.setdefault(pair.case.case_id, [0, 0, 0])
        row[0] += 1
        row[1] += pair.baseline.success
        row[2] += pair.candidate.success
    trials = [row[0] for row in solved.values()]
    lines = []
    for k in range(1, max(trials, default=0) + 1):
        arms = [pass_hat_k([row[arm] for row in solved.values()], trials, k) for arm in (1, 2)]
        if arms[0] is not None and arms[1] is not None:
            lines.append(Reliability(group, k, sum(n >= k for n in trials), arms[0], arms[1]))
    return lines
