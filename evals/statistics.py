"""Answer the gate's numerical questions: exact sign flips, Student-t bounds, worst-slice tests, power.

Pure functions over numbers: nothing here knows what a case is, reads a clock or draws from a shared random stream, so a
stored verdict can be recomputed to the last digit.
"""  # noqa: A005 - imports are absolute, so nothing is shadowed, and no other word says what this is

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import starmap
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

__all__ = [
    "MeanBound",
    "SliceTest",
    "mean_bound",
    "pass_hat_k",
    "power",
    "sign_flip_p",
    "student_t_cdf",
    "student_t_quantile",
    "welch_greater_p",
    "wilson_bounds",
    "worst_slice_p",
    "z_quantile",
    "zero_event_bound",
]

# Where a continued fraction in double precision has nothing left to gain.
CONVERGED = 1e-15
# Spreads and gaps below this are rounding of equal means.
ROUNDING = 1e-9
# Below this many non-zero clusters all 2^m sign patterns are cheaper than a draw is wrong.
EXACT_SLICE_CLUSTERS = 14
# A first look at the p: beyond .20 no further draw could bring it near an alpha, and most changes end here.
SLICE_FIRST_DRAWS = 999
SLICE_CLEAR_P = 0.20
# The Monte Carlo error of a p near .05 is then .0022.
SLICE_DRAWS = 9_999


class MeanBound(NamedTuple):
    """A mean with its one-sided bounds, each at the same confidence."""

    mean: float
    standard_error: float
    lower: float
    upper: float


class SliceTest(NamedTuple):
    """The joint test of the worst slice: `draws` is 0 when every sign pattern was counted."""

    p: float
    draws: int


def z_quantile(probability: float) -> float:
    """Return the standard normal quantile."""
    return NormalDist().inv_cdf(probability)


def sign_flip_p(differences: Sequence[int]) -> float:
    """Return P(sum of randomly signed |D| >= sum of D), exact for every length.

    The signed sum is 2 * (sum of the positives) - S, so only subset sums of |D| need counting: the generating
    polynomial prod(1 + x^|D|) is kept packed in one integer, one slot of m + 1 bits per power, and each factor is a
    shift and an addition. Ties count as at least as large; zeros carry no sign; all zero gives 1.
    """
    sizes = [abs(difference) for difference in differences if difference]
    if not sizes:
        return 1.0
    unit = math.gcd(*sizes)
    slot = len(sizes) + 1
    counts = 1
    for size in sizes:
        counts += counts << (size // unit * slot)
    observed = sum(difference for difference in differences if difference > 0) // unit
    # Digit sum in base 2^slot is the remainder modulo 2^slot - 1; the total is at most 2^m, so it cannot wrap.
    tail = (counts >> (observed * slot)) % ((1 << slot) - 1)
    return float(tail / (1 << len(sizes)))


def student_t_cdf(t: float, df: float) -> float:
    """Return P(T <= t) for Student's t, by the regularized incomplete beta function."""
    if df <= 0:
        msg = f"Degrees of freedom must be positive, got {df!r}. Give at least two values."
        raise ValueError(msg)
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0
    square = t * t
    if square < df:
        # Near the middle df / (df + t^2) rounds to 1 and would lose t; its complement keeps it.
        return 0.5 + math.copysign(0.5 * _incomplete_beta(0.5, df / 2, square / (df + square)), t)
    tail = 0.5 * _incomplete_beta(df / 2, 0.5, df / (df + square))
    return tail if t < 0 else 1.0 - tail


@lru_cache(maxsize=4096)
def student_t_quantile(probability: float, df: float) -> float:
    """Return the t with P(T <= t) = probability, by bisection on the distribution function."""
    if not 0.0 < probability < 1.0:
        msg = f"A quantile needs a probability strictly between 0 and 1, got {probability!r}."
        raise ValueError(msg)
    if 2.0 * probability < 1.0:
        return -student_t_quantile(1.0 - probability, df)
    low, high = 0.0, 1.0
    while student_t_cdf(high, df) < probability:
        low, high = high, high * 2.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if middle in {low, high}:
            break
        if student_t_cdf(middle, df) < probability:
            low = middle
        else:
            high = middle
    return high


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta I_x(a, b) (continued fraction, DLMF 8.17.22, modified Lentz)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    tiny = 1e-300
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0), tiny)
    fraction = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + numerator * d, tiny)
            c = _away_from_zero(1.0 + numerator / c, tiny)
            step = c * d
            fraction *= step
        if abs(step - 1.0) < CONVERGED:
            break
    return front * fraction / a


def _away_from_zero(value: float, tiny: float) -> float:
    return tiny if abs(value) < tiny else value


def mean_bound(values: Sequence[float], confidence: float, weights: Sequence[float] | None = None) -> MeanBound:
    """Return the (weighted) mean of independent values and its one-sided Student-t bounds on n - 1 degrees.

    The weighted variance is n/(n-1) * sum(w^2 (x - mean)^2) with weights summing to one, which is s^2/n when all are
    equal. A single value has no spread to speak of: its bounds are infinite.
    """
    n = len(values)
    if n == 0:
        msg = "A mean needs at least one value, got none. Hold instead of asking for a bound."
        raise ValueError(msg)
    shares = [1.0 / n] * n if weights is None else [weight / math.fsum(weights) for weight in weights]
    mean = math.fsum(share * value for share, value in zip(shares, values, strict=True))
    if n == 1:
        return MeanBound(mean, math.inf, -math.inf, math.inf)
    squares = math.fsum((share * (value - mean)) ** 2 for share, value in zip(shares, values, strict=True))
    error = math.sqrt(n / (n - 1) * squares)
    reach = student_t_quantile(confidence, n - 1) * error
    return MeanBound(mean, error, mean - reach, mean + reach)


def welch_greater_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the one-sided p of mean(first) > mean(second) with unequal variances (Welch-Satterthwaite).

    Two groups without any spread are decided by their means alone: 0 when the first is larger, else 1.
    """
    if min(len(first), len(second)) <= 1:
        return 1.0
    left, right = mean_bound(first, 0.95), mean_bound(second, 0.95)
    a, b = left.standard_error**2, right.standard_error**2
    gap = left.mean - right.mean
    if math.sqrt(a + b) < ROUNDING:
        return 0.0 if gap > ROUNDING else 1.0
    df = (a + b) ** 2 / (a * a / (len(first) - 1) + b * b / (len(second) - 1))
    return 1.0 - student_t_cdf(gap / math.sqrt(a + b), df)


def worst_slice_p(sums: Sequence[Sequence[int]]) -> SliceTest:
    """Return how often random cluster signs make some slice at least as bad as the worst one seen.

    `sums` holds one row per cluster and one column per slice, integer differences candidate - baseline. One sign per
    cluster flips its whole row, so dependence between slices is kept and no correction for their number is needed.
    Up to 14 non-zero clusters every pattern is counted; beyond, 9,999 draws (the first 999 of them when those already
    say p > .20) whose seed is a digest of the data, so that equal data give an equal p; the observed pattern counts
    as one of the draws.
    """
    rows = sorted(tuple(row) for row in sums if any(row))
    if not rows:
        return SliceTest(1.0, 0)
    table = np.asarray(rows, dtype=np.int64)
    if int(table.sum(axis=0).min()) >= 0:
        return SliceTest(1.0, 0)
    table //= int(np.gcd.reduce(np.abs(table), axis=None))
    if len(rows) <= EXACT_SLICE_CLUSTERS:
        patterns = _all_patterns(len(rows))
        return SliceTest(_as_bad(table, patterns) / len(patterns), 0)
    patterns = _drawn_patterns(rows)
    first = (_as_bad(table, patterns[:SLICE_FIRST_DRAWS]) + 1) / (SLICE_FIRST_DRAWS + 1)
    if first > SLICE_CLEAR_P:
        return SliceTest(first, SLICE_FIRST_DRAWS)
    return SliceTest((_as_bad(table, patterns) + 1) / (SLICE_DRAWS + 1), SLICE_DRAWS)


def _as_bad(table: np.ndarray, patterns: np.ndarray) -> int:
    """Count the sign patterns whose worst slice is at least as bad as the observed one."""
    columns = table.sum(axis=0)
    # Signed sum = 2 * (sum of the kept) - total; float64 holds these integers exactly.
    flipped = 2.0 * (patterns.astype(np.float64) @ table.astype(np.float64)) - columns
    return int((flipped.min(axis=1) <= columns.min()).sum())


def _all_patterns(clusters: int) -> np.ndarray:
    numbers = np.arange(1 << clusters, dtype=np.int64)
    return (numbers[:, None] >> np.arange(clusters)) & 1


def _drawn_patterns(rows: list[tuple[int, ...]]) -> np.ndarray:
    """Draw sign patterns from the raw PCG64 stream, which numpy keeps stable between its versions."""
    seed = int.from_bytes(hashlib.sha256(repr(rows).encode()).digest()[:16])
    words = -(-len(rows) // 64)
    raw = np.random.PCG64(seed).random_raw(SLICE_DRAWS * words)
    octets = np.asarray(raw, dtype="<u8").view(np.uint8).reshape(SLICE_DRAWS, words * 8)
    return np.unpackbits(octets, axis=1)[:, : len(rows)]


def wilson_bounds(rate: float, number: float, z: float) -> tuple[float, float]:
    """Return the score bounds of a proportion seen `number` times (Wilson 1927); honest at none and at all."""
    center = (rate + z * z / (2.0 * number)) / (1.0 + z * z / number)
    half = z / (1.0 + z * z / number) * math.sqrt(rate * (1.0 - rate) / number + z * z / (4.0 * number * number))
    return center - half, center + half


def zero_event_bound(trials: int, confidence: float = 0.95) -> float:
    """Return the rate that `trials` clean runs still allow (the exact form of the rule of three); 1 for no runs."""
    return 1.0 if trials <= 0 else 1.0 - (1.0 - confidence) ** (1.0 / trials)


def power(effect: float, standard_error: float, alpha: float) -> float:
    """Return the chance that a one-sided test at `alpha` sees `effect` (normal approximation)."""
    if standard_error <= 0.0:
        return 1.0 if effect > 0.0 else alpha
    return NormalDist().cdf(effect / standard_error - z_quantile(1.0 - alpha))


def pass_hat_k(successes: Sequence[int], trials: Sequence[int], k: int) -> float | None:
    """Return the mean over cases of C(successes, k) / C(trials, k); `None` when no case has k trials."""
    ratios = list(
        starmap(
            lambda good, n: math.comb(good, k) / math.comb(n, k),
            ((good, n) for good, n in zip(successes, trials, strict=True) if n >= k),
        )
    )
    return math.fsum(ratios) / len(ratios) if ratios else None
