"""Whether what arrives can be trusted: outcomes must arrive at all, and users must get what was drawn for them.

Still open is a failure in both arms, so a dead feed of outcomes makes two arms that fail alike; a version that agents
give up for another makes two arms that are alike. Both are told by their share in each arm of the live stage, and by
the `ArmShare` of the draws that show the fact: where it has nothing to do with the arm, it is the planned one.
"""

from releases.bucketing import Arm
from releases.guard.observations import Observation
from releases.guard.ratio import LIMIT, ArmShare

__all__ = ["Arrivals"]


class Arrivals:
    """Counts of known outcomes and of versions that ran as drawn; conversations per stage and arm, draws overall."""

    def __init__(self) -> None:
        self.unknown = ArmShare()
        self.strays = ArmShare()
        # Conversations, those with a known outcome, those that name a version, those of them that ran the drawn one.
        self._counts: dict[tuple[int, str], list[int]] = {}

    def count(self, seen: Observation) -> None:
        """Count one conversation."""
        counts = self._counts.setdefault((seen.stage, str(seen.arm)), [0, 0, 0, 0])
        counts[0] += 1
        counts[1] += seen.known
        if seen.as_drawn is not None:
            counts[2] += 1
            counts[3] += seen.as_drawn

    def draw(self, seen: Observation, chance: float, *, canary: bool) -> None:
        """Count a user's first conversation of a stage, drawn as canary with ``chance``."""
        if not seen.known:
            self.unknown.add(chance, canary=canary)
        if seen.as_drawn is False:
            self.strays.add(chance, canary=canary)

    def known(self, stage: int) -> dict[Arm, float]:
        """Return by arm the share of the stage's conversations with a known outcome; arms without any are left out."""
        return {arm: counts[1] / counts[0] for arm in Arm if (counts := self._counts.get((stage, arm.value)))}

    def as_drawn(self, stage: int) -> dict[Arm, float]:
        """Return by arm the share that ran the drawn version, of those that name one; arms without any are left out."""
        return {
            arm: counts[3] / counts[2]
            for arm in Arm
            if (counts := self._counts.get((stage, arm.value), [0, 0, 0, 0]))[2]
        }

    def doubts(self, stage: int, margin: float) -> list[tuple[str, str]]:
        """Return code and sentence of every fact in which the arms clearly differ by more than ``margin``."""
        found = []
        for code, test, shares, says in (
            ("compliance", self.strays, self.as_drawn(stage), "of conversations ran the version drawn for their user"),
            ("outcomes_differ", self.unknown, self.known(stage), "of outcomes are known"),
        ):
            if test.peak >= LIMIT and len(shares) == len(Arm) and max(shares.values()) - min(shares.values()) > margin:
                found.append((
                    code,
                    f"{_both(shares)} {says} (e-value {test.peak:.0f}, limit {LIMIT:.0f}): "
                    "the arms cannot be compared until that is explained.",
                ))  # fmt: skip
        return found

    def missing(self, stage: int, least: float) -> tuple[str, str] | None:
        """Return code and sentence of what too rarely arrives in an arm of the stage, or None."""
        known, as_drawn = self.known(stage), self.as_drawn(stage)
        if min(known.values(), default=1.0) < least:
            return "outcomes_missing", (
                f"Outcomes do not arrive: {_both(known)} of conversations in this step had a known end in time, at "
                f"least {100 * least:.0f} % are wanted in each arm. What nobody reported cannot show harmlessness."
            )
        if min(as_drawn.values(), default=1.0) < least:
            return "not_as_drawn", (
                f"Users do not get what was drawn for them: {_both(as_drawn)} of conversations ran the drawn version, "
                f"at least {100 * least:.0f} % are wanted in each arm."
            )
        return None

    def to_mapping(self) -> dict[str, object]:
        """Return every number as plain JSON."""
        return {
            "stages": [
                {
                    "stage": stage, "arm": arm, "conversations": seen, "outcomes_known": known,
                    "version_named": named, "as_drawn": as_drawn,
                    "compliance": as_drawn / named if named else None,
                }
                for (stage, arm), (seen, known, named, as_drawn) in sorted(self._counts.items())
            ],
            "unknown": self.unknown.to_mapping(),
            "strays": self.strays.to_mapping(),
        }  # fmt: skip


def _both(shares: dict[Arm, float]) -> str:
    return ", ".join(f"{100 * share:.0f} % in {arm.value}" for arm, share in shares.items())
