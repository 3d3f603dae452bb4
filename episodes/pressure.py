"""Keeps capture from taking every thread of a web process: serving harnesses must go on whatever is reported."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from accounts.exceptions import DomainError

__all__ = ["BusyError", "admitted"]

_places = threading.BoundedSemaphore(settings.CAPTURE_PLACES)


class BusyError(DomainError):
    """More is being reported than one web process takes at a time."""

    code = "busy"
    http_status = 429
    retry_after_s = 1


@contextmanager
def admitted() -> Iterator[None]:
    """Hold one of the places for capture while the block runs; raise `BusyError` when all are taken."""
    if not _places.acquire(blocking=False):
        raise BusyError("More is being reported than fits at a time. Send again in a second; nothing of this was kept.")
    try:
        yield
    finally:
        _places.release()
