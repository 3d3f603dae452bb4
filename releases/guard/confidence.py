"""Bound the harm of a canary at every moment: a user-clustered, stage-stratified asymptotic confidence sequence.

Per stage k: d_k = canary minus control failure rate over episodes; its variance V_k is the sum over arms of the
linearized cluster variance (users are clusters, factor U/(U-1)), floored by the smoothed p(1-p)/M of independent
episodes. Stages are combined with W_k = M1 M0 / (M1 + M0), M in episodes: D = sum W d / sum W,
V = sum W^2 V_k / (sum W)^2, nu = 4 sum W, and

    half width = sqrt(V) sqrt(nu) sqrt( 2 (nu r + 1) / (nu^2 r) * ln(1 + sqrt(nu r + 1) / (2a)) ),
    r = (-2 ln 2a + ln(-2 ln 2a + 1)) / horizon,

one-sided at level a (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, "Time-uniform central limit theory and
asymptotic confidence sequences", the one-sided form). Neither users taken for episodes nor drift taken for harm
survive: both are compared only within a stage, between people.
"""

import math
from typing import NamedTuple

from releases.bucketing import Arm

__all__ = ["MIN_USERS", "ArmTotals", "Bounds", "Strata", "half_width"]

# Fewer users than this say nothing about their spread, and a few heavy ones are no crowd.
MIN_USERS = 5
MIN_EFFECTIVE_USERS = 10.0


class Bounds(NamedTuple):
    """Canary minus control failure rate with its one-sided bounds, each at the asked level."""

    difference: float
    lower: float
    upper: float
    standard_error: float
    effective_episodes: float
    stages: int


class ArmTotals:
    """Running sums of one arm in one stage; adding an episode costs the same however many there are."""

    __slots__ = ("_by_user", "cross", "episodes", "failures", "squared_episodes", "squared_failures", "variance")

    def __init__(self) -> None:
        self._by_user: dict[str, tuple[int, int]] = {}
        self.episodes = self.failures = 0
        self.squared_failures = self.cross = self.squared_episodes = 0
        self.variance = math.inf

    @property
    def users(self) -> int:
        return len(self._by_user)

    def add(self, user: str, *, failed: bool) -> None:
        """Count one episode of ``user``."""
        episodes, failures = self._by_user.get(user, (0, 0))
        after = failures + failed
        self._by_user[user] = (episodes + 1, after)
        self.squared_failures += after * after - failures * failures
        self.cross += after * (episodes + 1) - failures * episodes
        self.squared_episodes += 2 * episodes + 1
        self.episodes += 1
        self.failures += failed
        self._update_variance()

    def _update_variance(self) -> None:
        users, episodes = len(self._by_user), self.episodes
        if users < MIN_USERS:
            return
        rate = self.failures / episodes
        spread = self.squared_failures - 2.0 * rate * self.cross + rate * rate * self.squared_episodes
        clustered = spread * users / ((users - 1) * episodes * episodes)
        smooth = (self.failures + 1.0) / (episodes + 2.0)
        self.variance = max(clustered, smooth * (1.0 - smooth) / episodes)

    def to_mapping(self) -> dict[str, float | int | None]:
        """Return the sums as plain JSON; the variance is None while too few users were seen."""
        return {
            "users": self.users,
            "episodes": self.episodes,
            "failures": self.failures,
            "variance": self.variance if math.isfinite(self.variance) else None,
        }


class _Stage:
    """Two arms and their contribution to the combined difference."""

    __slots__ = ("canary", "control", "difference", "variance", "weight")

    def __init__(self) -> None:
        self.canary = ArmTotals()
        self.control = ArmTotals()
        self.weight = self.difference = self.variance = 0.0

    def refresh(self) -> None:
        one, two = self.canary, self.control
        if one.users < MIN_USERS or two.users < MIN_USERS:
            return
        crowd = one.episodes**2 / one.squared_episodes + two.episodes**2 / two.squared_episodes
        if crowd < MIN_EFFECTIVE_USERS:
            self.weight = 0.0
            return
        self.weight = one.episodes * two.episodes / (one.episodes + two.episodes)
        self.difference = one.failures / one.episodes - two.failures / two.episodes
        self.variance = one.variance + two.variance


class Strata:
    """All stages of a release, each compared only within itself."""

    __slots__ = ("_stages",)

    def __init__(self) -> None:
        self._stages: dict[int, _Stage] = {}

    def add(self, stage: int, user: str, *, canary: bool, failed: bool) -> None:
        """Count one episode."""
        here = self._stages.get(stage)
        if here is None:
            here = self._stages[stage] = _Stage()
        (here.canary if canary else here.control).add(user, failed=failed)
        here.refresh()

    def bounds(self, level: float, horizon: float) -> Bounds | None:
        """Return the combined difference and its bounds at one-sided ``level``, or None while no stage has enough."""
        total = difference = variance = 0.0
        stages = 0
        for here in self._stages.values():
            if here.weight > 0.0:
                stages += 1
                total += here.weight
                difference += here.weight * here.difference
                variance += here.weight * here.weight * here.variance
        if not stages:
            return None
        difference /= total
        error = math.sqrt(variance) / total
        half = half_width(error, 4.0 * total, level, horizon)
        return Bounds(difference, difference - half, difference + half, error, 4.0 * total, stages)

    def users(self, stage: int, arm: str) -> int:
        """Return how many users of ``arm`` were observed in ``stage``."""
        here = self._stages.get(stage)
        if here is None:
            return 0
        return (here.canary if arm == Arm.CANARY else here.control).users

    def to_mapping(self) -> list[dict[str, object]]:
        """Return every stage's numbers as plain JSON."""
        return [
            {
                "stage": number,
                "canary": here.canary.to_mapping(),
                "control": here.control.to_mapping(),
                "weight": here.weight,
                "difference": here.difference if here.weight > 0.0 else None,
            }
            for number, here in sorted(self._stages.items())
        ]


def half_width(error: float, effective: float, level: float, horizon: float) -> float:
    """Return the half width at one-sided ``level`` for a standard error and effective episodes, tightest at horizon."""
    spread = -2.0 * math.log(2.0 * level)
    mixing = (spread + math.log(spread + 1.0)) / horizon
    scaled = effective * mixing + 1.0
    return error * math.sqrt(2.0 * scaled / (effective * mixing) * math.log1p(math.sqrt(scaled) / (2.0 * level)))
