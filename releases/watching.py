"""The guard's rounds: read every release in motion, write down what was read, and do what the reading allows.

The machine stops by itself; it goes on only along the plan that people approved. Missing data waits.
"""

import logging
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from accounts.access import require
from accounts.acting import MACHINE, Actor
from accounts.roles import Permission
from audit.exceptions import TransitionRefusedError
from releases import rollout
from releases.aftermath import confounded_by, outlived
from releases.exceptions import ReleaseRefusedError, StillServedError
from releases.guard import GuardReading, GuardStatus, tick
from releases.models import GuardTick, Release
from releases.observing import Sightings, observe, tripwire_counts
from releases.plan import Plan
from releases.promotion import Aftermath, AftermathReading, Decision, StepReading, read_aftermath, read_step
from releases.querysets import LIVE

__all__ = ["Reading", "advance", "guard_age_s", "is_due", "read", "watch"]

logger = logging.getLogger("releases")

SILENT_S = 180.0
"""A guard that has not ticked for so long pauses its ramp."""
_KEEP_EVERY_S = 10.0
_REST = 4
_MOST_REST_S = 30.0
_LOCK = 0x7267


@dataclass(frozen=True)
class Reading:
    """One look at a release: the guard's verdict and, by its state, whether a step or the aftermath is over."""

    guard: GuardReading
    at: datetime
    first_intents: Mapping[str, str | None]
    step: StepReading | None = None
    aftermath: AftermathReading | None = None
    is_outlived: bool = False

    def to_mapping(self) -> dict[str, Any]:
        """Return the guard's mapping with what was decided beside it; plain JSON."""
        more: dict[str, Any] = {}
        if self.step is not None:
            more = {
                "decision": self.step.decision.value, "decision_sentence": self.step.sentence, "unmet": list(self.step.unmet),
                "users_needed_for_step": self.step.users_needed, "step": dict(self.step.evidence),
            }  # fmt: skip
        if self.aftermath is not None:
            more |= {
                "aftermath": self.aftermath.outcome.value, "aftermath_sentence": self.aftermath.sentence,
                "aftermath_evidence": dict(self.aftermath.evidence),
            }  # fmt: skip
        return self.guard.to_mapping() | more

    @property
    def sentence(self) -> str:
        """The sentence a person wants first: harm, then what is waited for."""
        if self.is_outlived and self.aftermath is not None:
            return self.aftermath.sentence
        if self.guard.status in (GuardStatus.ALARM, GuardStatus.PAUSE):
            return self.guard.sentence
        return self.step.sentence if self.step else self.aftermath.sentence if self.aftermath else self.guard.sentence


def read(release: Release, *, now: datetime | None = None) -> Reading:
    """Read the release from its facts alone; an alarm of an earlier tick stands, with the evidence of its moment."""
    now = now or timezone.now()
    plan = release.as_plan()
    sightings = observe(release, plan, now=now)
    guard = tick(
        sightings.observations, plan, exposures=sightings.exposures, tripwires=tripwire_counts(sightings, plan),
        stage=release.step, previous=_alarm_before(release), acknowledged=release.acknowledged,
    )  # fmt: skip
    reading = Reading(guard, now, sightings.first_intents)
    if release.promoted_at is None:
        return replace(reading, step=_step(release, plan, sightings, guard, now))
    aftermath = _aftermath(release, plan, sightings, now)
    if guard.status is GuardStatus.ALARM and release.agent.stable_id != release.version_id:
        return replace(reading, aftermath=outlived(release, guard, aftermath), is_outlived=True)
    return replace(reading, aftermath=aftermath)


def _alarm_before(release: Release) -> GuardReading | None:
    row = release.ticks.filter(status=GuardStatus.ALARM.value).order_by("id").first()
    if row is None:
        return None
    return GuardReading.from_mapping({name: row.reading[name] for name in GuardReading.__dataclass_fields__})


def _step(release: Release, plan: Plan, sightings: Sightings, guard: GuardReading, now: datetime) -> StepReading:
    assert release.step_started_at and release.deadline_at  # noqa: PT018  # set by the start
    return read_step(
        sightings.observations, plan, stage=release.step, guard=guard,
        baked_s=(now - release.step_started_at).total_seconds(),
        # Counted back from the deadline, because a person may have moved it.
        elapsed_s=max(0.0, plan.max_duration_s - (release.deadline_at - now).total_seconds()),
        freeze=plan.freeze_at(now),
    )  # fmt: skip


def _aftermath(release: Release, plan: Plan, sightings: Sightings, now: datetime) -> AftermathReading:
    assert release.promoted_at  # only promoted releases come here
    return read_aftermath(
        sightings.observations, plan,
        elapsed_s=(now - release.promoted_at).total_seconds(), confounded_by=confounded_by(release),
    )  # fmt: skip


def guard_age_s(release: Release, *, now: datetime | None = None) -> float:
    """Return the seconds since the guard last wrote down a reading of this release, or since it last began to run."""
    now = now or timezone.now()
    last = release.ticks.order_by("-id").values_list("at", flat=True).first()
    moved = (
        release.history.filter(status="running")
        .order_by("-history_date")
        .values_list("history_date", flat=True)
        .first()
    )
    known = [at for at in (last, moved, release.started_at) if at is not None]
    return (now - max(known)).total_seconds() if known else 0.0


def watch(release_id: UUID) -> Reading | None:
    """Look at one release and act. Only one process looks at a time; a second returns None at once.

    Watching again is harmless: everything is read anew, and a state that moved meanwhile refuses the act.
    """
    with _alone(release_id) as is_alone:
        if not is_alone:
            return None
        release = Release.objects.select_related("agent", "proposal__pattern", "version", "baseline").get(pk=release_id)
        match release.status:
            case Release.Status.ROLLING_BACK:
                _confirm(release)
            case Release.Status.PROMOTING:
                return _finish_promotion(release)
            case Release.Status.RUNNING if (age_s := guard_age_s(release)) > SILENT_S:
                release.pause(
                    by=MACHINE, reason=f"the guard had not looked for {age_s:.0f} s: nobody watched this ramp"
                )
            case _ if release.status in LIVE or (release.promoted_at and not release.aftermath_closed_at):
                return _look(release)
        return None


def _confirm(release: Release) -> None:
    try:
        release.confirm_rolled_back(by=MACHINE, reason="serving hands it out no more")
    except StillServedError as still:
        logger.info("release.still_served", extra={"release": str(release.pk), "refusal": str(still)})


def is_due(release_id: UUID, *, now: datetime | None = None) -> bool:
    """Return whether to look again: a release whose record has grown long takes at most a fifth of the time.

    What was begun (a rollback, a promotion) never waits.
    """
    if Release.objects.filter(pk=release_id, status__in=("rolling_back", "promoting")).exists():
        return True
    last = GuardTick.objects.filter(release_id=release_id).order_by("-id").values_list("at", "reading__cost_s").first()
    if last is None:
        return True
    rest_s = min(_MOST_REST_S, _REST * float(last[1] or 0.0))
    return bool(((now or timezone.now()) - last[0]).total_seconds() >= rest_s)


def _look(release: Release) -> Reading:
    began = time.monotonic()
    reading = read(release)
    _keep(release, reading, cost_s=round(time.monotonic() - began, 3))
    _act(release, reading)
    return reading


def _finish_promotion(release: Release) -> Reading:
    """Promote what was begun to be promoted if it still may be; what happened meanwhile counts."""
    reading = read(release)
    _keep(release, reading, cost_s=0.0)
    assert reading.step is not None  # nothing was promoted yet
    if reading.guard.status is GuardStatus.ALARM:
        release.roll_back(by=MACHINE, reason=reading.guard.sentence)
    elif release.agent.frozen_at is not None:
        release.fall_back(by=MACHINE, reason=f"agent {release.agent.slug!r} is frozen")
    elif reading.step.decision is Decision.PROMOTE:
        release.promote(by=MACHINE, reason=f"the promotion that was begun is finished: {reading.step.sentence}")
    else:
        release.fall_back(by=MACHINE, reason=reading.step.sentence)
    return reading


def _keep(release: Release, reading: Reading, *, cost_s: float) -> None:
    """Write the reading down when it says something new, and every few seconds as a sign of life.

    With it stay the intents it was the first to read: what was written down or acted upon is read so again.
    """
    guard = reading.guard
    # A meter beside the governed row: its history would be the ticks over again.
    Release._base_manager.filter(pk=release.pk).update(guard_status=guard.status.value, guard_sentence=reading.sentence)
    last = release.ticks.order_by("-id").first()
    decision = reading.step.decision.value if reading.step else None
    if (
        last is not None
        and (last.status, last.reading.get("code"), last.stage) == (guard.status.value, guard.code, release.step)
        and last.reading.get("decision") == decision
        and (timezone.now() - last.at).total_seconds() < _KEEP_EVERY_S
    ):
        return
    GuardTick.objects.create(
        release=release, at=reading.at, stage=release.step, weight=release.weight, status=guard.status.value,
        sentence=reading.sentence, reading=reading.to_mapping() | {"cost_s": cost_s},
        first_intents=dict(reading.first_intents),
    )  # fmt: skip


def _act(release: Release, reading: Reading) -> None:
    guard = reading.guard
    if guard.status is GuardStatus.ALARM and not reading.is_outlived:
        release.roll_back(by=MACHINE, reason=guard.sentence)
    elif reading.aftermath is not None:
        rollout.requeue_waiting(release.agent)
        if reading.aftermath.outcome is not Aftermath.WATCHING:
            release.close_aftermath(reading.aftermath, by=MACHINE)
    elif release.status == Release.Status.RUNNING:
        _go_on(release, reading)


def _go_on(release: Release, reading: Reading) -> None:
    guard, step = reading.guard, reading.step
    assert step is not None  # a running release has a step
    if guard.status is GuardStatus.PAUSE:
        release.pause(by=MACHINE, reason=guard.sentence)
    elif release.agent.stable_id != release.baseline_id:
        release.pause(
            by=MACHINE, reason=f"{release.agent.stable} became stable: the comparison with {release.baseline} is over"
        )
    elif step.decision is Decision.INCONCLUSIVE:
        release.run_out(by=MACHINE, reason=step.sentence)
    elif release.agent.frozen_at is None and release.agent.current_policy().autonomy.mode != "manual":
        _walk(release, step, by=MACHINE, reason=step.sentence)


def _walk(release: Release, step: StepReading, *, by: Actor, reason: str) -> bool:
    """Take what the reading allows: the next step, or the promotion; return whether anything was taken."""
    if step.decision is Decision.ADVANCE:
        rollout.advance(release, to_step=release.step + 1, by=by, reason=reason)
    elif step.decision is Decision.PROMOTE:
        release.begin_promotion(by=MACHINE, reason=reason)
        release.promote(by=MACHINE, reason=reason)
    return step.decision in (Decision.ADVANCE, Decision.PROMOTE)


def advance(release: Release, *, by: Actor, reason: str) -> None:
    """Take the next step by hand, under the same conditions as the machine; for agents whose policy says `manual`."""
    require(by, Permission.RUN_RELEASE, release.access_scope(), act=f"advance {release}")
    release.refresh_from_db()
    if release.status != Release.Status.RUNNING:
        raise TransitionRefusedError(f"Cannot advance {release}: it is {release.status!r}; this needs running.")
    release.agent.refuse_if_frozen()
    reading = read(release)
    assert reading.step is not None  # a running release has a step
    _keep(release, reading, cost_s=0.0)
    if not _walk(release, reading.step, by=by, reason=reason):
        raise ReleaseRefusedError(f"{release} may not advance yet. {reading.step.sentence}")


@contextmanager
def _alone(release_id: UUID) -> Iterator[bool]:
    key = [_LOCK, zlib.crc32(str(release_id).encode()) - 2**31]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        is_alone = bool(cursor.fetchone()[0])
    try:
        yield is_alone
    finally:
        if is_alone and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
