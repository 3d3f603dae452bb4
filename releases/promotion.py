"""Decide when a step may be left, when a version may be promoted, and what the aftermath says it did.

Promotion is a test of its own, not the absence of an alarm: the upper bound of harm on overall failure must lie below
the plan's margin, by the confidence sequence of the guard at one-sided 5 %, tightest at the promotion horizon.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any, NamedTuple

from evals.statistics import wilson_bounds
from releases.bucketing import Arm
from releases.guard.confidence import MIN_USERS, Bounds, Strata, half_width
from releases.guard.observations import Observation
from releases.guard.tick import GuardReading, GuardStatus
from releases.plan import Freeze, Plan, PlanError

__all__ = [
    "Aftermath",
    "AftermathReading",
    "Decision",
    "Interval",
    "StepReading",
    "Stratum",
    "difference_interval",
    "read_aftermath",
    "read_step",
]

_LEVEL = 0.05
_MOST_MISSING = 10_000_000


class Decision(StrEnum):
    """What a step's reading allows."""

    ADVANCE = "advance"
    PROMOTE = "promote"
    WAIT = "wait"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class StepReading:
    """Whether a step is over: the decision, its sentence, what is missing and every number (plain JSON).

    ``unmet`` holds one sentence per unmet condition; ``users_needed`` and ``seconds_needed`` estimate what is missing,
    0 when nothing of the kind is.
    """

    decision: Decision
    sentence: str
    unmet: tuple[str, ...]
    users_needed: int
    seconds_needed: float
    evidence: Mapping[str, Any]


class Aftermath(StrEnum):
    """What became of a promoted version's claim."""

    WATCHING = "watching"
    VERIFIED = "verified"
    NOT_FIXED = "not_fixed"
    CONFOUNDED = "confounded"


@dataclass(frozen=True, slots=True)
class AftermathReading:
    """The claim against the target's outcomes, with its sentence and every number (plain JSON)."""

    outcome: Aftermath
    sentence: str
    evidence: Mapping[str, Any]


class Stratum(NamedTuple):
    """Failures and users of two groups that are comparable with each other."""

    failures_1: int
    users_1: int
    failures_2: int
    users_2: int


class Interval(NamedTuple):
    """A difference of rates and its two-sided interval."""

    difference: float
    lower: float
    upper: float


def read_step(
    observations: Iterable[Observation],
    plan: Plan,
    *,
    stage: int,
    guard: GuardReading,
    baked_s: float,
    elapsed_s: float,
    freeze: Freeze | None = None,
) -> StepReading:
    """Return whether ``stage`` may advance, or at the last step promote.

    Every step needs its bake time, its users in both arms and a guard that says ok; the last one also
    non-inferiority. ``baked_s`` is the time served at this weight, ``elapsed_s`` since the release started; a running
    ``freeze`` makes it wait. At the plan's maximum duration an unmet step is inconclusive: a person decides.
    Raises PlanError for a stage that is no step.
    """
    if not 0 <= stage <= plan.last_stage:
        message = f"Stage {stage!r} is no step of this plan: its steps are 0 to {plan.last_stage}."
        raise PlanError(message)
    strata = Strata()
    for seen in observations:
        strata.add(seen.stage, seen.user, canary=seen.arm == Arm.CANARY, failed=seen.failed)
    bounds = strata.bounds(_LEVEL, plan.promotion_horizon)
    unmet, needed = _unmet_users(strata, plan, stage)
    seconds = max(0.0, plan.steps[stage].bake_s - baked_s)
    if seconds:
        unmet.append(f"the step lasts {seconds:.0f} s longer")
    if guard.status is not GuardStatus.OK:
        unmet.append(f"the guard says {guard.status.value}: {guard.sentence.rstrip('.')}")
    if freeze is not None:
        unmet.append(f"changes are frozen until {freeze.ends_at.isoformat()} ({freeze.reason})")
    if stage == plan.last_stage and (bounds is None or bounds.upper >= plan.margin):
        more = _missing_users(bounds, plan)
        needed = max(needed, more or 0)
        unmet.append(_inferior(None if bounds is None else bounds.upper, plan.margin, more))
    evidence = {
        "plan_digest": plan.digest,
        "stage": stage,
        "min_users": plan.steps[stage].min_users,
        "baked_s": baked_s,
        "bake_s": plan.steps[stage].bake_s,
        "elapsed_s": elapsed_s,
        "max_duration_s": plan.max_duration_s,
        "guard": guard.status.value,
        "margin": plan.margin,
        "level": _LEVEL,
        "horizon": plan.promotion_horizon,
        "bounds": None if bounds is None else bounds._asdict(),
        "stages": strata.to_mapping(),
    }
    decision, sentence = _decide(plan, stage, unmet, over=elapsed_s >= plan.max_duration_s)
    return StepReading(decision, sentence, tuple(unmet), needed, seconds, evidence)


def _unmet_users(strata: Strata, plan: Plan, stage: int) -> tuple[list[str], int]:
    step = plan.steps[stage]
    shares = {Arm.CANARY: step.weight, Arm.CONTROL: 1.0 - step.weight}
    users = {arm: strata.users(stage, arm) for arm in Arm}
    needed = max(math.ceil(max(0, step.min_users - users[arm]) / shares[arm]) for arm in Arm)
    if not needed:
        return [], 0
    sentence = (
        f"{step.min_users} users an arm are wanted in this step, canary has {users[Arm.CANARY]} and control "
        f"{users[Arm.CONTROL]}: about {needed} more users"
    )
    return [sentence], needed


def _decide(plan: Plan, stage: int, unmet: list[str], *, over: bool) -> tuple[Decision, str]:
    if unmet:
        missing = "; ".join(unmet)
        if over:
            return Decision.INCONCLUSIVE, (
                f"The maximum duration of {plan.max_duration_s:.0f} s is over and a person has to decide: {missing}."
            )
        return Decision.WAIT, f"Waiting: {missing}."
    if stage == plan.last_stage:
        return Decision.PROMOTE, f"Harm is below {100 * plan.margin:.1f} points and every condition is met: promote."
    return Decision.ADVANCE, f"Every condition is met: advance to {100 * plan.steps[stage + 1].weight:.0f} %."


def _inferior(upper: float | None, margin: float, more: int | None) -> str:
    known = "is not bounded yet" if upper is None else f"may still be up to {100 * upper:+.1f} points"
    if more is None:
        return f"harm {known}, the margin is {100 * margin:.1f}; at this difference no number of users would settle it"
    return f"harm {known}, the margin is {100 * margin:.1f}: about {more} more users at this difference"


def _missing_users(bounds: Bounds | None, plan: Plan) -> int | None:
    """Return how many more users would bring the upper bound below the margin if nothing but the number changed."""
    weight = plan.steps[-1].weight
    if bounds is None:
        return math.ceil(MIN_USERS / min(weight, 1.0 - weight))
    if bounds.difference >= plan.margin:
        return None

    def upper(times: float) -> float:
        error, effective = bounds.standard_error / math.sqrt(times), bounds.effective_episodes * times
        return bounds.difference + half_width(error, effective, _LEVEL, plan.promotion_horizon)

    # Effective episodes are 4 M1 M0 / (M1 + M0): so many users over both arms at this weight.
    have = bounds.effective_episodes / (4.0 * weight * (1.0 - weight))
    low, high = 1.0, 2.0
    while upper(high) >= plan.margin:
        low, high = high, high * 2.0
        if have * high > _MOST_MISSING:
            return None
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (low, middle) if upper(middle) < plan.margin else (middle, high)
    return math.ceil(have * (high - 1.0))


def read_aftermath(
    observations: Iterable[Observation],
    plan: Plan,
    *,
    elapsed_s: float,
    confounded_by: str | None = None,
) -> AftermathReading:
    """Return what the target's outcomes say once the aftermath is over: by its users or by its time.

    ``observations`` are the whole release's: under the hold-out alone the stable version serves too few to compare.
    Only target episodes count, of each user only the first (users are independent, episodes of one are not), and arms
    are compared only within a stage. The claim is verified when the 95 % interval of control minus canary failures
    lies above 0. ``confounded_by`` names an overlapping change; too few users to compare is confounded as well, and so
    is an arm whose outcomes mostly are not known.
    """
    first: dict[str, Observation] = {}
    targets = frozenset(plan.target_intents)
    watched: set[str] = set()
    for seen in sorted(observations, key=lambda one: (one.matured_at, one.conversation)):
        if seen.stage > plan.last_stage:
            watched.add(seen.user)
        if seen.is_target or seen.intent in targets:
            first.setdefault(seen.user, seen)
    strata = _strata(first.values())
    control, canary = (sum(one[1] for one in strata), sum(one[3] for one in strata))
    interval = difference_interval(strata) if min(control, canary) >= MIN_USERS else None
    known = _known_shares(first.values())
    evidence = {
        "plan_digest": plan.digest,
        "users": len(watched),
        "planned_users": plan.aftermath_users,
        "elapsed_s": elapsed_s,
        "planned_s": plan.aftermath_s,
        "control": {"users": control, "failures": sum(one[0] for one in strata)},
        "canary": {"users": canary, "failures": sum(one[2] for one in strata)},
        "stages": [list(one) for one in strata],
        "interval": None if interval is None else interval._asdict(),
        "outcomes_known": known,
        "min_known": plan.min_known,
        "confounded_by": confounded_by,
    }
    over = len(watched) >= plan.aftermath_users or elapsed_s >= plan.aftermath_s
    outcome, sentence = _aftermath(evidence, interval, over=over)
    return AftermathReading(outcome, sentence, evidence)


def _strata(outcomes: Iterable[Observation]) -> list[Stratum]:
    """Return the stages in which both arms met the target; a stage with one arm compares nothing."""
    counts: dict[int, list[int]] = {}
    for seen in outcomes:
        stage = counts.setdefault(seen.stage, [0, 0, 0, 0])
        offset = 2 if seen.arm == Arm.CANARY else 0
        stage[offset] += seen.failed
        stage[offset + 1] += 1
    return [Stratum(*counts[stage]) for stage in sorted(counts) if counts[stage][1] and counts[stage][3]]


def _known_shares(outcomes: Collection[Observation]) -> dict[str, float]:
    seen = {arm: [one.known for one in outcomes if one.arm == arm] for arm in Arm}
    return {arm.value: sum(known) / len(known) if known else 0.0 for arm, known in seen.items()}


def _aftermath(evidence: Mapping[str, Any], interval: Interval | None, *, over: bool) -> tuple[Aftermath, str]:
    if not over:
        return Aftermath.WATCHING, (
            f"The aftermath runs: {evidence['users']} of {evidence['planned_users']} users, "
            f"{evidence['elapsed_s']:.0f} of {evidence['planned_s']:.0f} s."
        )
    if evidence["confounded_by"]:
        return Aftermath.CONFOUNDED, f"Another change overlapped: {evidence['confounded_by']}. No effect can be named."
    if interval is None:
        return Aftermath.CONFOUNDED, (
            f"Too few users met the target to compare: canary {evidence['canary']['users']}, "
            f"control {evidence['control']['users']}, at least {MIN_USERS} each."
        )
    if min(evidence["outcomes_known"].values()) < evidence["min_known"]:
        shares = ", ".join(f"{100 * share:.0f} % in {arm}" for arm, share in evidence["outcomes_known"].items())
        return Aftermath.CONFOUNDED, f"Too few of the target's outcomes were known in time to compare: {shares}."
    between = f"{100 * interval.lower:+.1f} to {100 * interval.upper:+.1f} points"
    if interval.lower > 0.0:
        fell = 100 * interval.difference
        return Aftermath.VERIFIED, f"The target's failures fell by {fell:.1f} points (95 % interval {between})."
    return Aftermath.NOT_FIXED, (
        f"The target's failures did not clearly fall: the 95 % interval of the improvement is {between}."
    )


def difference_interval(strata: Sequence[Stratum], *, confidence: float = 0.95) -> Interval:
    """Return the two-sided interval of p1 - p2 for independent proportions, honest with few users and at none or all.

    Strata are weighted by n1 n2 / (n1 + n2) (Mantel-Haenszel) and Wilson's limits l, u of every rate are carried over:
    D - sqrt(sum w^2 ((p1-l1)^2 + (u2-p2)^2)), D + sqrt(sum w^2 ((u1-p1)^2 + (p2-l2)^2)) (Zou, Huang and Zhang 2009, "A
    note on confidence interval estimation for a linear function of binomial proportions"); with one stratum that is
    Newcombe's hybrid score interval (1998, method 10). Raises ValueError without users in both groups.
    """
    if not strata or any(not (0 <= s.failures_1 <= s.users_1 and 0 <= s.failures_2 <= s.users_2) for s in strata):
        message = f"Cannot compare {strata!r}: failures lie between 0 and the users, and there is at least one stratum."
        raise ValueError(message)
    if any(not (one.users_1 and one.users_2) for one in strata):
        message = f"Cannot compare {strata!r}: every stratum needs users in both groups; leave the others out."
        raise ValueError(message)
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    total = math.fsum(one.users_1 * one.users_2 / (one.users_1 + one.users_2) for one in strata)
    difference = below = above = 0.0
    for one in strata:
        share = one.users_1 * one.users_2 / (one.users_1 + one.users_2) / total
        rate_1, rate_2 = one.failures_1 / one.users_1, one.failures_2 / one.users_2
        low_1, high_1 = wilson_bounds(rate_1, one.users_1, z)
        low_2, high_2 = wilson_bounds(rate_2, one.users_2, z)
        difference += share * (rate_1 - rate_2)
        below += share * share * ((rate_1 - low_1) ** 2 + (high_2 - rate_2) ** 2)
        above += share * share * ((high_1 - rate_1) ** 2 + (rate_2 - low_2) ** 2)
    return Interval(difference, difference - math.sqrt(below), difference + math.sqrt(above))
