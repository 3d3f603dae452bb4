"""How far a benchmark is from the first gate that can decide, by the numbers of the agent's policy. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from evals.gate.policy import GatePolicy

__all__ = ["Countdown", "Gap", "IntentStanding", "count_down", "covered_share", "gap_of"]

_ROUNDING = 1e-9  # as the coverage gate allows it
_NAMED_GAPS = 2


@dataclass(frozen=True)
class IntentStanding:
    """One intent's share of the traffic and what the benchmark has of it. The empty slug is traffic of no intent.

    Active cases only; `drafts` counts what waits for review by split. `holdout_fresh` are hold-out clusters that no run
    has played; `available` are captured conversations of which drafts could be made.
    """

    slug: str
    name: str
    share: float
    state: Literal["live", "emerging", "unassigned"] = "live"
    verify_cases: int = 0
    verify_clusters: int = 0
    holdout_clusters: int = 0
    holdout_fresh: int = 0
    dev_clusters: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    drafts: Mapping[str, int] = field(default_factory=dict)
    available: int = 0

    def is_covered(self, policy: GatePolicy) -> bool:
        """Return whether the coverage gate would count this intent as covered."""
        return self.verify_cases >= policy.coverage_min_cases

    @property
    def owes_cases(self) -> bool:
        """Emerging intents have no cases yet and owe none."""
        return self.state != "emerging"


@dataclass(frozen=True)
class Gap:
    """What one target still lacks until a gate can decide about a change for it.

    `uncovered` names other intents that must be covered, with the cases each lacks, those that add most first.
    """

    intent: IntentStanding
    verify: int
    holdout: int
    protected: int
    uncovered: tuple[tuple[IntentStanding, int], ...]
    covered: float
    needs_rotation: bool

    @property
    def is_decidable(self) -> bool:
        return not (self.verify or self.holdout or self.protected or self.uncovered or self.needs_rotation)


@dataclass(frozen=True)
class Countdown:
    """The target that is nearest to a decidable gate, the numbers it is measured by, and the sentence that says it."""

    gap: Gap | None
    protected_clusters: int
    protected_needed: int
    num_uncurated: int
    covered: float
    coverage_needed: float
    looks_left: int
    look_budget: int

    @property
    def is_decidable(self) -> bool:
        return self.gap is not None and self.gap.is_decidable

    @property
    def looks_are_low(self) -> bool:
        """Warn from a quarter of the budget on: rotating needs drafts nobody has played, which take time to review."""
        return self.looks_left * 4 <= self.look_budget

    @property
    def sentence(self) -> str:
        """Return in words what is missing until a gate can decide."""
        if self.gap is None:
            return "No live intent can be a target yet: define one first, then add cases of it."
        if self.gap.is_decidable:
            return f"A gate can decide about a change for “{self.gap.intent.name}” now."
        parts = list(_parts(self.gap, self.num_uncurated))
        words = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"{words[0].upper()}{words[1:]} until a gate can decide."

    @property
    def looks_sentence(self) -> str:
        """Return how often the hold-out may still be looked at, with the warning where it is due."""
        left = f"{self.looks_left} of {self.look_budget} looks at the hold-out are left"
        if self.looks_left == 0:
            return "No look at the hold-out is left: no change can pass until it is rotated."
        return f"{left}: add hold-out drafts and rotate soon." if self.looks_are_low else f"{left}."


def count_down(
    intents: Sequence[IntentStanding], policy: GatePolicy, *, protected_clusters: int, num_uncurated: int, looks: int
) -> Countdown:
    """Return the countdown to the first decidable gate: that of the live intent which lacks the fewest clusters."""
    looks_left = max(0, policy.holdout_look_budget - looks)
    gaps = [
        gap_of(one, intents, policy, protected_clusters=protected_clusters, looks_left=looks_left)
        for one in intents if one.state == "live"
    ]  # fmt: skip
    nearest = min(gaps, key=_distance, default=None)
    return Countdown(
        gap=nearest, protected_clusters=protected_clusters, protected_needed=policy.protected_min_clusters,
        num_uncurated=num_uncurated, covered=covered_share(intents, policy), coverage_needed=policy.coverage,
        looks_left=looks_left, look_budget=policy.holdout_look_budget,
    )  # fmt: skip


def gap_of(
    target: IntentStanding,
    intents: Sequence[IntentStanding],
    policy: GatePolicy,
    *,
    protected_clusters: int,
    looks_left: int,
) -> Gap:
    """Return what lacks until a gate can decide about a change that fixes `target`. Advisory gates ask for nothing."""
    wanted = max(target.verify_clusters, policy.target_min_clusters)
    holdout = max(policy.holdout_min_clusters, math.ceil(policy.holdout_share_of_verify * wanted))
    lacks = {
        "target": max(0, policy.target_min_clusters - target.verify_clusters),
        "holdout": max(0, holdout - target.holdout_fresh),
        "protected": max(0, policy.protected_min_clusters - protected_clusters),
    }
    asked = {name: 0 if name in policy.advisory else number for name, number in lacks.items()}
    uncovered = () if "coverage" in policy.advisory else tuple(_to_cover(intents, policy, target))
    return Gap(
        intent=target, verify=asked["target"], holdout=asked["holdout"], protected=asked["protected"], uncovered=uncovered,
        covered=covered_share(intents, policy, target=target),
        needs_rotation=looks_left == 0 and "holdout" not in policy.advisory,
    )  # fmt: skip


def covered_share(
    intents: Sequence[IntentStanding], policy: GatePolicy, *, target: IntentStanding | None = None
) -> float:
    """Return the covered part of the traffic that owes cases, without the target's own, as the coverage gate counts it."""
    owed = [one for one in intents if one.owes_cases and one != target]
    total = math.fsum(one.share for one in owed)
    missed = math.fsum(one.share for one in owed if not one.is_covered(policy))
    return 1.0 - missed / total if total else 1.0


def _to_cover(
    intents: Sequence[IntentStanding], policy: GatePolicy, target: IntentStanding
) -> list[tuple[IntentStanding, int]]:
    """Return the intents that must be covered until enough of the traffic is: those that add most first."""
    owed = [one for one in intents if one.owes_cases and one != target]
    total = math.fsum(one.share for one in owed)
    short = sorted((one for one in owed if not one.is_covered(policy)), key=lambda one: (-one.share, one.slug))
    covered, needed = covered_share(intents, policy, target=target), []
    for one in short:
        if covered >= policy.coverage - _ROUNDING:
            break
        needed.append((one, policy.coverage_min_cases - one.verify_cases))
        covered += one.share / total
    return needed


def _distance(gap: Gap) -> tuple[int, float, str]:
    return gap.verify + gap.holdout + sum(number for _, number in gap.uncovered), -gap.intent.share, gap.intent.slug


def _parts(gap: Gap, num_uncurated: int) -> list[str]:
    name, parts = f"“{gap.intent.name}”", []
    if gap.verify:
        parts.append(f"{gap.verify} more verify {_clusters(gap.verify)} of {name}")
    if gap.holdout:
        of_it = "of it" if gap.verify else f"of {name}"
        parts.append(f"{gap.holdout} more fresh hold-out {_clusters(gap.holdout)} {of_it}")
    if gap.protected:
        known = f" ({num_uncurated} active verify cases are still to be tried)" if num_uncurated else ""
        parts.append(f"{gap.protected} more stable {'case' if gap.protected == 1 else 'cases'}{known}")
    for one, number in gap.uncovered[:_NAMED_GAPS]:
        of_what = f"of “{one.name}”" if one.slug else "of no intent"
        parts.append(f"{number} more verify {'case' if number == 1 else 'cases'} {of_what} for coverage")
    if len(gap.uncovered) > _NAMED_GAPS:
        parts.append(f"cases of {len(gap.uncovered) - _NAMED_GAPS} further intents")
    if gap.needs_rotation:
        parts.append("a rotation of the hold-out")
    return parts


def _clusters(number: int) -> str:
    return "cluster" if number == 1 else "clusters"
