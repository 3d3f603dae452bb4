"""Reads captured episodes for the signals that need no model, so that these do not wait for the encoder."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from accounts.ids import first_uuid7_at
from episodes.detectors import handoff, loop, tool_error
from episodes.detectors.readings import Found, StepReading
from episodes.models import CaptureTally, Episode, Signal

__all__ = ["agents_to_read", "detect_captured", "in_steps", "signals_of"]

DETECTOR_VERSION = "rules-1"
_BATCH = 1_000
# An id is drawn before its row is there. Rows that take longer than this are read when they are understood.
_SETTLING = timedelta(seconds=2)


def in_steps(steps: Sequence[StepReading], output: Any) -> list[Found]:
    """Return what the steps of an episode and its output's own word show."""
    says_handoff = isinstance(output, Mapping) and output.get("handoff") is True
    found = (tool_error.detect(steps), loop.detect(steps), handoff.detect(steps, says_handoff=says_handoff))
    return [one for one in found if one is not None]


def signals_of(episode_id: UUID, found: Sequence[Found]) -> list[Signal]:
    """Return the rows of detected facts, not yet saved."""
    return [
        Signal(
            episode_id=episode_id, kind=one.kind, layer=one.layer, evidence=one.evidence,
            detector=f"{one.kind}/{DETECTOR_VERSION}",
        )
        for one in found
    ]  # fmt: skip


def agents_to_read() -> list[UUID]:
    """Return the agents that captured episodes which nobody has read for signals."""
    with connection.cursor() as cursor:
        cursor.execute(_UNREAD, [_horizon()])
        return [agent_id for (agent_id,) in cursor.fetchall()]


_UNREAD = """
SELECT a.id FROM harness_agent a LEFT JOIN episodes_capturetally t ON t.agent_id = a.id
WHERE EXISTS (SELECT FROM episodes_episode e WHERE e.agent_id = a.id AND e.id < %s
              AND e.id > coalesce(t.signals_until, '00000000-0000-0000-0000-000000000000'))
"""


def detect_captured(agent_id: UUID, *, batch: int = _BATCH) -> int:
    """Read the agent's episodes since the last call for signals; return how many were read.

    Each batch is one transaction, which also moves `signals_until`, so a killed worker's batch is read again. What
    cannot be read is left to `understand_waiting`, which says why; it also reads again what was committed late.
    """
    total = 0
    until = CaptureTally.objects.filter(agent_id=agent_id).values_list("signals_until", flat=True).first()
    while keys := _read_batch(agent_id, until, batch):
        until = keys[-1]
        total += len(keys)
    return total


@transaction.atomic
def _read_batch(agent_id: UUID, after: UUID | None, batch: int) -> list[UUID]:
    rows = Episode.objects.filter(agent_id=agent_id, pk__lt=_horizon()).order_by("pk")
    rows = rows.filter(pk__gt=after) if after else rows
    keys: list[UUID] = []
    signals: list[Signal] = []
    # The output is asked, not loaded: it is often the largest part.
    for key, steps, says_handoff in rows.values_list("pk", "steps", F("output__handoff"))[:batch]:
        keys.append(key)
        if found := _found(steps, says_handoff):
            signals += signals_of(key, found)
    if keys:
        Signal.objects.bulk_create(signals, ignore_conflicts=True)
        with connection.cursor() as cursor:
            cursor.execute(_MOVE_ON, [agent_id, keys[-1]])
    return keys


_MOVE_ON = """
INSERT INTO episodes_capturetally AS t (agent_id, signals_until, recorded, captured, analyzed, pending, failed)
VALUES (%s, %s, 0, 0, 0, 0, 0)
ON CONFLICT (agent_id) DO UPDATE SET signals_until = greatest(t.signals_until, EXCLUDED.signals_until)
"""


def _found(steps: Any, says_handoff: Any) -> list[Found]:
    try:
        readings = [StepReading.from_stored(number, step) for number, step in enumerate(steps, start=1)]
        return in_steps(readings, {"handoff": says_handoff})
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return []


def _horizon() -> UUID:
    return first_uuid7_at(timezone.now() - _SETTLING)
