"""What a release's guard may see: matured conversations of served users, and who was served, as values.

The unit is the conversation; its arm, weight and stage are those of the draw its first episode was served under,
whatever version then ran. Its end is read at exactly start + maturity in both arms, from the sources that may be
believed and from what was recorded by then; still open is a failure. Nothing recorded later changes a past reading:
episodes, outcomes and signals count when they were there in time, and an intent stays what it was when it was first
read, kept with the tick that read it. A conversation takes its place in the order once its opening is analyzed, so that
its intent is known (a first turn that names none may get it from a later one); an analysis that lags delays that by a
minute at most. The place follows from facts, not from looks, and nothing is read before it had time to be committed.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Q

from episodes.models import Episode, Flag, Outcome, Signal
from episodes.resolution import Reading, Statement, derive
from releases.bucketing import Arm
from releases.crossing import Crossing, crossing
from releases.guard import Exposure as GuardExposure
from releases.guard import Observation
from releases.models import Exposure, Release
from releases.plan import Plan

__all__ = ["Sightings", "Thresholds", "observe", "thresholds", "tripwire_counts"]

# Agents stamp their own clock, and some start it before they fetch.
_CLOCK_SLACK = timedelta(seconds=5)
_GRACE = timedelta(seconds=5)
_ANALYSIS = timedelta(seconds=60)
# Moments are stamped before what they tell is committed: what lay in between would come to be read out of order.
_COMMIT = timedelta(seconds=2)
_HISTORY = 500
_LEAST_HISTORY = 50
_ROWS_AT_A_TIME = 5_000


@dataclass(frozen=True)
class Sightings:
    """Everything one tick reads.

    ``canaries`` are the conversations drawn as canary, matured or not; ``first_intents`` maps the conversations that no
    tick has read before to the slug of their intent, None without one.
    """

    observations: tuple[Observation, ...]
    exposures: tuple[GuardExposure, ...]
    canaries: frozenset[UUID] = frozenset()
    first_intents: Mapping[str, str | None] = field(default_factory=dict)


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


class _Opening(NamedTuple):
    """The first episode of a conversation that arrived."""

    conversation: UUID
    subject: str
    intent: str | None
    started_at: datetime
    captured_at: datetime
    release: UUID | None
    weight: float | None
    digest: str
    usage: Mapping[str, Any]
    understood_at: datetime | None

    def matured_at(self, maturity: timedelta) -> datetime:
        """Return when the conversation could be read: matured, reported and analyzed, or given up to be analyzed."""
        reported = max(self.started_at + maturity, self.captured_at)
        given_up = reported + _ANALYSIS
        return max(reported, min(self.understood_at or given_up, given_up))


class _Report(NamedTuple):
    """One episode, as a sign of life."""

    conversation: UUID
    started_at: datetime
    captured_at: datetime
    release: UUID | None
    weight: float | None
    digest: str


class _Facts(NamedTuple):
    """What was known of a conversation at its instant."""

    end: Reading
    signals: Collection[str]
    intent: str | None


def thresholds(release: Release) -> Thresholds:
    """Return what was unusual before the release began: the 95th percentile, and what the gate lets pass on top of it.

    Fixed by the start, so both arms are measured by one rule.
    """
    before = Episode.objects.filter(
        agent_id=release.agent_id, started_at__lt=release.started_at, captured_at__lt=release.started_at
    )
    usages = list(before.order_by("-started_at").values_list("usage", flat=True)[:_HISTORY])
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

    After another release was promoted over this one, nothing that users live through says anything about it; while
    another one ramps up, the users of its canary say nothing, in both arms.
    """
    draws, others, maturity = _draws(release, now), crossing(release), timedelta(seconds=plan.maturity_s)
    begun, reports = _openings(release, _superseded_at(release), now)
    openings = [one for one in begun if not others.took(one.subject, one.started_at, one.started_at + maturity)]
    drawn = [(one, draw) for one in openings if (draw := _draw_of(one, draws.get(one.subject, ()), release))]
    ripe = [(one, draw) for one, draw in drawn if one.matured_at(maturity) + _COMMIT <= now]
    kept = _first_intents(release, now)
    facts = _facts([one for one, _ in ripe], kept, plan)
    unusual = thresholds(release) if plan.signals else Thresholds()
    versions = {Arm.CANARY.value: release.version.digest, Arm.CONTROL.value: release.baseline.digest}
    return Sightings(
        tuple(
            _observation(one, draw, draws[one.subject], plan, facts[one.conversation], unusual, versions[draw.arm])
            for one, draw in ripe
        ),
        _exposures(draws, reports, others, plan, release, now),
        frozenset(one.conversation for one, draw in drawn if draw.arm == Arm.CANARY),
        {name: facts[one.conversation].intent for one, _ in ripe if (name := str(one.conversation)) not in kept},
    )  # fmt: skip


def _draws(release: Release, now: datetime) -> dict[str, list[_Draw]]:
    found: dict[str, list[_Draw]] = defaultdict(list)
    rows = Exposure.objects.filter(release=release, served_at__lte=now).order_by("served_at", "id")
    for subject, stage, arm, weight, served_at in rows.values_list("subject", "stage", "arm", "weight", "served_at"):
        found[subject].append(_Draw(stage, arm, weight, served_at))
    return found


def _superseded_at(release: Release) -> datetime | None:
    if release.promoted_at is None:
        return None
    later = Release.objects.filter(agent_id=release.agent_id, promoted_at__gt=release.promoted_at)
    return later.order_by("promoted_at").values_list("promoted_at", flat=True).first()


def _openings(
    release: Release, until: datetime | None, now: datetime
) -> tuple[list[_Opening], dict[str, list[_Report]]]:
    """Return the conversations that served users began since the start, and every episode of each user by its start.

    The first episode of a conversation to arrive opens it: none that comes later changes what was read.
    """
    begun = Q(conversation__started_at__gte=release.started_at - _CLOCK_SLACK if release.started_at else until)
    rows = Episode.objects.filter(
        begun, agent_id=release.agent_id, captured_at__lte=now,
        conversation__subject__in=Exposure.objects.filter(release=release).order_by().values("subject"),
    )  # fmt: skip
    if until is not None:
        rows = rows.filter(started_at__lt=until)
    names = (
        "conversation_id", "conversation__subject", "conversation__intent__slug", "started_at", "captured_at",
        "release_ref", "weight", "harness_digest", "usage", "understood_at",
    )  # fmt: skip
    first: dict[UUID, _Opening] = {}
    reports: dict[str, list[_Report]] = defaultdict(list)
    ordered = rows.order_by("captured_at", "started_at", "id")
    for row in ordered.values_list(*names).iterator(chunk_size=_ROWS_AT_A_TIME):
        one = _Opening(*row)
        first.setdefault(one.conversation, one)
        reports[one.subject].append(
            _Report(one.conversation, one.started_at, one.captured_at, one.release, one.weight, one.digest)
        )
    for mine in reports.values():
        mine.sort(key=lambda one: one.started_at)
    return list(first.values()), reports


def _draw_of(opening: _Opening, draws: Sequence[_Draw], release: Release) -> _Draw | None:
    """Return the draw a conversation began under, whatever version then ran; None when the user was not yet drawn.

    An episode that names this release says by its weight which stage it was served in, which a client's cache may
    have kept past a step. Others (agents that name none or gave the version up, users of a later ramp) go by time.
    """
    if opening.release == release.pk:
        for draw in reversed(draws):
            if draw.weight == opening.weight:
                return draw
    seen = [draw for draw in draws if draw.served_at <= opening.started_at + _CLOCK_SLACK]
    return seen[-1] if seen else None


def _facts(openings: Sequence[_Opening], kept: Mapping[str, str | None], plan: Plan) -> dict[UUID, _Facts]:
    """Return what was known of each conversation at its instant, its intent as it was first read."""
    instants = {one.conversation: one.started_at + timedelta(seconds=plan.maturity_s) for one in openings}
    ends, signals = _ends(instants, plan), _signals(instants)
    intents = {one.conversation: kept.get(str(one.conversation), one.intent) for one in openings}
    return {key: _Facts(ends[key], signals[key], intents[key]) for key in instants}


def _first_intents(release: Release, now: datetime) -> dict[str, str | None]:
    """Return by conversation the intent that the first tick that wrote it down read."""
    kept: dict[str, str | None] = {}
    ticks = release.ticks.filter(at__lte=now).exclude(first_intents={}).order_by("id")
    for intents in ticks.values_list("first_intents", flat=True):
        for conversation, intent in intents.items():
            kept.setdefault(conversation, intent)
    return kept


def _ends(instants: Mapping[UUID, datetime], plan: Plan) -> dict[UUID, Reading]:
    """Return each conversation's end as it was known at its instant of reading, and whose word it was."""
    said: dict[UUID, list[Statement]] = defaultdict(list)
    truths = Outcome.objects.truthful().filter(conversation_id__in=instants)
    for row in truths.values_list("conversation_id", "name", "value", "source", "at", "recorded_at", "id"):
        conversation, name, value, source, at, recorded_at, pk = row
        if recorded_at <= instants[conversation]:
            said[conversation].append(Statement(name, value, source, at, str(pk)))
    last: dict[UUID, datetime] = {}
    turns = Episode.objects.filter(conversation_id__in=instants)
    for conversation, at, captured_at in turns.values_list("conversation_id", "started_at", "captured_at"):
        if max(at, captured_at) <= instants[conversation]:
            last[conversation] = max(at, last.get(conversation, at))
    return {
        # Nothing but the detector's word grows stale, and without a turn in time there is none.
        key: derive(said[key], last_at=last.get(key, at), order=plan.truth_sources)
        for key, at in instants.items()
    }


def _signals(instants: Mapping[UUID, datetime]) -> dict[UUID, set[str]]:
    """Return the signals that had been detected at each conversation's instant."""
    found: dict[UUID, set[str]] = defaultdict(set)
    rows = Signal.objects.filter(episode__conversation_id__in=instants)
    for conversation, kind, created_at in rows.values_list("episode__conversation_id", "kind", "created_at"):
        if created_at <= instants[conversation]:
            found[conversation].add(kind)
    return found


def _observation(
    opening: _Opening, draw: _Draw, draws: Sequence[_Draw], plan: Plan, known: _Facts, unusual: Thresholds, digest: str
) -> Observation:  # fmt: skip
    earlier = [one for one in draws if one.stage < draw.stage]
    end, kinds = known.end.resolution, known.signals
    facts = {
        "escalated": end == "escalated" or "handoff" in kinds,
        "frustrated": not {"rephrase", "loop", "abandonment"}.isdisjoint(kinds),
        "slow": _above(opening.usage.get("latency_ms"), unusual.latency_ms),
        "costly": _above(opening.usage.get("cost_usd"), unusual.cost_usd),
    }
    return Observation(
        user=opening.subject,
        stage=draw.stage,
        arm=draw.arm,
        weight=draw.weight,
        failed=end != "resolved",
        matured_at=opening.matured_at(timedelta(seconds=plan.maturity_s)).timestamp(),
        conversation=str(opening.conversation),
        intent=known.intent,
        is_target=known.intent in plan.target_intents,
        control_before=max((one.weight for one in earlier if one.arm == Arm.CONTROL), default=None),
        canary_before=any(one.arm == Arm.CANARY for one in earlier),
        signals=tuple((name, fact) for name in plan.signals if (fact := facts.get(name)) is not None),
        known=bool(known.end.source),
        as_drawn=opening.digest == digest if opening.digest else None,
    )


def _above(value: Any, threshold: float | None) -> bool | None:
    return None if threshold is None or not isinstance(value, int | float) else value > threshold


def _exposures(
    draws: Mapping[str, Sequence[_Draw]], reports: Mapping[str, Sequence[_Report]], others: Crossing, plan: Plan,
    release: Release, now: datetime,
) -> tuple[GuardExposure, ...]:  # fmt: skip
    """Return every draw with the conversations reported under it, read once at a fixed time in both arms."""
    maturity = timedelta(seconds=plan.maturity_s)
    found = []
    for subject, mine in draws.items():
        for draw in mine:
            ends_at = draw.served_at + maturity
            is_read = ends_at + _GRACE <= now and not others.took(subject, draw.served_at, ends_at)
            number = _num_reported(draw, reports.get(subject, ()), ends_at, release) if is_read else None
            at = draw.served_at.timestamp()
            found.append(GuardExposure(subject, draw.stage, draw.arm, draw.weight, at, number))
    return tuple(found)


def _num_reported(draw: _Draw, reports: Sequence[_Report], ends_at: datetime, release: Release) -> int:
    """Return how many conversations have an episode that began after the draw and ran under it, reported in time.

    An episode that names neither version nor release may have; one that names a version without a release fell back.
    """
    first = bisect_left(reports, draw.served_at - _CLOCK_SLACK, key=lambda one: one.started_at)
    return len({
        one.conversation
        for one in reports[first:]
        if one.started_at <= ends_at + _CLOCK_SLACK
        and one.captured_at <= ends_at + _GRACE
        and (one.weight in (None, draw.weight) if one.release == release.pk else bool(one.release) or not one.digest)
    })  # fmt: skip


def tripwire_counts(sightings: Sightings, plan: Plan) -> dict[str, int]:
    """Return for every tripwire the canary's conversations that bear its name as outcome, signal or flag."""
    counts = {}
    for wire in plan.tripwires:
        outcomes = Outcome.objects.truthful().filter(
            name=wire.name, value__gte=0.5, conversation__in=sightings.canaries
        )
        signals = Signal.objects.filter(kind=wire.name, episode__conversation__in=sightings.canaries)
        flags = Flag.objects.filter(reason=wire.name, episode__conversation__in=sightings.canaries)
        struck = {
            *outcomes.values_list("conversation_id", flat=True),
            *signals.values_list("episode__conversation_id", flat=True),
            *flags.values_list("episode__conversation_id", flat=True),
        }
        counts[wire.name] = len(struck)
    return counts
