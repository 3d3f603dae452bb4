"""Doubt the comparison itself: arms must be as large as planned, and each must report what it was shown.

Shares: c canary among m fresh draws at chance q has the Beta-mixture e-value B(1+c, 1+m-c) / (q^c (1-q)^(m-c)), one
stream per q, multiplied over streams (Lindon and Malek 2022, "Anytime-valid inference for multinomial count data").
Over all draws that is the sample ratio; over the draws that show some fact it says, in both directions, that the arms
differ in it. Silence: the same label betting as for failures, on "was served and reported fewer than k conversations",
so that a version which dies before it reports does not look healthy, nor one that dies at most attempts.
"""

import math
from collections.abc import Iterable

from releases.bucketing import Arm
from releases.guard.betting import LabelBet
from releases.guard.observations import Exposure, Trail

__all__ = ["LIMIT", "ArmShare", "SampleRatio"]

LIMIT = 1000.0
# Keeps exp() finite; 1e300 is far past the limit.
_MAX_LOG = 690.0
# One conversation less is silence; users who come often show a version that dies only now and then.
_FEWER_THAN = (1, 2, 4)


class ArmShare:
    """Whether the canary's share among fresh draws is the planned one; ``peak`` is the largest e-value so far."""

    def __init__(self) -> None:
        self._streams: dict[float, list[int]] = {}
        self._logs: dict[float, float] = {}
        self.peak = 1.0

    @property
    def e_value(self) -> float:
        return math.exp(min(math.fsum(self._logs.values()), _MAX_LOG))

    def add(self, chance: float, *, canary: bool) -> None:
        """Count one draw at ``chance`` of canary."""
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
        }


class SampleRatio:
    """Both doubts about one release, fed with exposures in order."""

    def __init__(self) -> None:
        self._trail = Trail()
        self._seen: set[tuple[str, int]] = set()
        self._reports = {arm: [0, 0, 0] for arm in Arm}
        self.shares = ArmShare()
        self.silence = tuple(LabelBet() for _ in _FEWER_THAN)
        self.silence_peak = 1.0

    @classmethod
    def of(cls, exposures: Iterable[Exposure]) -> "SampleRatio":
        """Read all ``exposures`` in the order they happened."""
        ratio = cls()
        for exposure in sorted(exposures, key=lambda one: (one.exposed_at, one.user, one.stage)):
            ratio.add(exposure)
        return ratio

    def add(self, exposure: Exposure) -> None:
        """Count one exposure; a user's later ones in the same stage are no new draw."""
        if (exposure.user, exposure.stage) in self._seen:
            return
        self._seen.add((exposure.user, exposure.stage))
        canary = exposure.arm == Arm.CANARY
        chance = self._trail.chance(exposure.user, exposure.weight)
        self._trail.note(exposure.user, exposure.weight, canary=canary)
        if exposure.reports is not None:
            self._listen(exposure.reports, chance, canary=canary)
        if chance is not None:
            self.shares.add(chance, canary=canary)

    def _listen(self, reports: int, chance: float | None, *, canary: bool) -> None:
        for least, bet in zip(_FEWER_THAN, self.silence, strict=True):
            bet.observe(canary=canary, failed=reports < least, chance=chance)
        # The mean of e-processes over the same draws is one.
        self.silence_peak = max(self.silence_peak, self.silence_e_value)
        counts = self._reports[Arm.CANARY if canary else Arm.CONTROL]
        for place, number in enumerate((1, reports > 0, reports)):
            counts[place] += number

    @property
    def silence_e_value(self) -> float:
        return math.fsum(bet.e_value for bet in self.silence) / len(self.silence)

    def to_mapping(self) -> dict[str, object]:
        """Return every number as plain JSON."""
        return {
            **self.shares.to_mapping(),
            "silence": {
                "e_value": self.silence_e_value,
                "peak": self.silence_peak,
                "limit": LIMIT,
                "fewer_than": {
                    str(least): bet.to_mapping() for least, bet in zip(_FEWER_THAN, self.silence, strict=True)
                },
                "arms": {
                    arm.value: {"exposures": one, "reported": reported, "conversations": conversations}
                    for arm, (one, reported, conversations) in self._reports.items()
                },
            },
        }
