"""What a release's guard may see: matured conversations of served users, and who was served, as values.

The unit is the conversation; its arm, weight and stage are those of the draw its first episode was served under. Its
end is read at exactly start + maturity in both arms, from the sources that may be believed and from what was recorded
by then; still open is a failure. What is recorded later never changes a past reading.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q

from episodes.models import Episode, Flag, Outcome, Signal
from episodes.resolution import Statement, derive
from releases.bucketing import Arm
from releases.guard import Exposure as GuardExposure
from releases.guard import Observation
from releases.models import Exposure, Release
from releases.plan import Plan

__all__ = ["Sightings", "Thresholds", "observe", "thresholds", "tripwire_counts"]

# Agents stamp their own clock, and some start it before they fetch.
_CLOCK_SLACK = timedelta(seconds=5)
_GRACE_S = 5.0
_HISTORY = 500
_LEAST_HISTORY = 50
_ROWS_AT_A_TIME = 5_000


@dataclass(frozen=True)
class Sightings:
    """Everything one tick reads."""

    observations: tuple[Observation, ...]
    exposures: tuple[GuardExposure, ...]


@dataclass(frozen=True)
class Thresholds:
    """Above which an episode counts as slow or costly; None where there is too little history to say."""

    latency_ms: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class _Draw:
    stage: int
    arm: str
    weight: float
    served_at: datetime


@dataclass(frozen=True)
class _Opening:
    """The first episode of a conversation."""

    conversation: UUID
    subject: str
    intent: str | None
    started_at: datetime
    release: UUID | None
    weight: float | None
    digest: str
    usage: Mapping[str, Any]


def thresholds(release: Release) -> Thresholds:
    """Return what was unusual before the release began: the 95th percentile, and what the gate lets pass on top of it.

    Fixed by the start, so both arms are measured by one rule.
    """
    before = Episode.objects.filter(agent_id=release.agent_id, started_at__lt=release.started_at).order_by(
        "-started_at"
    )
    usages = list(before.values_list("usage", flat=True)[:_HISTORY])
    latency, cost = (_high([one.get(name) for one in usages]) for name in ("latency_ms", "cost_usd"))
    return Thresholds(
        latency_ms=None if latency is None else 1.1 * latency + 100.0,
        cost_usd=None if not cost else 1.1 * cost,
    )


def _high(values: Iterable[Any]) -> float | None:
    known = sorted(float(value) for value in values if isinstance(value, int | float))
    return known[int(0.95 * (len(known) - 1))] if len(known) >= _LEAST_HISTORY else None


def observe(release: Release, plan: Plan, *, now: datetime) -> Sightings:
    """Return the matured conversations of the users this release served, and their draws.

    After another release was promoted over this one, nothing that users live through says anything about it.
    """
    draws = _draws(release)
    until = _superseded_at(release)
    openings, reports = _openings(release, until)
    matched = [
        (one, draw) for one in openings if (draw := _draw_of(one, draws.get(one.subject, ()), release)) is not None
    ]
    maturity = timedelta(seconds=plan.maturity_s)
    ripe = [(one, draw) for one, draw in matched if one.started_at + maturity <= now]
    ends = _ends([one for one, _ in ripe], maturity)
    signals = _signals([one.conversation for one, _ in ripe])
    unusual = thresholds(release) if plan.signals else Thresholds()
    observations = tuple(
        _observation(one, draw, draws[one.subject], plan, ends[one.conversation], signals[one.conversation], unusual)
        for one, draw in ripe
    )
    exposures = tuple(
        GuardExposure(
            subject, draw.stage, draw.arm, draw.weight, draw.served_at.timestamp(),
            _reported(draw, reports.get(subject, ()), plan.maturity_s, now),
        )
        for subject, mine in draws.items()
        for draw in mine
    )  # fmt: skip
    return Sightings(observations, exposures)


def _draws(release: Release) -> dict[str, list[_Draw]]:
    found: dict[str, list[_Draw]] = defaultdict(list)
    rows = Exposure.objects.filter(release=release).order_by("served_at", "id")
    for subject, stage, arm, weight, served_at in rows.values_list("subject", "stage", "arm", "weight", "served_at"):
        found[subject].append(_Draw(stage, arm, weight, served_at))
    return found


def _superseded_at(release: Release) -> datetime | None:
    if release.promoted_at is None:
        return None
    later = Release.objects.filter(agent_id=release.agent_id, promoted_at__gt=release.promoted_at)
    return later.order_by("promoted_at").values_list("promoted_at", flat=True).first()


def _openings(release: Release, until: datetime | None) -> tuple[list[_Opening], dict[str, list[datetime]]]:
    """Return the conversations that served users began since the start, and when each user reported episodes."""
    begun = Q(conversation__started_at__gte=release.started_at - _CLOCK_SLACK if release.started_at else until)
    rows = Episode.objects.filter(
        begun, agent_id=release.agent_id,
        conversation__subject__in=Exposure.objects.filter(release=release).order_by().values("subject"),
    )  # fmt: skip
    if until is not None:
        rows = rows.filter(started_at__lt=until)
    names = (
        "conversation_id", "conversation__subject", "conversation__intent__slug", "started_at", "release_ref", "weight",
        "harness_digest", "usage",
    )  # fmt: skip
    first: dict[UUID, _Opening] = {}
    reports: dict[str, list[datetime]] = defaultdict(list)
    for row in rows.order_by("started_at", "id").values_list(*names).iterator(chunk_size=_ROWS_AT_A_TIME):
        opening = _Opening(*row)
        first.setdefault(opening.conversation, opening)
        reports[opening.subject].append(opening.started_at)
    return list(first.values()), reports


def _draw_of(opening: _Opening, draws: Sequence[_Draw], release: Release) -> _Draw | None:
    """Return the draw a conversation began under; None when no draw decided what it was served.

    An episode that names this release says by its weight which stage it was served in, which a client's cache may
    have kept past a step. Others (agents that name none, users of a later ramp) go by time.
    """
    if opening.release == release.pk:
        expected = {Arm.CANARY.value: release.version.digest, Arm.CONTROL.value: release.baseline.digest}
        for draw in reversed(draws):
            if draw.weight == opening.weight:
                return draw if opening.digest in ("", expected[draw.arm]) else None
    elif opening.release is None and opening.digest:
        return None
    seen = [draw for draw in draws if draw.served_at <= opening.started_at + _CLOCK_SLACK]
    return seen[-1] if seen else None


def _ends(openings: Sequence[_Opening], maturity: timedelta) -> dict[UUID, str]:
    """Return each conversation's end as it was known at its instant of reading."""
    instants = {one.conversation: one.started_at + maturity for one in openings}
    said: dict[UUID, list[Statement]] = defaultdict(list)
    truths = Outcome.objects.truthful().filter(conversation_id__in=instants)
    for row in truths.values_list("conversation_id", "name", "value", "source", "at", "recorded_at", "id"):
        conversation, name, value, source, at, recorded_at, pk = row
        if recorded_at <= instants[conversation]:
            said[conversation].append(Statement(name, value, source, at, str(pk)))
    turns: dict[UUID, list[datetime]] = defaultdict(list)
    for conversation, at in Episode.objects.filter(conversation_id__in=instants).values_list(
        "conversation_id", "started_at"
    ):
        turns[conversation].append(at)
    ends = {}
    for one in openings:
        then = [at for at in turns[one.conversation] if at <= instants[one.conversation]]
        ends[one.conversation] = derive(said[one.conversation], last_at=max(then, default=one.started_at)).resolution
    return ends


def _signals(conversations: Sequence[UUID]) -> dict[UUID, set[str]]:
    found: dict[UUID, set[str]] = defaultdict(set)
    rows = Signal.objects.filter(episode__conversation_id__in=conversations)
    for conversation, kind in rows.values_list("episode__conversation_id", "kind"):
        found[conversation].add(kind)
    return found


def _observation(
    opening: _Opening, draw: _Draw, draws: Sequence[_Draw], plan: Plan, end: str, kinds: set[str], unusual: Thresholds
) -> Observation:
    earlier = [one for one in draws if one.stage < draw.stage]
    facts = {
        "escalated": end == "escalated" or "handoff" in kinds,
        "frustrated": bool(kinds & {"rephrase", "loop", "abandonment"}),
        "slow": _above(opening.usage.get("latency_ms"), unusual.latency_ms),
        "costly": _above(opening.usage.get("cost_usd"), unusual.cost_usd),
    }
    return Observation(
        user=opening.subject,
        stage=draw.stage,
        arm=draw.arm,
        weight=draw.weight,
        failed=end != "resolved",
        matured_at=opening.started_at.timestamp() + plan.maturity_s,
        episode=str(opening.conversation),
        intent=opening.intent,
        is_target=opening.intent in plan.target_intents,
        control_before=max((one.weight for one in earlier if one.arm == Arm.CONTROL), default=None),
        canary_before=any(one.arm == Arm.CANARY for one in earlier),
        signals=tuple((name, fact) for name in plan.signals if (fact := facts.get(name)) is not None),
    )


def _above(value: Any, threshold: float | None) -> bool | None:
    return None if threshold is None or not isinstance(value, int | float) else value > threshold


def _reported(draw: _Draw, reports: Sequence[datetime], maturity_s: float, now: datetime) -> bool | None:
    """Return whether an episode began within the maturity time; None while that time (and the post's) still runs."""
    place = bisect_right(reports, draw.served_at - _CLOCK_SLACK)
    if place < len(reports) and reports[place] <= draw.served_at + timedelta(seconds=maturity_s) + _CLOCK_SLACK:
        return True
    return None if (now - draw.served_at).total_seconds() < maturity_s + _GRACE_S else False


def tripwire_counts(release: Release, plan: Plan) -> dict[str, int]:
    """Return for every tripwire the canary conversations that bear its name as outcome, signal or flag."""
    if not plan.tripwires:
        return {}
    users = Exposure.objects.filter(release=release, arm=Arm.CANARY).order_by().values("subject")
    mine = {"agent_id": release.agent_id, "subject__in": users, "started_at__gte": release.started_at}
    of_conversation = {f"conversation__{name}": value for name, value in mine.items()}
    of_episode = {f"episode__conversation__{name}": value for name, value in mine.items()}
    counts = {}
    for wire in plan.tripwires:
        outcomes = Outcome.objects.truthful().filter(name=wire.name, value__gte=0.5, **of_conversation)
        signals = Signal.objects.filter(kind=wire.name, **of_episode)
        flags = Flag.objects.filter(reason=wire.name, **of_episode)
        struck = {
            *outcomes.values_list("conversation_id", flat=True),
            *signals.values_list("episode__conversation_id", flat=True),
            *flags.values_list("episode__conversation_id", flat=True),
        }
        counts[wire.name] = len(struck)
    return counts
