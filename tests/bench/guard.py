"""Measure the guard: false alarms while peeking at every matured episode, and what it takes to see harm.

`make bench-guard` runs every setting R times (default 2,000) through `releases.guard.Guard`, the fold that `tick` itself
runs. Worlds are synthetic: users of Pareto(1.5) activity, failure rates Beta with the given intra-class correlation,
3,000 episodes; ramps walk 5-10-25-50 % in equal quarters. Undetected runs count as infinitely late.
"""

import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from releases.bucketing import Arm
from releases.guard import Guard, Observation
from releases.plan import MetricWeights, Plan, Step
from tests.bench.reporting import Bar, Bench

R = int(os.environ.get("R", "2000"))
SEED = int(os.environ.get("SEED", "1"))
PROCESSES = int(os.environ.get("PROCESSES", "2"))
BASE = 0.10
RAMP = (0.05, 0.10, 0.25, 0.50)
INTENTS = tuple(f"intent-{number:02d}" for number in range(30))
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class World:
    """A population, its traffic and what the canary does to it."""

    name: str
    says: str
    users: int
    icc: float = 0.0
    weights: tuple[float, ...] = (0.5,)
    drift_to: float | None = None
    base: float = BASE
    harm: float = 0.0
    collapse: float = 0.0
    full_set: bool = False
    single_visits: bool = False
    episodes: int = 3000


class Outcome(NamedTuple):
    """When and by what a run alarmed; ``test`` is None when it never did."""

    test: str | None
    episodes: int
    canary_episodes: int
    users: int


NULLS = (
    World("D2", "ramp, base drifts 5 to 25 %, 300 users, ICC .15", 300, 0.15, RAMP, drift_to=0.25, base=0.05),
    World("A", "1,000 users, independent", 1000),
    World("B", "300 users, ICC .15", 300, 0.15),
    World("B2", "B with ramp", 300, 0.15, RAMP),
    World("C", "1,500 users, ICC .15", 1500, 0.15),
    World("D", "ramp, base drifts 5 to 25 %, 1,000 users", 1000, 0.0, RAMP, drift_to=0.25, base=0.05),
)
DEFAULT_SET = World("S", "default metric set, 30 intents, ramp, 1,500 users, ICC .15", 1500, 0.15, RAMP, full_set=True)
HARMS = (
    World("F", "+10 points, 1,500 users, ICC .15", 1500, 0.15, harm=0.10),
    World(
        "K", "one of 30 intents +80 points, default metric set", 4000, collapse=0.80, full_set=True,
        single_visits=True, episodes=4000,
    ),
)  # fmt: skip
BARS = (
    Bar("false_alarm_max", "<=", 0.05),
    Bar("default_set_false_alarm", "<=", 0.05),
    Bar("detect_10pp_median", "<=", 500),
    Bar("detect_10pp_share", ">=", 0.90),
    Bar("intent_collapse_median_users", "<=", 1100),
)


def plan_of(world: World) -> Plan:
    """Return the plan a world is watched under: its weights as steps, one metric or the default set."""
    plan = Plan(
        steps=tuple(Step(weight, 50, 0) for weight in world.weights),
        margin=0.05, max_duration_s=1, maturity_s=0, aftermath_users=1, aftermath_s=1,
        metrics=MetricWeights(1.0, 0.0, 0.0),
    )  # fmt: skip
    if not world.full_set:
        return plan
    return replace(plan, metrics=MetricWeights(), intents=INTENTS, target_intents=INTENTS[:1])


def _rates(world: World, rng: np.random.Generator, at: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Return each episode's failure rate without a canary; a user's rank among users never changes while rates drift."""
    end = world.base if world.drift_to is None else world.drift_to
    means = np.linspace(world.base, end, 41 if end != world.base else 1)
    moment = np.minimum((at * len(means)).astype(int), len(means) - 1)
    if world.icc == 0.0:
        return np.asarray(means[moment])
    concentration = (1 - world.icc) / world.icc
    drawn = rng.beta(means[:, None] * concentration, (1 - means[:, None]) * concentration, (len(means), world.users))
    ranked = np.sort(drawn, axis=1)[:, rng.permutation(world.users)]
    return np.asarray(ranked[moment, users])


def observations(world: World, rng: np.random.Generator) -> list[Observation]:
    """Return one synthetic record of the world, in order of maturity."""
    number = np.arange(world.episodes)
    if world.single_visits:
        users = number % world.users
    else:
        activity = rng.random(world.users) ** (-1 / 1.5)
        users = rng.choice(world.users, world.episodes, p=activity / activity.sum())
    at = number / world.episodes
    stage = (at * len(world.weights)).astype(int)
    weight = np.asarray(world.weights)[stage]
    canary = rng.random(world.users)[users] < weight
    intent = rng.integers(len(INTENTS), size=world.episodes)
    rate = _rates(world, rng, at, users)
    harm = np.where(canary, world.harm + np.where(intent == len(INTENTS) - 1, world.collapse, 0.0), 0.0)
    rate = rate + (1 - rate) * harm / (1 - world.base)
    failed = rng.random(world.episodes) < rate
    return [
        Observation(
            f"u{user}", step, Arm.CANARY if one else Arm.CONTROL, share, fails, float(index), "", INTENTS[want]
        )
        for index, (user, step, one, share, fails, want) in enumerate(
            zip(users.tolist(), stage.tolist(), canary.tolist(), weight.tolist(), failed.tolist(), intent.tolist(),
                strict=True)
        )
    ]  # fmt: skip


def play(world: World, run: int) -> Outcome:
    """Watch one record of the world, looking at every episode until the first alarm."""
    rng = np.random.default_rng([SEED, *world.name.encode(), run])
    guard = Guard(plan_of(world))
    users: set[str] = set()
    canaries = 0
    for seen in observations(world, rng):
        users.add(seen.user)
        canaries += seen.arm == Arm.CANARY
        if guard.add(seen) is not None:
            break
    return Outcome(guard.alarm, guard.observed, canaries, len(users))


def _play_chunk(world: World, runs: Sequence[int]) -> list[Outcome]:
    return [play(world, run) for run in runs]


def play_all(world: World, pool: ProcessPoolExecutor) -> list[Outcome]:
    """Return the outcome of all R runs of a world."""
    chunks = [range(first, min(first + _CHUNK, R)) for first in range(0, R, _CHUNK)]
    return [one for done in pool.map(_play_chunk, [world] * len(chunks), chunks) for one in done]


def _median(values: list[float]) -> float:
    """Return the upper median: infinite when half of the runs are."""
    return sorted(values)[len(values) // 2]


def _row(world: World, outcomes: list[Outcome]) -> dict[str, str | float | None]:
    def share(prefix: str) -> float:
        return sum(one.test is not None and one.test.startswith(prefix) for one in outcomes) / len(outcomes)

    def median(name: str) -> float | None:
        middle = _median([float(getattr(one, name)) if one.test is not None else math.inf for one in outcomes])
        return middle if math.isfinite(middle) else None

    return {
        "setting": world.name,
        "world": world.says,
        "alarmed": share(""),
        "by betting": share("overall.betting"),
        "by bounds": share("overall.confidence"),
        "by intents": share("intents"),
        "by target": share("target"),
        "median episodes": median("episodes"),
        "median canary": median("canary_episodes"),
        "median users": median("users"),
    }


def main() -> int:
    """Run every setting and print the keys; exit 1 when a bar is missed."""
    bench = Bench("guard", BARS, {"R": R, "seed": SEED, "processes": PROCESSES})
    rows: dict[str, dict[str, str | float | None]] = {}
    with ProcessPoolExecutor(PROCESSES) as pool:
        for world in (*NULLS, DEFAULT_SET, *HARMS):
            with bench.phase(f"{world.name}: {world.says}"):
                rows[world.name] = _row(world, play_all(world, pool))
    bench.table("false alarms", [rows[world.name] for world in (*NULLS, DEFAULT_SET)])
    bench.table("harm", [rows[world.name] for world in HARMS])
    false_alarm = {world.name: rows[world.name]["alarmed"] for world in NULLS}
    bench.keys = {
        "false_alarm": false_alarm,
        "false_alarm_max": max(float(rows[world.name]["alarmed"] or 0.0) for world in NULLS),
        "default_set_false_alarm": rows["S"]["alarmed"],
        "detect_10pp_median": rows["F"]["median canary"],
        "detect_10pp_share": rows["F"]["alarmed"],
        "intent_collapse_median_users": rows["K"]["median users"],
        "intent_collapse_share": rows["K"]["alarmed"],
    }
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
