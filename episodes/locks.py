"""Locks of the database by name, for rows that do not exist yet, and what to do where two wait for each other."""

import zlib
from collections.abc import Callable
from uuid import UUID

from django.db import IntegrityError, OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected, UniqueViolation

__all__ = ["in_one_piece", "lock_patterns", "lock_understanding"]

_TRIES = 5

_UNDERSTANDING = 0x4550_0001
_PATTERNS = 0x4550_0002


def in_one_piece[Result](work: Callable[[], Result]) -> Result:
    """Do the work in a transaction; begin again where another's wrote the same rows in the same moment.

    Where this is part of a transaction, its locks stay: then it is for the outermost to begin again after a deadlock.
    """
    again = UniqueViolation if connection.in_atomic_block else UniqueViolation | DeadlockDetected
    for tries_left in reversed(range(_TRIES)):
        try:
            with transaction.atomic():
                return work()
        except (IntegrityError, OperationalError) as error:
            if not tries_left or not isinstance(error.__cause__, again):
                raise
    raise AssertionError  # the last try returns or raises


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
