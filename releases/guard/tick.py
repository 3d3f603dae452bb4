"""Read a release's guard from its observations: ok, alarm, pause or hold, with every number it rests on.

Decision metrics share the plan's alpha by weight and each may alarm: overall failure (label betting and confidence
sequence, half its share each), the live intents (plain mean of their e-values) and the target intents. Every bet of a
user in a stage happens at once, on the first episode: so all wealth is fair in the same order of events and averages
across intents are e-values too. Signals, a broken sample ratio, silence and arms that differ in what arrives pause,
unless a person acknowledged that very cause; tripwires are counts and alarm. Outcomes that do not arrive hold. The
first alarm is kept with the numbers of its moment: later observations change nothing.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any

from releases.bucketing import Arm
from releases.guard.arrivals import Arrivals
from releases.guard.betting import SLICE_EFFECTS, LabelBet, e_bh
from releases.guard.confidence import MIN_USERS, Bounds, Strata
from releases.guard.observations import Exposure, Observation, Trail
from releases.guard.ratio import LIMIT, SampleRatio
from releases.plan import Plan

__all__ = ["Guard", "GuardReading", "GuardStatus", "tick"]

_ORDER = attrgetter("matured_at", "conversation", "user", "stage")
_ARMS = frozenset(Arm)


class GuardStatus(StrEnum):
    """What a reading asks for: go on, roll back, stop the ramp for a person, or wait for data."""

    OK = "ok"
    ALARM = "alarm"
    PAUSE = "pause"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class GuardReading:
    """One verdict of the guard.

    ``code`` names the test or the missing thing, ``evidence`` is plain JSON holding every number, ``users_needed``
    estimates how many more users the step wants (0 when none). ``latched`` marks an alarm repeated from before.
    """

    status: GuardStatus
    code: str
    sentence: str
    evidence: Mapping[str, Any]
    users_needed: int = 0
    latched: bool = False

    def to_mapping(self) -> dict[str, Any]:
        """Return the reading as plain JSON; `from_mapping` reads it back."""
        return {
            "status": self.status.value,
            "code": self.code,
            "sentence": self.sentence,
            "evidence": dict(self.evidence),
            "users_needed": self.users_needed,
            "latched": self.latched,
        }

    @classmethod
    def from_mapping(cls, plain: Mapping[str, Any]) -> "GuardReading":
        """Build a reading from its JSON."""
        return cls(**{**plain, "status": GuardStatus(plain["status"])})


class Guard:
    """The running state of one release's tests; feed observations in order, read whenever.

    ``alarm`` is None or the code of the first test that alarmed; from then on `add` ignores what it is given.
    """

    def __init__(self, plan: Plan) -> None:
        shares = plan.metrics
        self.plan = plan
        self.alarm: str | None = None
        self.overall = LabelBet()
        self.target = LabelBet(SLICE_EFFECTS)
        self.intents = {intent: LabelBet(SLICE_EFFECTS) for intent in plan.intents}
        self.signals = {signal: LabelBet() for signal in plan.signals}
        self.strata = Strata()
        self.arrivals = Arrivals()
        self.bounds: Bounds | None = None
        self.observed = 0
        self.unlisted = 0
        self.watermark: float | None = None
        self.overall_level = plan.alpha * shares.overall / 2.0
        self._overall_alarm = 1.0 / self.overall_level
        self._intents_alarm = 1.0 / (plan.alpha * shares.intents) if shares.intents and plan.intents else math.inf
        self._target_alarm = 1.0 / (plan.alpha * shares.target) if shares.target else math.inf
        self._targets = frozenset(plan.target_intents)
        self._intents_sum = float(len(plan.intents))
        self._trail = Trail()
        self._begun: set[tuple[str, int]] = set()

    @property
    def intents_e_value(self) -> float:
        """The plain mean over all live intents, those not met yet counting 1; 1 when the plan names none."""
        return self._intents_sum / len(self.intents) if self.intents else 1.0

    def add(self, seen: Observation) -> str | None:
        """Take one matured conversation, test, and return `alarm`.

        Raises ValueError for an arm or weight that cannot be, and for an observation older than the last one.
        """
        if self.alarm is not None:
            return self.alarm
        if seen.arm not in _ARMS or not 0.0 <= seen.weight <= 1.0:
            message = f"Cannot read {seen!r}: arm is 'canary' or 'control', weight a share between 0 and 1."
            raise ValueError(message)
        if self.watermark is not None and seen.matured_at < self.watermark:
            message = f"Cannot read {seen!r} after the instant {self.watermark!r}: observations go by matured_at."
            raise ValueError(message)
        self.observed += 1
        self.watermark = seen.matured_at
        canary = seen.arm == Arm.CANARY
        self.strata.add(seen.stage, seen.user, canary=canary, failed=seen.failed)
        self.arrivals.count(seen)
        if (seen.user, seen.stage) not in self._begun:
            self._begun.add((seen.user, seen.stage))
            self._bet(seen, canary=canary)
        self._test()
        return self.alarm

    def _bet(self, seen: Observation, *, canary: bool) -> None:
        if seen.canary_before:
            chance = None
        else:
            chance = self._trail.chance(seen.user, seen.weight, control_before=seen.control_before)
        self._trail.note(seen.user, seen.weight, canary=canary or seen.canary_before)
        if chance is not None:
            self.arrivals.draw(seen, chance, canary=canary)
        self.overall.observe(canary=canary, failed=seen.failed, chance=chance)
        if seen.is_target or seen.intent in self._targets:
            self.target.observe(canary=canary, failed=seen.failed, chance=chance)
        intent = self.intents.get(seen.intent) if seen.intent is not None else None
        if intent is None:
            self.unlisted += 1
        else:
            before = intent.e_value
            intent.observe(canary=canary, failed=seen.failed, chance=chance)
            self._intents_sum += intent.e_value - before
        for name, present in seen.signals:
            signal = self.signals.get(name)
            if signal is not None:
                signal.observe(canary=canary, failed=present, chance=chance)

    def _test(self) -> None:
        self.bounds = self.strata.bounds(self.overall_level, self.plan.guard_horizon)
        if self.overall.e_value >= self._overall_alarm:
            self.alarm = "overall.betting"
        elif self.bounds is not None and self.bounds.lower > 0.0:
            self.alarm = "overall.confidence"
        elif self.intents_e_value >= self._intents_alarm:
            self.alarm = "intents.betting"
        elif self.target.e_value >= self._target_alarm:
            self.alarm = "target.betting"

    def reading(
        self,
        *,
        stage: int,
        ratio: SampleRatio,
        tripwires: Mapping[str, int] | None = None,
        acknowledged: Collection[str] = (),
    ) -> GuardReading:
        """Return the verdict now. Alarm outranks pause, pause outranks hold: missing data never hides harm.

        ``acknowledged`` are codes of pauses that a person looked into: those pause no more, others do.
        """
        counts = tripwires or {}
        evidence = self._evidence(stage, ratio, counts)
        needed = self._users_needed(stage)
        for status, found in (
            (GuardStatus.ALARM, self._alarming(counts)),
            (GuardStatus.PAUSE, next((one for one in self._pausing(stage, ratio) if one[0] not in acknowledged), None)),
            (GuardStatus.HOLD, self._holding(stage, counts, needed)),
        ):
            if found is not None:
                return GuardReading(status, found[0], found[1], evidence, needed)
        return GuardReading(GuardStatus.OK, "no_harm_seen", self._calm(needed), evidence, needed)

    def _alarming(self, counts: Mapping[str, int]) -> tuple[str, str] | None:
        for wire in self.plan.tripwires:
            if counts.get(wire.name, 0) > wire.limit:
                return f"tripwire.{wire.name}", (
                    f"Tripwire {wire.name!r}: {counts[wire.name]} canary events, at most {wire.limit} allowed."
                )
        if self.alarm is None:
            return None
        return self.alarm, self._harm(self.alarm)

    def _harm(self, code: str) -> str:
        if code == "overall.confidence" and self.bounds is not None:
            return (
                f"The canary fails more: {_points(self.bounds.difference)} within stages, "
                f"at least {_points(self.bounds.lower)} after {self.observed} episodes."
            )
        if code == "intents.betting":
            name, worst = max(self.intents.items(), key=lambda pair: pair[1].e_value)
            return (
                f"The canary fails more in intent {name!r}: its e-value is {worst.e_value:.0f}; "
                f"the mean over {len(self.intents)} intents is {self.intents_e_value:.1f}, "
                f"the alarm {self._intents_alarm:.1f}."
            )
        what, bet, limit = (
            ("on the target intents", self.target, self._target_alarm)
            if code == "target.betting"
            else ("overall", self.overall, self._overall_alarm)
        )
        return (
            f"The canary fails more {what}: e-value {bet.e_value:.1f} over {bet.bets} draws, the alarm is {limit:.1f}."
        )

    def _pausing(self, stage: int, ratio: SampleRatio) -> Iterator[tuple[str, str]]:
        if ratio.shares.peak >= LIMIT:
            yield (
                "sample_ratio",
                (
                    f"The arms do not have their planned sizes (e-value {ratio.shares.peak:.0f}, limit {LIMIT:.0f}): "
                    "no comparison can be trusted until assignment is explained."
                ),
            )
        if ratio.silence_peak >= LIMIT:
            yield (
                "silence",
                (
                    f"Canary users report fewer conversations than they were served (e-value {ratio.silence_peak:.0f}, "
                    f"limit {LIMIT:.0f}): the version may die before it reports."
                ),
            )
        yield from self.arrivals.doubts(stage, self.plan.margin)
        for name in e_bh(((name, bet.e_value) for name, bet in self.signals.items()), self.plan.alpha):
            yield f"signals.{name}", f"More often in the canary: {name}; a person should look."

    def _holding(self, stage: int, counts: Mapping[str, int], needed: int) -> tuple[str, str] | None:
        absent = [wire.name for wire in self.plan.tripwires if wire.name not in counts]
        if absent:
            return "tripwires_missing", f"No count arrived for tripwire {', '.join(absent)}: the guard waits for it."
        if not 0.0 < self.plan.weight_at(stage) < 1.0:
            return "blind", "The guard is blind: everybody is served one arm, so there is nothing to compare with."
        seen = {arm.value: self.strata.users(stage, arm) for arm in Arm}
        if min(seen.values()) < MIN_USERS or self.bounds is None:
            return "too_few_users", (
                f"Too few users in this step to see harm: canary {seen['canary']}, control {seen['control']}, "
                f"at least {MIN_USERS} each; about {needed} more users are wanted."
            )
        if (missing := self.arrivals.missing(stage, self.plan.min_known)) is not None:
            return missing
        if self.plan.metrics.intents and self.intents and self.unlisted == self.overall.units:
            return "intents_missing", "No episode carries a live intent of the plan: intents cannot be watched."
        if self.plan.metrics.target and self._targets and not self.target.units:
            return "target_missing", "No episode of the target intents has matured yet: the guard waits for one."
        return None

    def _calm(self, needed: int) -> str:
        bounds = self.bounds
        assert bounds is not None
        more = f"; about {needed} more users for this step" if needed else ""
        return (
            f"No harm seen after {self.observed} episodes: {_points(bounds.difference)} within stages "
            f"(between {_points(bounds.lower)} and {_points(bounds.upper)}), "
            f"e-value {self.overall.e_value:.2f} of {self._overall_alarm:.0f}{more}."
        )

    def _users_needed(self, stage: int) -> int:
        plan = self.plan
        weight = plan.weight_at(stage)
        wanted = plan.steps[stage].min_users if stage <= plan.last_stage else MIN_USERS
        if not 0.0 < weight < 1.0:
            return 0
        shares = ((Arm.CANARY, weight), (Arm.CONTROL, 1.0 - weight))
        return max(math.ceil(max(0, wanted - self.strata.users(stage, arm)) / share) for arm, share in shares)

    def _evidence(self, stage: int, ratio: SampleRatio, counts: Mapping[str, int]) -> dict[str, Any]:
        intents = {name: bet.e_value for name, bet in self.intents.items()}
        return {
            "plan_digest": self.plan.digest,
            "stage": stage,
            "weight": self.plan.weight_at(stage),
            "observed": self.observed,
            "watermark": self.watermark,
            "stages": self.strata.to_mapping(),
            "overall": {
                **self.overall.to_mapping(),
                "alarm_at": self._overall_alarm,
                "confidence": {"level": self.overall_level, **self.bounds._asdict()} if self.bounds else None,
            },
            "intents": {
                "e_value": self.intents_e_value,
                "alarm_at": _finite(self._intents_alarm),
                "largest": max(intents, key=lambda name: intents[name]) if intents else None,
                "e_values": intents,
                "unlisted": self.unlisted,
            },
            "target": {**self.target.to_mapping(), "alarm_at": _finite(self._target_alarm)},
            "signals": {name: bet.to_mapping() for name, bet in self.signals.items()},
            "sample_ratio": ratio.to_mapping(),
            "arrivals": self.arrivals.to_mapping(),
            "tripwires": {
                wire.name: {"count": counts.get(wire.name), "limit": wire.limit} for wire in self.plan.tripwires
            },
        }


def tick(
    observations: Iterable[Observation],
    plan: Plan,
    *,
    exposures: Iterable[Exposure] = (),
    tripwires: Mapping[str, int] | None = None,
    stage: int | None = None,
    previous: GuardReading | None = None,
    acknowledged: Collection[str] = (),
) -> GuardReading:
    """Read the guard from scratch: every matured conversation is a look, the first alarm counts.

    ``observations`` and ``exposures`` may come in any order and are the release's whole record. ``tripwires`` holds the
    canary's count for every tripwire of the plan. ``stage`` is the step now live, by default the last one observed. A
    ``previous`` alarm is returned as it was: it latches. ``acknowledged`` codes pause no more. Costs one pass.
    """
    if previous is not None and previous.status is GuardStatus.ALARM:
        return replace(previous, latched=True)
    ordered = sorted(observations, key=_ORDER)
    guard = Guard(plan)
    for seen in ordered:
        if guard.add(seen) is not None:
            break
    live = stage if stage is not None else max((seen.stage for seen in ordered), default=0)
    return guard.reading(
        stage=live, ratio=SampleRatio.of(exposures), tripwires=tripwires, acknowledged=frozenset(acknowledged)
    )


def _points(share: float) -> str:
    return f"{100.0 * share:+.1f} points"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
