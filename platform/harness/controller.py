"""How fast an agent may change: may another release start now, and are gains rising suspiciously fast.

Hotfixes and rollbacks are never blocked here: who stops or repairs must not wait.
"""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from harness.limits import Refusal
from harness.policy import Velocity

__all__ = ["Candidate", "Situation", "Watch", "acceleration_alarm", "start_refusals"]

_LEAST_HISTORY = 4
_LEAST_SPREAD = 0.01


@dataclass(frozen=True)
class Watch:
    """A promoted release whose aftermath is still watched: its name and what it touched."""

    release: str
    layer: str
    intents: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Situation:
    """What is going on at an agent when a release asks to start. Instants carry a time zone.

    `throttled_at` is when the acceleration alarm rang, if no person has lifted it since.
    """

    live_ramps: tuple[str, ...] = ()
    watches: tuple[Watch, ...] = ()
    rolled_back_at: datetime | None = None
    started_at: datetime | None = None
    throttled_at: datetime | None = None


@dataclass(frozen=True)
class Candidate:
    """The release that asks to start. `overlap_accepted` is a person's decision to confound an earlier verdict."""

    layer: str
    intents: frozenset[str] = frozenset()
    is_hotfix: bool = False
    overlap_accepted: bool = False


def start_refusals(candidate: Candidate, situation: Situation, velocity: Velocity, *, now: datetime) -> list[Refusal]:
    """Return every reason why the release may not start now; an empty list means it may."""
    if candidate.is_hotfix:
        return []
    return list(_reasons(candidate, situation, velocity, now))


def acceleration_alarm(gains: Sequence[float], velocity: Velocity) -> str | None:
    """Return why the last of these overall gains (shares, oldest first) came too fast, or None.

    It rings when the last gain exceeds the median of the earlier ones by three median absolute deviations, or when the
    last three second differences of the level rise and its last four gains exceed ten percentage points together.
    Four earlier gains are needed for the first; a spread below one point counts as one point, so that a history of
    equal gains does not make every other gain an alarm.
    """
    *earlier, last = gains or (0.0,)
    if len(earlier) >= _LEAST_HISTORY:
        median = statistics.median(earlier)
        spread = max(_LEAST_SPREAD, statistics.median(abs(gain - median) for gain in earlier))
        limit = median + velocity.acceleration_mads * spread
        if last > limit:
            return f"The last gain of {last:.1%} is above {limit:.1%}, which earlier gains make plausible."
    recent = list(gains[-4:])
    seconds = [after - before for before, after in itertools.pairwise(recent)]
    is_rising = len(seconds) == 3 and 0 < seconds[2] > seconds[1] > seconds[0]
    if is_rising and sum(recent) > velocity.acceleration_gain:
        return f"Gains have risen faster and faster over four releases, {sum(recent):.1%} together."
    return None


def _reasons(candidate: Candidate, situation: Situation, velocity: Velocity, now: datetime) -> Iterator[Refusal]:
    if len(situation.live_ramps) >= velocity.live_ramps:
        names = ", ".join(situation.live_ramps)
        yield Refusal("ramp_live", f"Release {names} is still live, and one at a time is judged. Wait until it ends.")
    for watch in situation.watches:
        shared = sorted(watch.intents & candidate.intents)
        if candidate.overlap_accepted or (watch.layer != candidate.layer and not shared):
            continue
        what = f"intents {', '.join(shared)}" if shared else f"layer {watch.layer}"
        sentence = (
            f"The aftermath of release {watch.release} is still watched and shares {what}. Wait until it closes, or "
            "accept the overlap, which marks that release's verdict confounded."
        )
        yield Refusal("aftermath_overlap", sentence)
    if situation.rolled_back_at is not None:
        ends_at = situation.rolled_back_at + timedelta(seconds=velocity.cooldown_s)
        if now < ends_at:
            sentence = (
                f"A release was rolled back; the next may start at {ends_at:%Y-%m-%d %H:%M %Z}, hotfixes at once."
            )
            yield Refusal("cooling_down", sentence)
    if situation.throttled_at is not None and situation.started_at is not None:
        ends_at = situation.started_at + timedelta(seconds=velocity.throttle_s)
        if now < ends_at:
            sentence = (
                f"Gains rose too fast, so releases are throttled; the next may start at {ends_at:%Y-%m-%d %H:%M %Z}. "
                "A person may lift the alarm after looking into it."
            )
            yield Refusal("throttled", sentence)
