"""What the guard sees: matured episodes and exposures, and the chance each arm had of being drawn."""

from typing import NamedTuple

__all__ = ["Exposure", "Observation", "Trail"]


class Observation(NamedTuple):
    """One episode whose outcome has matured, with the arm its user was drawn into.

    ``stage`` and ``weight`` are those of the exposure (a pinned conversation keeps its pin's). ``failed`` is read at
    exactly ``matured_at`` = start + maturity in both arms, an episode still open then being a failure; observations are
    ordered by (``matured_at``, ``episode``). ``control_before`` is the largest weight at which an earlier exposure
    showed this user as control, ``canary_before`` whether one showed them as canary; what the guard saw itself it
    remembers, so both matter only for exposures without episodes. Leave out episodes whose arm was forced by hand:
    nothing was drawn there.
    """

    user: str
    stage: int
    arm: str
    weight: float
    failed: bool
    matured_at: float
    episode: str = ""
    intent: str | None = None
    is_target: bool = False
    control_before: float | None = None
    canary_before: bool = False
    signals: tuple[tuple[str, bool], ...] = ()


class Exposure(NamedTuple):
    """A user served an arm for the first time in a stage.

    ``reported`` says whether an episode followed within the maturity time, None while that time still runs.
    """

    user: str
    stage: int
    arm: str
    weight: float
    exposed_at: float
    reported: bool | None = None


_CANARY_SEEN = 2.0


class Trail:
    """What earlier draws have revealed of each user's bucket, and so the chance of the next one.

    A user seen as control at w' has a bucket of at least w'; at w > w' the canary is drawn with (w - w') / (1 - w').
    A former canary user is no fresh draw.
    """

    __slots__ = ("_revealed",)

    def __init__(self) -> None:
        self._revealed: dict[str, float] = {}

    def chance(self, user: str, weight: float, *, control_before: float | None = None) -> float | None:
        """Return the chance of being drawn as canary, or None when nothing is drawn any more (0, 1 or known)."""
        revealed = self._revealed.get(user, 0.0)
        if control_before is not None and control_before > revealed:
            revealed = control_before
        if not revealed < weight < 1.0:
            return None
        return weight if revealed == 0.0 else (weight - revealed) / (1.0 - revealed)

    def note(self, user: str, weight: float, *, canary: bool) -> None:
        """Remember that ``user`` was served an arm at ``weight``."""
        shown = _CANARY_SEEN if canary else weight
        if shown > self._revealed.get(user, 0.0):
            self._revealed[user] = shown
