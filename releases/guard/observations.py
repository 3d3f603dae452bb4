"""What the guard sees: matured episodes and exposures, and the chance each arm had of being drawn."""

from typing import NamedTuple

__all__ = ["Exposure", "Observation", "Trail"]


class Observation(NamedTuple):
    """One conversation whose outcome has matured, with the arm its user was drawn into.

    ``stage`` and ``weight`` are those of the exposure (a pinned conversation keeps its pin's). ``failed`` is read at
    exactly start + maturity in both arms, a conversation still open then being a failure; ``known`` says whether
    anybody who may be believed had spoken by then. Observations are ordered by (``matured_at``, ``conversation``).
    ``as_drawn`` says whether the version that ran is the drawn arm's, None where the agent names none: a conversation
    counts for the arm that was drawn whatever ran, or a version that is given up when it breaks would look healthy.
    ``control_before`` is the largest weight at which an earlier exposure showed this user as control,
    ``canary_before`` whether one showed them as canary; what the guard saw itself it remembers, so both matter only for
    exposures without conversations.
    """

    user: str
    stage: int
    arm: str
    weight: float
    failed: bool
    matured_at: float
    conversation: str = ""
    intent: str | None = None
    is_target: bool = False
    control_before: float | None = None
    canary_before: bool = False
    signals: tuple[tuple[str, bool], ...] = ()
    known: bool = True
    as_drawn: bool | None = None


class Exposure(NamedTuple):
    """A user served an arm for the first time in a stage.

    ``reports`` counts the conversations that followed under the release within the maturity time, None while that time
    still runs or where it says nothing about the arm.
    """

    user: str
    stage: int
    arm: str
    weight: float
    exposed_at: float
    reports: int | None = None


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
