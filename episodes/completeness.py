"""The account of what was captured: every episode is analyzed, pending, or failed with a reason.

Counting a million rows takes a tenth of a second, which a page or a probe shall not spend: the clock counts, at a price
of two percent of one core at any size, and everyone else reads the last count. What alarms is looked up when asked:
`episodes.gaps`.
"""

from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Count

from accounts.acting import Actor
from episodes.models import CaptureTally, Episode
from harness.models import Agent

__all__ = ["Reason", "count_captured", "enter_captured", "is_count_due", "reasons", "tallies"]

NEWEST = 1_000
# A count is repeated no sooner than after so many times its own duration, so it costs at most 2 % of one core.
_REST = 50
_MIN_REST_S = 10.0


@dataclass(frozen=True)
class Reason:
    """Why analysis failed, and how often."""

    agent_id: UUID
    sentence: str
    number: int


_COUNT = """
WITH present AS (SELECT agent_id, count(*) AS n FROM episodes_episode GROUP BY agent_id),
     pending AS (SELECT agent_id, count(*) AS n FROM episodes_episode
                 WHERE analysis_failed_at IS NULL AND understood_at IS NULL GROUP BY agent_id),
     failed AS (SELECT agent_id, count(*) AS n FROM episodes_episode
                WHERE analysis_failed_at IS NOT NULL GROUP BY agent_id),
     unrecorded AS (SELECT agent_id, count(*) AS n FROM episodes_episode e WHERE committed_at IS NULL
                    AND NOT EXISTS (SELECT FROM episodes_episodeamendment a
                                    WHERE a.episode_id = e.id AND a.previous_committed_at IS NOT NULL)
                    GROUP BY agent_id),
     lag AS (SELECT * FROM unnest(%(agents)s::uuid[], %(lags)s::float8[]) AS measured (agent_id, p95))
INSERT INTO episodes_capturetally AS t
  (agent_id, recorded, counted_at, captured, analyzed, pending, failed, lag_p95_s)
SELECT a.id, 0, clock_timestamp(), greatest(coalesce(t.recorded, 0) + coalesce(u.n, 0), coalesce(p.n, 0)),
  greatest(coalesce(p.n, 0) - coalesce(w.n, 0) - coalesce(f.n, 0), 0), coalesce(w.n, 0), coalesce(f.n, 0), l.p95
FROM harness_agent a
  LEFT JOIN episodes_capturetally t ON t.agent_id = a.id LEFT JOIN unrecorded u ON u.agent_id = a.id
  LEFT JOIN present p ON p.agent_id = a.id LEFT JOIN pending w ON w.agent_id = a.id
  LEFT JOIN failed f ON f.agent_id = a.id LEFT JOIN lag l ON l.agent_id = a.id
WHERE t.agent_id IS NOT NULL OR p.agent_id IS NOT NULL
ON CONFLICT (agent_id) DO UPDATE SET counted_at = EXCLUDED.counted_at, captured = EXCLUDED.captured,
  analyzed = EXCLUDED.analyzed, pending = EXCLUDED.pending, failed = EXCLUDED.failed, lag_p95_s = EXCLUDED.lag_p95_s
"""

_last = {"at": float("-inf"), "took": 0.0}


def is_count_due() -> bool:
    """Return whether this process's last count lies far enough back, measured by what it took."""
    return monotonic() - _last["at"] >= max(_MIN_REST_S, _REST * _last["took"])


def count_captured() -> None:
    """Count every agent's episodes in one snapshot and write the account down.

    Captured is what entered the record and what still waits for its entry, whatever became of the rows; analyzed,
    pending and failed are the rows that are there. Reads indexes only, but for the newest rows, whose lag is taken.
    """
    started = monotonic()
    with transaction.atomic(), connection.cursor() as cursor:
        lags = _lags(cursor)
        cursor.execute(_COUNT, {"agents": list(lags), "lags": list(lags.values())})
    _last.update(at=monotonic(), took=monotonic() - started)


_LAG = """
SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY lag_s) FROM (
  SELECT extract(epoch FROM coalesce(understood_at, analysis_failed_at, now()) - captured_at) AS lag_s
  FROM episodes_episode WHERE agent_id = %s ORDER BY id DESC LIMIT %s) AS newest
"""


def _lags(cursor: CursorWrapper) -> dict[UUID, float | None]:
    """Return each agent's lag. One by one: of a named agent the planner knows whether its episodes are few."""
    found: dict[UUID, float | None] = {}
    for agent_id in Agent.objects.values_list("pk", flat=True):
        cursor.execute(_LAG, [agent_id, NEWEST])
        found[agent_id] = cursor.fetchone()[0]
    return found


_ENTER = """
INSERT INTO episodes_capturetally AS t (agent_id, recorded, captured, analyzed, pending, failed)
SELECT agent_id, n, 0, 0, 0, 0 FROM unnest(%s::uuid[], %s::bigint[]) AS fresh (agent_id, n)
ON CONFLICT (agent_id) DO UPDATE SET recorded = t.recorded + EXCLUDED.recorded
"""


def enter_captured(number_of: dict[UUID, int]) -> None:
    """Add what enters the record to the accounts, in the caller's transaction; agents in one order, so none deadlocks."""
    agent_ids = sorted(number_of)
    with connection.cursor() as cursor:
        cursor.execute(_ENTER, [agent_ids, [number_of[agent_id] for agent_id in agent_ids]])


def tallies(actor: Actor) -> list[CaptureTally]:
    """Return the last account of every agent the actor may see, most episodes first."""
    return list(CaptureTally.objects.visible_to(actor).select_related("agent").order_by("-captured", "agent"))


def reasons(actor: Actor, *, limit: int = 20) -> list[Reason]:
    """Return why analysis failed, the most frequent reason first."""
    rows = Episode.objects.visible_to(actor).not_analyzed().values("agent_id", "analysis_error")
    counted = rows.annotate(number=Count("pk")).order_by("-number")[:limit]
    return [Reason(row["agent_id"], row["analysis_error"], row["number"]) for row in counted]
