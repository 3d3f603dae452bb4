"""Make synthetic runs whose truth is known, for measuring how often the gate is right.

A world fixes the true success rates of both arms; a draw of it plays trials. Settings are those a gate must survive:
cases that differ, clusters that hang together, agents that never vary, judges that err.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from evals.readings import CaseReading, JudgeCalibration, RunReadings, TrafficShare, TrialReading

__all__ = ["GAIN", "HARM", "Truth", "World", "play"]

GAIN = 0.20
HARM = 0.05
TARGET_MEAN, PROTECTED_MEAN, ICC = 0.40, 0.85, 0.40
INTENTS = 20
PROTECTED_CLUSTERS = 160
CURATION_TRIALS = 5
LATENCY_MS, LATENCY_SD = 1_500.0, 0.30
COST_USD, COST_SD = 0.01, 0.12


@dataclass(frozen=True, slots=True)
class World:
    """A setting: what the change really does (`null`, `good`, `harm`) and in what kind of surroundings."""

    change: str
    target_clusters: int = 24
    cases_per_cluster: int = 1
    rho: float = 0.0
    deterministic: bool = False
    judge_error: float = 0.0


@dataclass(frozen=True, slots=True)
class Truth:
    """True success rates of one draw, per case: target verify, target hold-out, protected."""

    baseline: np.ndarray
    candidate: np.ndarray


def beta_parameters(mean: float) -> tuple[float, float]:
    """Return a, b of the Beta with this mean whose draws have intraclass correlation ICC = 1 / (a + b + 1)."""
    total = 1.0 / ICC - 1.0
    return mean * total, (1.0 - mean) * total


def _shift(rates: np.ndarray, delta: float) -> np.ndarray:
    odds = np.clip(rates, 1e-12, 1.0 - 1e-12)
    return 1.0 / (1.0 + (1.0 / odds - 1.0) * np.exp(-delta))


@lru_cache(maxsize=1)
def gain_shift() -> float:
    """Return the common logit shift that lifts the mean target rate by GAIN, by bisection on a fixed large sample."""
    rates = np.random.Generator(np.random.PCG64(1)).beta(*beta_parameters(TARGET_MEAN), size=400_000)
    low, high = 0.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2
        if (_shift(rates, middle) - rates).mean() < GAIN:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@cache
def cases_of(world: World) -> tuple[CaseReading, ...]:
    """Return the cases of every draw of this world: target verify, target hold-out, protected, in that order."""
    rows = []
    for split in ("verify", "holdout"):
        for cluster in range(world.target_clusters):
            for number in range(world.cases_per_cluster):
                name = f"{split}-{cluster:03d}"
                rows.append(
                    CaseReading(f"{name}-{number}", name, "target", "known_failure", split, is_target=True)  # type: ignore[arg-type]  # the literal splits
                )
    for cluster in range(PROTECTED_CLUSTERS):
        for number in range(world.cases_per_cluster):
            name = f"protected-{cluster:03d}"
            intent = f"intent-{cluster % INTENTS:02d}"
            rows.append(CaseReading(f"{name}-{number}", name, intent, is_protected=True))
    return tuple(rows)


TRAFFIC = tuple(
    TrafficShare(intent, 1.0 / (INTENTS + 1)) for intent in ("target", *(f"intent-{i:02d}" for i in range(INTENTS)))
)


def _rates(generator: np.random.Generator, mean: float, clusters: int, world: World, *, stable: bool) -> np.ndarray:
    """Draw true baseline rates; `stable` keeps only cases that pass all curation trials, drawn apart from the run.

    Clustered rates share a Gaussian component with correlation rho within a cluster, mapped to Beta by rank: the
    quantile is read off a large sorted sample.
    """
    a, b = beta_parameters(mean)
    per = world.cases_per_cluster
    if world.deterministic:
        return np.ones((clusters, per)) if stable else (generator.random((clusters, per)) < mean).astype(float)
    if world.rho == 0.0:
        # Passing k of k is a Beta observation, so the kept cases are exactly Beta(a + k, b).
        return generator.beta(a + CURATION_TRIALS if stable else a, b, size=(clusters, per))
    grid = _beta_grid(a + CURATION_TRIALS if stable else a, b)
    shared = generator.standard_normal((clusters, 1)) * np.sqrt(world.rho)
    own = generator.standard_normal((clusters, per)) * np.sqrt(1.0 - world.rho)
    return grid[np.minimum((_normal_cdf(shared + own) * len(grid)).astype(int), len(grid) - 1)]


@lru_cache(maxsize=8)
def _beta_grid(a: float, b: float) -> np.ndarray:
    return np.sort(np.random.Generator(np.random.PCG64(2)).beta(a, b, size=100_000))


def _normal_cdf(values: np.ndarray) -> np.ndarray:
    grid, cumulative = _normal_grid()
    return np.interp(values, grid, cumulative)


@lru_cache(maxsize=1)
def _normal_grid() -> tuple[np.ndarray, np.ndarray]:
    grid = np.linspace(-8.0, 8.0, 20_001)
    density = np.exp(-(grid**2) / 2)
    cumulative = np.cumsum(density)
    return grid, cumulative / cumulative[-1]


def draw_truth(world: World, generator: np.random.Generator) -> Truth:
    """Draw true rates of both arms for every case of the world."""
    targets = _rates(generator, TARGET_MEAN, 2 * world.target_clusters, world, stable=False).ravel()
    protected = _rates(generator, PROTECTED_MEAN, PROTECTED_CLUSTERS, world, stable=True).ravel()
    better, kept = targets, protected
    if world.change in {"good", "harm"}:
        if world.deterministic:
            # Failing cases are mended at random so that the mean gain is GAIN.
            mended = generator.random(targets.shape) < GAIN / (1.0 - TARGET_MEAN)
            better = np.where(mended, 1.0, targets)
        else:
            better = _shift(targets, gain_shift())
    if world.change == "harm":
        broken = generator.random(protected.shape) < HARM / _stable_mean(world)
        kept = np.where(broken, 0.0, protected)
    return Truth(np.concatenate([targets, protected]), np.concatenate([better, kept]))


def _stable_mean(world: World) -> float:
    a, b = beta_parameters(PROTECTED_MEAN)
    return 1.0 if world.deterministic else (a + CURATION_TRIALS) / (a + CURATION_TRIALS + b)


@dataclass(frozen=True, slots=True)
class Played:
    """Trials of one draw, verify apart from hold-out, so that a look can take the first k and add the hold-out."""

    world: World
    verify: tuple[TrialReading, ...]
    holdout: tuple[TrialReading, ...]

    def readings(self, *, k: int, with_holdout: bool, look: int = 1, passed_before: Sequence[str] = ()) -> RunReadings:
        """Return the run as the gate sees it after k trials, with or without the hold-out's trials."""
        trials = tuple(trial for trial in self.verify if trial.trial <= k)
        return RunReadings(
            claim="fixes",
            cases=cases_of(self.world),
            trials=trials + (self.holdout if with_holdout else ()),
            traffic=TRAFFIC,
            predicted_effect=GAIN,
            judge=_calibration(self.world.judge_error),
            look=look,
            passed_before=tuple(passed_before),
        )

    def num_trials(self, *, k: int, with_holdout: bool) -> int:
        """Return the trials played in both arms up to this point."""
        return sum(trial.trial <= k for trial in self.verify) + (len(self.holdout) if with_holdout else 0)


def _calibration(error: float) -> JudgeCalibration | None:
    if error == 0.0:
        return None
    right = 1.0 - error
    # Kappa of .9/.9 at a pass rate of 70 %.
    return JudgeCalibration(0.77, 0.68, 300, right, right, right, right)


def play(world: World, generator: np.random.Generator, *, trials: int = 3, truth: Truth | None = None) -> Played:
    """Draw a truth (or take the given one) and play both arms `trials` times per case."""
    truth = truth or draw_truth(world, generator)
    cases = cases_of(world)
    verify: list[TrialReading] = []
    holdout: list[TrialReading] = []
    for arm, rates in (("baseline", truth.baseline), ("candidate", truth.candidate)):
        shape = (trials, len(cases))
        success = generator.random(shape) < rates
        if world.judge_error:
            success ^= generator.random(shape) < world.judge_error
        latency = (LATENCY_MS * np.exp(LATENCY_SD * generator.standard_normal(shape))).tolist()
        cost = (COST_USD * np.exp(COST_SD * generator.standard_normal(shape))).tolist()
        for number, (good, slow, dear) in enumerate(zip(success.tolist(), latency, cost, strict=True), start=1):
            for case, ok, latency_ms, cost_usd in zip(cases, good, slow, dear, strict=True):
                reading = TrialReading(case.case_id, arm, number, 1000 if ok else 0, ok, latency_ms, cost_usd)  # type: ignore[arg-type]  # the literal arms
                (verify if case.split == "verify" else holdout).append(reading)
    return Played(world, tuple(verify), tuple(holdout))
