"""Who was served what: noted in memory while serving, written within a second, each once."""

import atexit
import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts.ids import uuid7
from releases.models import Exposure

__all__ = ["Served", "flush", "note"]

logger = logging.getLogger("releases")

_FLUSH_S = 0.5
_REMEMBERED = 200_000
_WAITING_AT_MOST = 100_000
_PER_INSERT = 1_000


@dataclass(frozen=True, slots=True)
class Served:
    """One draw: the release, its stage, the arm and the canary's planned share at that moment."""

    release: str
    stage: int
    arm: str
    weight: float


@dataclass
class _Buffer:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: dict[tuple[str, str, int], tuple[Served, datetime]] = field(default_factory=dict)
    known: OrderedDict[tuple[str, str, int], None] = field(default_factory=OrderedDict)
    writing: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None
    ring: threading.Event = field(default_factory=threading.Event)


_buffer = _Buffer()


def _start_over() -> None:
    """A forked child writes its own exposures only; the parent's are the parent's to write."""
    global _buffer  # noqa: PLW0603  # one buffer per process is the point
    _buffer = _Buffer()


os.register_at_fork(after_in_child=_start_over)


def note(subject: str, served: Served) -> None:
    """Remember that `subject` was served; a second time in the same stage costs one dictionary look-up."""
    buffer, key = _buffer, (served.release, subject, served.stage)
    with buffer.lock:
        if key in buffer.known:
            return
        if len(buffer.waiting) >= _WAITING_AT_MOST:
            logger.error("exposures.dropped", extra={"waiting": len(buffer.waiting)})
            return
        buffer.known[key] = None
        if len(buffer.known) > _REMEMBERED:
            buffer.known.popitem(last=False)
        buffer.waiting[key] = (served, timezone.now())
    if settings.SERVING_LISTENS:
        _wake(buffer)


def flush() -> int:
    """Write what waits and return how many were handed over; keep it when the database is silent.

    The table has each (release, subject, stage) once, so that handing one over twice is harmless.
    """
    buffer = _buffer
    with buffer.writing:
        with buffer.lock:
            batch = list(buffer.waiting.items())
        rows = [
            Exposure(id=uuid7(), release_id=UUID(release), subject=subject, stage=stage, arm=served.arm,
                     weight=served.weight, served_at=at)
            for (release, subject, stage), (served, at) in batch
        ]  # fmt: skip
        if rows:
            Exposure.objects.bulk_create(rows, ignore_conflicts=True, batch_size=_PER_INSERT)
        with buffer.lock:
            for key, _ in batch:
                buffer.waiting.pop(key, None)
    return len(rows)


def _wake(buffer: _Buffer) -> None:
    if buffer.thread is None or not buffer.thread.is_alive():
        with buffer.lock:
            if buffer.thread is None or not buffer.thread.is_alive():
                buffer.thread = threading.Thread(target=_write_on, args=(buffer,), name="exposures", daemon=True)
                buffer.thread.start()
                atexit.register(_flush_at_exit)
    buffer.ring.set()


def _write_on(buffer: _Buffer) -> None:
    while True:
        buffer.ring.wait()
        buffer.ring.clear()
        threading.Event().wait(_FLUSH_S)
        try:
            flush()
        except DatabaseError as error:
            logger.warning("exposures.waiting", extra={"error": type(error).__name__, "waiting": len(buffer.waiting)})
            buffer.ring.set()
        finally:
            connection.close()


def _flush_at_exit() -> None:
    try:
        flush()
    except DatabaseError as error:
        logger.warning("exposures.lost", extra={"error": type(error).__name__})
