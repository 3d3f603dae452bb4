"""Say before it starts how a release will go, so that an approval can bind to exactly that.

A plan is a value: steps, margin, alpha and its split, clocks, what is watched. Its digest is the SHA-256 of its
RFC 8785 canonical JSON; an approval names the digest, and any other number is another plan.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import rfc8785

__all__ = ["PROFILES", "Freeze", "MetricWeights", "Plan", "PlanError", "Step", "Tripwire", "profile"]

# A normal approximation over fewer users promotes too often (simulated at base .05, margin .10).
MIN_PROMOTION_USERS = 50
_MAX_ALPHA = 0.2
_MAX_MARGIN = 0.5
_DAY_S = 86_400
_NAMES = frozenset({"intents", "target_intents", "signals", "truth_sources"})


class PlanError(ValueError):
    """A plan that cannot be run; the sentence says which number and what is allowed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One weight of the ramp: the canary's share, users per arm the step must observe, least time it lasts."""

    weight: float
    min_users: int
    bake_s: float


@dataclass(frozen=True, slots=True)
class MetricWeights:
    """How the guard's alpha is split; a weight of 0 leaves that metric out."""

    overall: float = 0.4
    intents: float = 0.4
    target: float = 0.2


@dataclass(frozen=True, slots=True)
class Tripwire:
    """A count of canary events that rolls back at once when it exceeds ``limit``."""

    name: str
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Freeze:
    """A window in which nothing starts, advances or promotes; rolling back is never frozen."""

    starts_at: datetime
    ends_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything about a release that is fixed before it starts.

    ``intents`` are the live intents watched for a collapse, ``target_intents`` those the proposal claims to fix;
    ``signals`` are the yes-or-no facts of an episode that may pause the ramp. ``maturity_s`` is the instant after an
    episode's start at which its outcome is read in both arms. The horizons are the sample sizes, in episodes, at which
    the confidence sequences of guard and promotion are tightest. ``truth_sources`` are those whose word on an outcome
    counts, strongest first. ``min_known`` is the least share of either arm's conversations whose outcome must be known,
    and, where agents name the version they ran, that must have run the drawn one: below it the guard holds.
    Raises PlanError when it cannot be run.
    """

    steps: tuple[Step, ...]
    margin: float
    max_duration_s: float
    maturity_s: float
    aftermath_users: int
    aftermath_s: float
    alpha: float = 0.05
    metrics: MetricWeights = field(default_factory=MetricWeights)
    reverse_holdout: float = 0.05
    guard_horizon: int = 500
    promotion_horizon: int = 1000
    min_known: float = 0.5
    truth_sources: tuple[str, ...] = ("customer", "staff", "detector")
    intents: tuple[str, ...] = ()
    target_intents: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    tripwires: tuple[Tripwire, ...] = ()
    freezes: tuple[Freeze, ...] = ()

    def __post_init__(self) -> None:
        problems = [*_step_problems(self), *_number_problems(self), *_name_problems(self)]
        if problems:
            message = "This plan cannot be run: " + "; ".join(problems) + "."
            raise PlanError(message)

    @property
    def last_stage(self) -> int:
        """The stage of the last step; the next one is the aftermath under the reverse hold-out."""
        return len(self.steps) - 1

    @property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of the canonical JSON: what an approval binds to."""
        return hashlib.sha256(rfc8785.dumps(self.to_mapping())).hexdigest()

    def weight_at(self, stage: int) -> float:
        """Return the canary's share in ``stage``; after the last step all but the reverse hold-out."""
        if not 0 <= stage <= len(self.steps):
            message = f"Stage {stage!r} is not of this plan: its stages are 0 to {len(self.steps)} (the aftermath)."
            raise PlanError(message)
        return 1.0 - self.reverse_holdout if stage == len(self.steps) else self.steps[stage].weight

    def freeze_at(self, now: datetime) -> Freeze | None:
        """Return the freeze window ``now`` (with a time zone) falls into, or None."""
        return next((freeze for freeze in self.freezes if freeze.starts_at <= now < freeze.ends_at), None)

    def to_mapping(self) -> dict[str, Any]:
        """Return the plan as plain JSON; `from_mapping` reads it back to an equal plan."""
        plain: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        plain["steps"] = [_plain(step) for step in self.steps]
        plain["metrics"] = _plain(self.metrics)
        plain["tripwires"] = [_plain(wire) for wire in self.tripwires]
        plain["freezes"] = [
            {"starts_at": _instant(one.starts_at), "ends_at": _instant(one.ends_at), "reason": one.reason}
            for one in self.freezes
        ]
        for name in _NAMES:
            plain[name] = list(plain[name])
        return plain

    @classmethod
    def from_mapping(cls, plain: Mapping[str, Any]) -> "Plan":
        """Build a plan from its JSON. Raises PlanError naming keys that are unknown or missing."""
        try:
            values = dict(plain)
            values["steps"] = tuple(Step(**step) for step in plain["steps"])
            values["metrics"] = MetricWeights(**plain.get("metrics", {}))
            values["tripwires"] = tuple(Tripwire(**wire) for wire in plain.get("tripwires", ()))
            values["freezes"] = tuple(
                Freeze(datetime.fromisoformat(one["starts_at"]), datetime.fromisoformat(one["ends_at"]), one["reason"])
                for one in plain.get("freezes", ())
            )
            for name in _NAMES & plain.keys():
                values[name] = tuple(plain[name])
            return cls(**values)
        except (TypeError, KeyError, AttributeError) as error:
            message = f"This is not a release plan: {error}. Its keys are those of Plan.to_mapping()."
            raise PlanError(message) from error


def profile(name: str) -> Plan:
    """Return the shipped plan ``default``, ``small`` or ``demo``. Raises PlanError for another name."""
    if name not in PROFILES:
        message = f"There is no plan profile {name!r}: choose one of {', '.join(PROFILES)}."
        raise PlanError(message)
    return PROFILES[name]


def _plain(value: Step | MetricWeights | Tripwire) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in fields(value)}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _step_problems(plan: Plan) -> list[str]:
    if not plan.steps:
        return ["it has no steps; name at least one weight"]
    problems = []
    weights = [step.weight for step in plan.steps]
    if any(not 0 < weight < 1 for weight in weights) or weights != sorted(set(weights)):
        problems.append(f"weights {weights!r} must rise strictly between 0 and 1")
    if weights[-1] > 1 - plan.reverse_holdout:
        problems.append(f"the last weight {weights[-1]!r} leaves no room for a hold-out of {plan.reverse_holdout!r}")
    if any(step.min_users < 1 or not _at_least(step.bake_s, 0) for step in plan.steps):
        problems.append("each step needs min_users of 1 or more and a bake_s of 0 or more")
    if plan.steps[-1].min_users < MIN_PROMOTION_USERS:
        problems.append(f"the last step needs min_users of {MIN_PROMOTION_USERS} or more, it decides the promotion")
    return problems


def _number_problems(plan: Plan) -> list[str]:
    problems = []
    if not 0 < plan.margin <= _MAX_MARGIN:
        problems.append(f"margin {plan.margin!r} must lie between 0 and {_MAX_MARGIN}")
    if not 0 < plan.alpha <= _MAX_ALPHA:
        problems.append(f"alpha {plan.alpha!r} must lie between 0 and {_MAX_ALPHA}")
    split = (plan.metrics.overall, plan.metrics.intents, plan.metrics.target)
    if plan.metrics.overall <= 0 or min(split) < 0 or math.fsum(split) > 1 + 1e-12:
        problems.append(f"metric weights {split!r} must not be negative, overall above 0, their sum at most 1")
    if not 0 <= plan.reverse_holdout < 1:
        problems.append(f"reverse_holdout {plan.reverse_holdout!r} must be a share below 1")
    for name in ("max_duration_s", "aftermath_s", "aftermath_users", "guard_horizon", "promotion_horizon"):
        value = getattr(plan, name)
        if not _at_least(value, 0) or value == 0:
            problems.append(f"{name} {value!r} must be above 0")
    if not 0 <= plan.min_known < 1:
        problems.append(f"min_known {plan.min_known!r} must be a share below 1")
    if not _at_least(plan.maturity_s, 0):
        problems.append(f"maturity_s {plan.maturity_s!r} must be 0 or more")
    if _at_least(plan.max_duration_s, 0) and plan.max_duration_s < math.fsum(step.bake_s for step in plan.steps):
        problems.append(f"max_duration_s {plan.max_duration_s!r} is shorter than the steps' bake times together")
    return problems


def _name_problems(plan: Plan) -> list[str]:
    problems = []
    named = {"intents": plan.intents, "target_intents": plan.target_intents, "signals": plan.signals}
    named["truth_sources"] = plan.truth_sources
    named["tripwires"] = tuple(wire.name for wire in plan.tripwires)
    for what, names in named.items():
        if len(set(names)) != len(names) or not all(names):
            problems.append(f"{what} {names!r} must be distinct and not empty")
    if not plan.truth_sources or "agent" in plan.truth_sources:
        problems.append(f"truth_sources {plan.truth_sources!r} must name somebody, and never the agent itself")
    if any(wire.limit < 0 for wire in plan.tripwires):
        problems.append("a tripwire's limit must be 0 or more")
    problems.extend(
        f"freeze {one.reason!r} must start before it ends, both with a time zone"
        for one in plan.freezes
        if one.starts_at.tzinfo is None or one.ends_at.tzinfo is None or one.starts_at >= one.ends_at
    )
    return problems


def _at_least(value: float, floor: float) -> bool:
    return math.isfinite(value) and value >= floor


_SIGNALS = ("costly", "escalated", "frustrated", "slow")

PROFILES: Mapping[str, Plan] = MappingProxyType(
    {
        "default": Plan(
            steps=(Step(0.05, 20, 4 * 3600), Step(0.25, 60, 12 * 3600), Step(0.50, 200, _DAY_S)),
            margin=0.05,
            max_duration_s=14 * _DAY_S,
            maturity_s=3600,
            aftermath_users=2000,
            aftermath_s=7 * _DAY_S,
            signals=_SIGNALS,
        ),
        # Few users: a tenth only finds catastrophes, half decides about 2.5 times sooner.
        "small": Plan(
            steps=(Step(0.10, 10, 4 * 3600), Step(0.50, 100, _DAY_S)),
            margin=0.10,
            max_duration_s=28 * _DAY_S,
            maturity_s=3600,
            aftermath_users=500,
            aftermath_s=7 * _DAY_S,
            signals=_SIGNALS,
        ),
        "demo": Plan(
            steps=(Step(0.10, 5, 1), Step(0.50, 260, 2)),
            margin=0.10,
            max_duration_s=300,
            maturity_s=6,
            aftermath_users=100,
            aftermath_s=240,
            signals=_SIGNALS,
        ),
    }
)
