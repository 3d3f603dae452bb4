"""Nothing lost: alarms where a captured episode or a received trace would stay what it is for ever."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from django.db import connection
from django.db.models import Count, Max, Min, QuerySet
from django.utils import timezone

from accounts.acting import MACHINE, Actor
from episodes.models import CaptureTally, Trace
from harness.models import Agent
from jobs.models import Task

__all__ = ["GRACE_S", "Gap", "gaps", "stuck"]

# The jobs that come to waiting episodes, by the agent's id as their key, and the one that comes to traces.
_ANALYSIS = ("episodes.jobs.understand", "episodes.jobs.understand_one_by_one")
_ASSEMBLY = ("episodes.trace_jobs.assemble",)
GRACE_S = 120.0
_TURN_S = 300.0
_STUCK_S = 30.0
_REFUSED_FOR = timedelta(days=1)


@dataclass(frozen=True)
class Gap:
    """Of one agent: episodes that nothing will come to or whose rows are gone, or traces that became none."""

    agent_id: UUID
    agent: str
    of: Literal["episodes", "traces"]
    sentence: str


_WAITING = """
SELECT a.id, a.slug, w.captured_at FROM harness_agent a CROSS JOIN LATERAL (
  SELECT captured_at FROM episodes_episode e
  WHERE e.agent_id = a.id AND e.understood_at IS NULL AND e.analysis_failed_at IS NULL ORDER BY id LIMIT 1) w
WHERE a.id = ANY(%s) AND w.captured_at < %s
"""


@dataclass(frozen=True)
class _Waiting:
    """An agent and since when the oldest of its episodes has waited."""

    agent_id: UUID
    agent: str
    since: datetime

    def tasks(self) -> QuerySet[Task]:
        return Task.objects.filter(name__in=_ANALYSIS, key=str(self.agent_id))


def gaps(actor: Actor) -> list[Gap]:
    """Return what is lost or about to be, as things stand now; a few index lookups an agent.

    An agent's episodes are where the oldest waits longer than `GRACE_S` and no task is at work on it or waits its turn
    no longer than five minutes; or where fewer rows are there than entered the record. Its traces are where one is due
    for longer than `GRACE_S` and no task comes to it, or for five minutes whatever comes, and for a day where one was
    refused.
    """
    found = [*_overdue_traces(actor), *_refused_traces(actor)]
    for waiting in _waiting(actor, GRACE_S):
        if why := _why_nothing_comes(waiting.tasks()):
            since = f"{waiting.since:%Y-%m-%d %H:%M:%S} UTC"
            sentence = f"Episodes of {waiting.agent} wait since {since}: {why}"
            found.append(Gap(waiting.agent_id, waiting.agent, "episodes", sentence))
    for tally in CaptureTally.objects.visible_to(actor).select_related("agent"):
        if tally.missing > 0:
            sentence = f"{tally.missing} episodes of {tally.agent.slug} entered the record, but their rows are gone."
            found.append(Gap(tally.agent_id, tally.agent.slug, "episodes", sentence))
    return found


def _overdue_traces(actor: Actor) -> list[Gap]:
    late = Trace.objects.visible_to(actor).filter(due_at__lt=timezone.now() - timedelta(seconds=GRACE_S))
    overdue = _by_agent(late, Min("due_at"))
    if not overdue:
        return []
    why = _why_nothing_comes(Task.objects.filter(name__in=_ASSEMBLY))
    if min(since for *_, since in overdue) < timezone.now() - timedelta(seconds=_TURN_S):
        why = why or "their task comes and does not get through. See what the page Tasks says of it."
    return [
        Gap(
            agent_id, slug, "traces",
            f"Traces of {slug} that nobody makes into episodes: {number}, the oldest due since "
            f"{since:%Y-%m-%d %H:%M:%S} UTC: {why}",
        )
        for agent_id, slug, number, since in overdue if why
    ]  # fmt: skip


def _refused_traces(actor: Actor) -> list[Gap]:
    refused = Trace.objects.visible_to(actor).filter(refused_at__gt=timezone.now() - _REFUSED_FOR)
    return [
        Gap(
            agent_id, slug, "traces",
            f"Traces of {slug} whose newest records are in no episode: {number}, the last refused at "
            f"{at:%Y-%m-%d %H:%M:%S} UTC. {_newest_reason(refused, agent_id)}Their records are kept.",
        )
        for agent_id, slug, number, at in _by_agent(refused, Max("refused_at"))
    ]  # fmt: skip


def _newest_reason(refused: QuerySet[Trace], agent_id: UUID) -> str:
    # None may be left by now: a refused trace of which more has come is read again.
    reason = refused.filter(agent=agent_id).order_by("-refused_at").values_list("error", flat=True).first() or ""
    return f"{reason.removesuffix('.')}. " if reason else ""


def _by_agent(traces: QuerySet[Trace], moment: Min | Max) -> list[tuple[UUID, str, int, datetime]]:
    counted = traces.order_by().values("agent").annotate(number=Count("pk"), moment=moment)
    return list(counted.order_by("agent__slug").values_list("agent", "agent__slug", "number", "moment"))


def stuck() -> list[UUID]:
    """Return the agents whose analysis failed as a whole while the same episode waited, as a worker's death makes it."""
    waiting = _waiting(MACHINE, _STUCK_S)
    return [one.agent_id for one in waiting if one.tasks().filter(state="failed", finished_at__gt=one.since).exists()]


def _waiting(actor: Actor, longer_than_s: float) -> list[_Waiting]:
    agents = list(Agent.objects.visible_to(actor).values_list("pk", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, [agents, timezone.now() - timedelta(seconds=longer_than_s)])
        return [_Waiting(*row) for row in cursor.fetchall()]


def _why_nothing_comes(tasks: QuerySet[Task]) -> str:
    """Return why none of the tasks gets anywhere; nothing where one is at work or waits its turn for not too long."""
    now = timezone.now()
    if tasks.filter(state="claimed", lease_until__gt=now).exists():
        return ""
    ready = tasks.filter(state="ready").order_by("available_at").first()
    if ready is None:
        return "no task will come to them. See that the clock runs."
    if ready.available_at > now - timedelta(seconds=_TURN_S):
        return ""
    return (
        f"their task has had no worker since {ready.available_at:%H:%M:%S}. See that a worker serves {ready.queue!r}."
    )
