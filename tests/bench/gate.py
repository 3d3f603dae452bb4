"""Measure how often the gate promotes what it should and what it should not: `make bench-gate` (R=, WORKERS=).

Every run goes through the public `judge(results, policy)` with all default gates on and the hold-out played for the
winner. A hold is no promotion. Seeds are fixed: the same R gives the same numbers.
"""

import os

# One thread per worker: the workers are the parallelism, and numpy reads this once, at its import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import multiprocessing
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np

from evals.gate import GatePolicy, judge
from evals.readings import Verdict
from tests.bench.gate_worlds import Played, World, draw_truth, play
from tests.bench.reporting import Bar, Bench

BARS = (
    Bar("null_promoted", "<=", 0.05),
    Bar("harm_promoted", "<=", 0.08),
    Bar("good_promoted", ">=", 0.75),
    Bar("sequential_null_promoted", "<=", 0.05),
    Bar("sequential_harm_promoted", "<=", 0.08),
    Bar("sequential_good_promoted", ">=", 0.75),
    Bar("sequential_trials_share", "<=", 0.70),
    Bar("aa_library", "<=", 0.05),
)
FIXED = GatePolicy()
SEQUENTIAL = GatePolicy(mode="sequential")
CHANGES = ("null", "good", "harm")
GATES_SHOWN = [
    "target",
    "protected",
    "slices",
    "coverage",
    "latency",
    "cost",
    "safety",
    "crashes",
    "holdout",
    "leakage",
]
RETRIES = 3
BATCH = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one change ended: the last verdict on verify, the final one, and the trials it cost."""

    verify: Verdict
    final: Verdict
    trials: int
    looks: int = 1
    attempts: int = 1


def judge_fixed(played: Played, **kwargs: Any) -> Outcome:
    """Judge once at full k, playing the hold-out only for a winner."""
    verify = judge(played.readings(k=3, with_holdout=False, **kwargs), FIXED)
    if not verify.wants_holdout:
        return Outcome(verify, verify, played.num_trials(k=3, with_holdout=False))
    final = judge(played.readings(k=3, with_holdout=True, **kwargs), FIXED)
    return Outcome(verify, final, played.num_trials(k=3, with_holdout=True))


def judge_sequential(played: Played) -> Outcome:
    """Judge after each trial until the plan ends; the hold-out is played at the look that wants it."""
    passed: tuple[str, ...] = ()
    for look in range(1, SEQUENTIAL.looks + 1):
        verify = judge(played.readings(k=look, with_holdout=False, look=look, passed_before=passed), SEQUENTIAL)
        if verify.wants_holdout:
            final = judge(played.readings(k=look, with_holdout=True, look=look, passed_before=passed), SEQUENTIAL)
            return Outcome(verify, final, played.num_trials(k=look, with_holdout=True), look)
        if verify.overall == "fail":
            break
        passed = tuple({*passed, *verify.passed})
    return Outcome(verify, verify, played.num_trials(k=look, with_holdout=False), look)


def fixed(world: World, generator: np.random.Generator) -> Outcome:
    """Play and judge one change at fixed k."""
    return judge_fixed(play(world, generator))


def sequential(world: World, generator: np.random.Generator) -> Outcome:
    """Play and judge one change in three looks."""
    return judge_sequential(play(world, generator))


def resumed(world: World, generator: np.random.Generator) -> Outcome:
    """Judge at fixed k; a hold is resumed with k more trials as the plan's next look, until it decides or ends."""
    truth = draw_truth(world, generator)
    played = play(world, generator, trials=3 * FIXED.looks, truth=truth)
    passed: tuple[str, ...] = ()
    look = 1
    while True:
        verify = judge(played.readings(k=3 * look, with_holdout=False, look=look, passed_before=passed), FIXED)
        final, with_holdout = verify, False
        if verify.wants_holdout:
            with_holdout = True
            final = judge(played.readings(k=3 * look, with_holdout=True, look=look, passed_before=passed), FIXED)
        if final.overall != "hold" or with_holdout or look >= FIXED.looks:
            return Outcome(verify, final, played.num_trials(k=3 * look, with_holdout=with_holdout), look)
        passed = tuple({*passed, *verify.passed})
        look = verify.next_look


def retried(world: World, generator: np.random.Generator) -> Outcome:
    """Try a pattern up to four times (first attempt and three retries), holds resumed: promoted when any attempt is.

    Each attempt is a new change with its own truth on the same cases' count, and a hold-out nobody has looked at.
    """
    outcome = resumed(world, generator)
    trials, attempts = outcome.trials, 1
    while outcome.final.overall != "pass" and attempts <= RETRIES:
        outcome = resumed(world, generator)
        trials, attempts = trials + outcome.trials, attempts + 1
    return Outcome(outcome.verify, outcome.final, trials, outcome.looks, attempts)


STORIES: dict[str, Callable[[World, np.random.Generator], Outcome]] = {
    "fixed": fixed, "sequential": sequential, "resumed": resumed, "retried": retried,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the bench: a story told about a world, `share` of R times."""

    name: str
    story: str
    world: World
    share: float = 1.0

    @property
    def seed(self) -> int:
        """Return a seed of the setting's own, so that adding a row changes no other."""
        return zlib.crc32(f"{self.name}/{self.story}/{self.world.change}".encode())


SETTINGS = (
    *(Setting("default", "fixed", World(change)) for change in CHANGES),
    *(Setting("default", "sequential", World(change)) for change in CHANGES),
    *(Setting("deterministic", "fixed", World(change, deterministic=True)) for change in CHANGES),
    *(Setting("judge .9/.9", "fixed", World(change, target_clusters=38, judge_error=0.1)) for change in CHANGES),
    *(Setting("resumed holds", "resumed", World(change)) for change in CHANGES),
    # These two cost five times the others and carry no bar; a quarter of R keeps the bench under ten minutes.
    *(Setting("retries + resumed", "retried", World(change), 0.25) for change in CHANGES),
    *(Setting("clustered 5, rho .3", "fixed", World(change, cases_per_cluster=5, rho=0.3), 0.25) for change in CHANGES),
)


@dataclass
class Tally:
    """Counts over the repetitions of a setting."""

    runs: int = 0
    overall: Counter[str] = field(default_factory=Counter)
    gates: Counter[tuple[str, str]] = field(default_factory=Counter)
    trials: int = 0
    looks: int = 0
    attempts: int = 0
    holdouts: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome; the verify gates at their last look, the hold-out's own where it was played."""
        self.runs += 1
        self.overall[outcome.final.overall] += 1
        self.trials += outcome.trials
        self.looks += outcome.looks
        self.attempts += outcome.attempts
        played = outcome.final is not outcome.verify
        self.holdouts += played
        for gate in outcome.verify.gates:
            if gate.name not in {"holdout", "leakage"}:
                self.gates[gate.name, gate.verdict] += 1
        if played:
            for name in ("holdout", "leakage"):
                self.gates[name, outcome.final.gate(name).verdict] += 1

    def merge(self, other: "Tally") -> None:
        """Add another worker's counts."""
        self.runs += other.runs
        self.overall += other.overall
        self.gates += other.gates
        self.trials += other.trials
        self.looks += other.looks
        self.attempts += other.attempts
        self.holdouts += other.holdouts

    @property
    def promoted(self) -> float:
        """Return the share of changes that ended in a pass."""
        return self.overall["pass"] / self.runs

    def gate_rate(self, name: str, verdict: str = "pass") -> float | None:
        """Return how often a gate said so, of the times it was asked; `None` when it never was."""
        asked = sum(count for (gate, _), count in self.gates.items() if gate == name)
        return round(self.gates[name, verdict] / asked, 4) if asked else None


def run_batch(job: tuple[int, int, int]) -> tuple[int, Tally]:
    """Tell a setting's story for one batch of repetitions; the stream depends on setting and batch only."""
    index, batch, runs = job
    setting = SETTINGS[index]
    tally = Tally()
    for repetition in range(runs):
        generator = np.random.Generator(np.random.PCG64([setting.seed, batch, repetition]))
        tally.add(STORIES[setting.story](setting.world, generator))
    return index, tally


def jobs_for(runs: int) -> Iterable[tuple[int, int, int]]:
    """Cut every setting's repetitions into batches."""
    for index, setting in enumerate(SETTINGS):
        wanted = max(1, round(runs * setting.share))
        for batch, start in enumerate(range(0, wanted, BATCH)):
            yield index, batch, min(BATCH, wanted - start)


def measure(bench: Bench, runs: int, workers: int) -> list[Tally]:
    """Run every setting on the workers and say when each is through."""
    tallies = [Tally() for _ in SETTINGS]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for index, tally in pool.imap_unordered(run_batch, jobs_for(runs)):
            tallies[index].merge(tally)
            setting = SETTINGS[index]
            if tallies[index].runs == max(1, round(runs * setting.share)):
                title = f"{setting.name} · {setting.story} · {setting.world.change}"
                bench.say(f"{title}: promoted {tallies[index].promoted:.4f} of {tallies[index].runs}")
    return tallies


def summary(tallies: list[Tally]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the table of verdicts and the table of each gate's own pass rate."""
    verdicts, gates = [], []
    for setting, tally in zip(SETTINGS, tallies, strict=True):
        head = {"setting": setting.name, "story": setting.story, "change": setting.world.change}
        error = sqrt(tally.promoted * (1.0 - tally.promoted) / tally.runs)
        verdicts.append(
            head | {
                "runs": tally.runs, "pass": round(tally.promoted, 4), "±": round(error, 4),
                "fail": round(tally.overall["fail"] / tally.runs, 4),
                "hold": round(tally.overall["hold"] / tally.runs, 4),
                "trials": round(tally.trials / tally.runs), "looks": round(tally.looks / tally.runs, 2),
                "attempts": round(tally.attempts / tally.runs, 2),
                "per attempt": round(tally.overall["pass"] / tally.attempts, 4),
            }
        )  # fmt: skip
        gates.append(head | {name: tally.gate_rate(name) for name in GATES_SHOWN})
    return verdicts, gates


def keys_of(tallies: list[Tally]) -> dict[str, float | int]:
    """Return the bench's keys from the two default stories."""
    found = {
        (setting.story, setting.world.change): tally
        for setting, tally in zip(SETTINGS, tallies, strict=True)
        if setting.name == "default"
    }
    keys: dict[str, float | int] = {f"{change}_promoted": found["fixed", change].promoted for change in CHANGES}
    keys |= {f"sequential_{change}_promoted": found["sequential", change].promoted for change in CHANGES}
    shares = [
        (found["sequential", change].trials / found["sequential", change].runs)
        / (found["fixed", change].trials / found["fixed", change].runs)
        for change in CHANGES
    ]
    keys["sequential_trials_share"] = round(sum(shares) / len(shares), 4)
    # The null setting compares a version with itself: how often the target's exact p is at or below its alpha.
    keys["aa_library"] = found["fixed", "null"].gate_rate("target") or 0.0
    return {name: round(value, 4) for name, value in keys.items()}


def main() -> int:
    """Run the bench with R repetitions a setting (default 2,000) on WORKERS processes (default 2)."""
    runs = int(os.environ.get("R") or 2_000)
    workers = int(os.environ.get("WORKERS") or 2)
    bench = Bench("gate", bars=BARS, settings={"runs": runs, "workers": workers, "policy": FIXED.as_mapping()})
    bench.say(f"{len(SETTINGS)} settings, {runs} runs each, {workers} workers")
    tallies = measure(bench, runs, workers)
    verdicts, gates = summary(tallies)
    bench.table("verdicts", verdicts)
    bench.table("pass rate of each gate, where it was asked", gates)
    bench.keys = keys_of(tallies)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
