"""Doubt the comparison itself: arms must be as large as planned, and each must report what it was shown.

Sample ratio: c canary among m fresh draws at chance q has the Beta-mixture e-value
B(1+c, 1+m-c) / (q^c (1-q)^(m-c)), one stream per q, multiplied over streams (Lindon and Malek 2022, "Anytime-valid
inference for multinomial count data"). Silence: the same label betting as for failures, on "was served and never
reported", so that a version which dies before it reports does not look healthy.
"""

import math
from collections.abc import Iterable

from releases.bucketing import Arm
from releases.guard.betting import LabelBet
from releases.guard.observations import Exposure, Trail

__all__ = ["LIMIT", "SampleRatio"]

LIMIT = 1000.0
# Keeps exp() finite; 1e300 is far past the limit.
_MAX_LOG = 690.0


class SampleRatio:
    """Both doubts about one release, fed with exposures in order; ``peak`` is the largest e-value so far."""

    def __init__(self) -> None:
        self._trail = Trail()
        self._seen: set[tuple[str, int]] = set()
        self._streams: dict[float, list[int]] = {}
        self._logs: dict[float, float] = {}
        self.peak = 1.0
        self.silence = LabelBet()

    @classmethod
    def of(cls, exposures: Iterable[Exposure]) -> "SampleRatio":
        """Read all ``exposures`` in the order they happened."""
        ratio = cls()
        for exposure in sorted(exposures, key=lambda one: (one.exposed_at, one.user, one.stage)):
            ratio.add(exposure)
        return ratio

    @property
    def e_value(self) -> float:
        return math.exp(min(math.fsum(self._logs.values()), _MAX_LOG))

    def add(self, exposure: Exposure) -> None:
        """Count one exposure; a user's later ones in the same stage are no new draw."""
        if (exposure.user, exposure.stage) in self._seen:
            return
        self._seen.add((exposure.user, exposure.stage))
        canary = exposure.arm == Arm.CANARY
        chance = self._trail.chance(exposure.user, exposure.weight)
        self._trail.note(exposure.user, exposure.weight, canary=canary)
        if exposure.reported is not None:
            self.silence.observe(canary=canary, failed=not exposure.reported, chance=chance)
        if chance is not None:
            self._count(chance, canary=canary)

    def _count(self, chance: float, *, canary: bool) -> None:
        drawn = self._streams.setdefault(chance, [0, 0])
        drawn[0] += canary
        drawn[1] += 1
        ones, zeros = drawn[0], drawn[1] - drawn[0]
        beta = math.lgamma(1 + ones) + math.lgamma(1 + zeros) - math.lgamma(2 + ones + zeros)
        self._logs[chance] = beta - ones * math.log(chance) - zeros * math.log1p(-chance)
        self.peak = max(self.peak, self.e_value)

    def to_mapping(self) -> dict[str, object]:
        """Return every number as plain JSON."""
        return {
            "e_value": self.e_value,
            "peak": self.peak,
            "limit": LIMIT,
            "streams": [
                {"chance": chance, "canary": ones, "units": units, "expected": chance * units}
                for chance, (ones, units) in sorted(self._streams.items())
            ],
            "silence": self.silence.to_mapping(),
        }
