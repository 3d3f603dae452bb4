"""Bet on arm labels: an e-process for "the canary fails more", exact at every sample size and under any peeking.

For each fresh draw with chance q of canary and outcome y, wealth is multiplied by P_a(y) / (q P_1(y) + (1-q) P_0(y)),
a the arm, P_1 and P_0 Bernoulli at th1 and th0. th0 = (s0 + .6) / (n0 + 2) from past control units only, th1 = th0 + d,
at most .97. Given the outcome, the expectation over the draw is exactly 1 when both arms fail alike, whatever the rate
and however it drifts, and below 1 when the canary fails less. Wealth is averaged over d in {.03, .06, .12, .25}, in a
slice of the traffic .50 too (a mixture of e-processes is one: Ramdas, Gruenwald, Vovk and Shafer 2023, "Game-theoretic
statistics and safe anytime-valid inference").
"""

from collections.abc import Iterable

__all__ = ["EFFECTS", "SLICE_EFFECTS", "LabelBet", "e_bh"]

EFFECTS = (0.03, 0.06, 0.12, 0.25)
# A slice of the traffic has few users and harm there is a collapse: without a bet on it +80 points in one of 30 intents
# took a third more users to see (simulated), and the mixture stays an e-process.
SLICE_EFFECTS = (*EFFECTS, 0.50)
_CEILING = 0.97
_PRIOR_FAILURES = 0.6
_PRIOR_UNITS = 2.0
# Far above every threshold and far below overflow; capping an e-process keeps it one.
_MAX_WEALTH = 1e250


class LabelBet:
    """The e-process of one yes-or-no outcome; ``e_value`` is its wealth now, ``peak`` its largest so far."""

    __slots__ = ("bets", "control_failures", "control_units", "e_value", "effects", "peak", "units", "wealth")

    def __init__(self, effects: tuple[float, ...] = EFFECTS) -> None:
        self.effects = effects
        self.wealth = [1.0] * len(effects)
        self.e_value = self.peak = 1.0
        self.units = self.bets = self.control_units = self.control_failures = 0

    def observe(self, *, canary: bool, failed: bool, chance: float | None) -> None:
        """Bet on one unit at its ``chance`` of canary (None: nothing was drawn, no bet), then learn from control."""
        self.units += 1
        if chance is not None:
            self._bet(chance, canary=canary, failed=failed)
        if not canary:
            self.control_units += 1
            self.control_failures += failed

    def _bet(self, chance: float, *, canary: bool, failed: bool) -> None:
        self.bets += 1
        base = (self.control_failures + _PRIOR_FAILURES) / (self.control_units + _PRIOR_UNITS)
        wealth = self.wealth
        total = 0.0
        for index, effect in enumerate(self.effects):
            worse = min(_CEILING, base + effect)
            # Above the ceiling the bet would turn round and pay for a better canary: no bet then.
            if worse > base:
                likely_1, likely_0 = (worse, base) if failed else (1.0 - worse, 1.0 - base)
                mixed = chance * likely_1 + (1.0 - chance) * likely_0
                wealth[index] = min(wealth[index] * (likely_1 if canary else likely_0) / mixed, _MAX_WEALTH)
            total += wealth[index]
        self.e_value = total / len(self.effects)
        self.peak = max(self.peak, self.e_value)

    def to_mapping(self) -> dict[str, float | int | list[float]]:
        """Return every number of the process as plain JSON."""
        return {
            "e_value": self.e_value,
            "peak": self.peak,
            "p_value": min(1.0, 1.0 / self.peak),
            "units": self.units,
            "bets": self.bets,
            "control_units": self.control_units,
            "control_failures": self.control_failures,
            "effects": list(self.effects),
            "wealth": list(self.wealth),
        }


def e_bh(e_values: Iterable[tuple[str, float]], alpha: float) -> list[str]:
    """Return the names e-BH rejects: the k largest for the largest k whose k-th is at least K / (alpha k).

    Controls the false discovery rate at ``alpha`` under any dependence (Wang and Ramdas 2022, "False discovery rate
    control with e-values").
    """
    ranked = sorted(e_values, key=lambda pair: (-pair[1], pair[0]))
    kept = 0
    for rank, (_, value) in enumerate(ranked, start=1):
        if value >= len(ranked) / (alpha * rank):
            kept = rank
    return [name for name, _ in ranked[:kept]]
