"""Say before a release starts how many users its verdicts will take.

Expectations, not promises: independent users with one episode each, the true rates as given. Several episodes a user
shorten the calendar, not the number of users.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from releases.guard.betting import EFFECTS
from releases.guard.confidence import half_width
from releases.plan import Plan

__all__ = ["Forecast", "detection_users", "forecast", "promotion_users"]

_PROMOTION_LEVEL = 0.05
_MOST_USERS = 10_000_000
HARMS = (0.05, 0.10, 0.20)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a plan can be expected to see at a failure rate ``base``, in users over both arms at the last step.

    ``detection`` maps a harm (added failure rate) to the users until the guard alarms, ``promotion`` is for a harmless
    canary; None means more users than can be counted on.
    """

    base: float
    promotion: int | None
    detection: tuple[tuple[float, int | None], ...]
    sentence: str


def forecast(plan: Plan, base: float, *, users_per_day: float | None = None) -> Forecast:
    """Return the expected users to decide ``plan`` at stable failure rate ``base``, in days too when traffic is known."""
    weight = plan.steps[-1].weight
    level = plan.alpha * plan.metrics.overall / 2.0
    needed = promotion_users(base, plan.margin, weight=weight, horizon=plan.promotion_horizon)
    floor = math.ceil(plan.steps[-1].min_users / min(weight, 1.0 - weight))
    needed = None if needed is None else max(needed, floor)
    harms = tuple(
        (harm, detection_users(base, harm, weight=weight, level=level, horizon=plan.guard_horizon))
        for harm in HARMS
        if base + harm < 1.0
    )
    said = "; ".join(f"{100 * harm:+.0f} points {_say(users, users_per_day)}" for harm, users in harms)
    sentence = (
        f"At {100 * base:.0f} % failures and a share of {100 * weight:.0f} %: a harmless version is promoted after "
        f"{_say(needed, users_per_day)}; harm is seen after: {said}."
    )
    return Forecast(base, needed, harms, sentence)


def promotion_users(base: float, margin: float, *, weight: float = 0.5, horizon: int = 1000) -> int | None:
    """Return the users over both arms at which half of all harmless versions have shown harm below ``margin``."""
    return _first(lambda users: _half(users, base, base, weight, _PROMOTION_LEVEL, horizon) < margin)


def detection_users(
    base: float, harm: float, *, weight: float = 0.5, level: float = 0.01, horizon: int = 500
) -> int | None:
    """Return the expected users over both arms until either test alarms, each at one-sided ``level``."""
    by_bounds = _first(lambda users: _half(users, base, base + harm, weight, level, horizon) < harm)
    growth = max(_growth(base, harm, effect, weight) for effect in EFFECTS)
    by_bets = math.ceil(math.log(len(EFFECTS) / level) / growth) if growth > 0.0 else None
    return min((users for users in (by_bounds, by_bets) if users is not None and users <= _MOST_USERS), default=None)


def _half(users: int, control: float, canary: float, weight: float, level: float, horizon: int) -> float:
    spread = canary * (1.0 - canary) / (users * weight) + control * (1.0 - control) / (users * (1.0 - weight))
    return half_width(math.sqrt(spread), 4.0 * users * weight * (1.0 - weight), level, horizon)


def _growth(base: float, harm: float, effect: float, weight: float) -> float:
    """Return the expected log wealth one user adds to the bet on ``effect``."""
    total = 0.0
    for likely_1, likely_0, canary, control in (
        (base + effect, base, base + harm, base),
        (1.0 - base - effect, 1.0 - base, 1.0 - base - harm, 1.0 - base),
    ):
        if min(likely_1, likely_0) <= 0.0:
            return 0.0
        mixed = weight * likely_1 + (1.0 - weight) * likely_0
        total += weight * canary * math.log(likely_1 / mixed) + (1.0 - weight) * control * math.log(likely_0 / mixed)
    return total


def _first(holds: Callable[[int], bool]) -> int | None:
    high = 2
    while not holds(high):
        high *= 2
        if high > _MOST_USERS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _say(users: int | None, users_per_day: float | None) -> str:
    if users is None:
        return "more users than can be counted on"
    days = f" (about {users / users_per_day:.1f} days)" if users_per_day else ""
    return f"about {users} users{days}"
