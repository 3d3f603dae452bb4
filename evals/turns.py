"""How long one run keeps a worker while others wait for it. Pure but for the clock."""

import time
from collections.abc import Callable

__all__ = ["Turn"]

SHORTEST_S = 2.0
LONGEST_S = 600.0
# Ending a turn lets the trials under way run out, so each place plays several first, whatever a trial takes.
ROUNDS = 4


class Turn:
    """A worker's turn at one run: at least two seconds and a few trials in each place, longer while nobody waits.

    Without an end in sight it is over after ten minutes even so: a job's time is limited.
    """

    def __init__(
        self, others_wait: Callable[[], bool], *, width: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_over = False
        self._others_wait, self._clock = others_wait, clock
        self._fewest, self._begun = ROUNDS * width, 0
        self._started = self._asked_at = clock()

    def goes_on(self) -> bool:
        """Return whether to begin one more trial in this turn; once over it stays over."""
        now = self._clock()
        self.is_over = self.is_over or self._ends(now)
        self._begun += not self.is_over
        return not self.is_over

    def _ends(self, now: float) -> bool:
        if now - self._started >= LONGEST_S:
            return True
        # Asked at most as often as a turn is short: each question is a query.
        if self._begun < self._fewest or now - self._asked_at < SHORTEST_S:
            return False
        self._asked_at = now
        return self._others_wait()
