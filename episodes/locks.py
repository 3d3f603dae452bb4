"""Locks of the database by name, for rows that do not exist yet."""

import zlib
from uuid import UUID

from django.db import connection

__all__ = ["lock_patterns", "lock_understanding"]

_UNDERSTANDING = 0x4550_0001
_PATTERNS = 0x4550_0002


def lock_understanding(agent_id: UUID) -> None:
    """Let one worker at a time compare an agent's new conversations, until the transaction ends."""
    _lock(_UNDERSTANDING, agent_id)


def lock_patterns(agent_id: UUID) -> None:
    """Let one worker at a time look for, and perhaps start, a pattern of an agent, until the transaction ends."""
    _lock(_PATTERNS, agent_id)


def _lock(space: int, agent_id: UUID) -> None:
    # Two agents may share a number; then they wait for each other and nothing worse.
    number = zlib.crc32(agent_id.bytes) - 2**31
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [space, number])
