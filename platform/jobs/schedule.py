"""The schedule: RQ's cron rings, an advisory lock makes each tick run once, the database remembers it."""

import logging
import zlib
from datetime import timedelta

from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.acting import MACHINE, acting
from accounts.exceptions import without_values
from jobs.models import Beat

__all__ = ["beat_age_s", "run_scheduled"]

logger = logging.getLogger("jobs")


def run_scheduled(name: str) -> None:
    """Run the scheduled function `name` unless another process runs it right now or ran it within its interval."""
    interval_s = dict(settings.SCHEDULE)[name]
    # A worker outlives its connections: without this the clock would stand still after a restart of PostgreSQL.
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [0x5443, zlib.crc32(name.encode()) - 2**31])
        if not cursor.fetchone()[0]:
            return
    try:
        now = timezone.now()
        recent = now - timedelta(seconds=interval_s * 0.5)
        if Beat.objects.filter(name=name, started_at__gt=recent).exists():
            return
        Beat.objects.update_or_create(name=name, defaults={"started_at": now})
        error = _run(name)
        Beat.objects.filter(name=name).update(finished_at=timezone.now(), last_error=error)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [0x5443, zlib.crc32(name.encode()) - 2**31])


def _run(name: str) -> str:
    try:
        with acting(MACHINE, reason=f"scheduled {name}", request_id=""):
            import_string(name)()
    except Exception as error:  # one failing tick must not stop the clock
        logger.exception("schedule.failed", extra={"job": name})
        if transaction.get_connection().needs_rollback:
            connection.close()
        return f"{type(error).__name__}: {without_values(error)}"[:2_000]
    return ""


def beat_age_s(name: str) -> float | None:
    """Return the seconds since `name` last finished; `None` when it never did."""
    beat = Beat.objects.filter(name=name, finished_at__isnull=False).first()
    return (timezone.now() - beat.finished_at).total_seconds() if beat and beat.finished_at else None
