"""What serving knows, held in this process: read again whenever the revision moved, kept when the database is silent.

A thread listens for the revision's notice and polls once a second beside it; requests never wait for it. Where the
thread is dead or not wanted, a request that finds the snapshot unconfirmed for too long confirms it itself.
"""

import contextlib
import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import DatabaseError, connection

from harness.models import Agent, HarnessVersion, Revision
from releases.exceptions import UnavailableError
from releases.models import Release, UserState

__all__ = ["AgentView", "Ramp", "Snapshot", "Version", "current", "is_unavailable", "refresh", "stop"]

logger = logging.getLogger("releases")

_KEPT_WITHDRAWN = 500


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable document: its number, digest and canonical bytes."""

    number: int
    digest: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Ramp:
    """A release as serving sees it: who is drawn by which salt at which weight into which version."""

    id: str
    salt: str
    stage: int
    weight: float
    baseline: Version
    version: Version


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent: its stable version, the live ramp, the newest open aftermath, and whose own layer must be asked for."""

    id: UUID
    slug: str
    stable: Version | None
    ramp: Ramp | None = None
    aftermath: Ramp | None = None
    withdrawn: frozenset[str] = frozenset()
    subjects: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything serving decides from, as of one revision."""

    revision: int
    agents: Mapping[str, AgentView]


@dataclass
class _Holder:
    """The state of this process."""

    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)
    snapshot: Snapshot | None = None
    confirmed_at: float = 0.0
    checked_at: float = 0.0
    failing: bool = False
    versions: dict[UUID, Version] = field(default_factory=dict)
    thread: threading.Thread | None = None
    stopping: threading.Event = field(default_factory=threading.Event)


_holder = _Holder()


def _start_over() -> None:
    """Give a forked child its own state: threads and held locks do not survive a fork."""
    global _holder  # noqa: PLW0603  # one holder per process is the point
    _holder = _Holder()


os.register_at_fork(after_in_child=_start_over)


def current() -> Snapshot:
    """Return the newest snapshot this process has; the last known one while the database is silent.

    Raises `UnavailableError` when nothing was ever read. Costs nothing but the first time and where the listener died.
    """
    holder = _holder
    poll_s = float(settings.SERVING_POLL_S)
    if settings.SERVING_LISTENS:
        _listen(holder)
        poll_s += 1.5
    if holder.snapshot is None or poll_s <= 0 or time.monotonic() - holder.checked_at > poll_s:
        _confirm(holder, anew=poll_s <= 0)
    if holder.snapshot is None:
        raise UnavailableError(
            "The database does not answer and no harness was read from it yet. Try again in a second."
        )
    return holder.snapshot


def refresh() -> Snapshot:
    """Read the snapshot anew, whatever the revision says, on the caller's connection."""
    holder = _holder
    with holder.lock:
        _read(holder, anew=True)
    assert holder.snapshot is not None  # read above, or it raised
    return holder.snapshot


def is_unavailable() -> tuple[bool, float]:
    """Return whether the database was silent when last asked, and the age in seconds of what is served."""
    holder = _holder
    return holder.failing, time.monotonic() - holder.confirmed_at


def stop() -> None:
    """End the listener of this process; the next `current` starts another where one is wanted."""
    holder = _holder
    holder.stopping.set()
    if holder.thread is not None:
        holder.thread.join(timeout=5)
    _start_over()


def _confirm(holder: _Holder, *, anew: bool = False) -> None:
    """Compare the revision and read again where it moved. One caller asks; the others go on with what there is."""
    if not holder.lock.acquire(blocking=holder.snapshot is None):
        return
    try:
        _read(holder, anew=anew)
    except (DatabaseError, psycopg.Error) as error:
        if not holder.failing:
            logger.warning("serving.unavailable", extra={"error": type(error).__name__})
        holder.failing, holder.checked_at = True, time.monotonic()
        if not connection.in_atomic_block:
            connection.close()
    finally:
        holder.lock.release()


def _read(holder: _Holder, *, anew: bool) -> None:
    # The number is read first: what changes while the rest is read moves it again, and is read at the next look.
    number = Revision.objects.filter(pk=1).values_list("number", flat=True).first() or 0
    if anew or holder.snapshot is None or holder.snapshot.revision != number:
        holder.snapshot = _load(number, holder.versions)
    holder.failing = False
    holder.confirmed_at = holder.checked_at = time.monotonic()


class _Row(NamedTuple):
    """A release that decides what users get, as it is stored."""

    agent: UUID
    pk: UUID
    salt: str
    step: int
    weight: float
    baseline: UUID
    version: UUID
    status: str


_COLUMNS = ("agent_id", "pk", "salt", "step", "weight", "baseline_id", "version_id", "status")


def _load(number: int, versions: dict[UUID, Version]) -> Snapshot:
    agents: list[tuple[UUID, str, UUID | None]] = [*Agent.objects.values_list("pk", "slug", "stable_id")]
    ramps = [_Row(*row) for row in Release.objects.watched().values_list(*_COLUMNS)]
    wanted = {stable for _, _, stable in agents if stable is not None}
    wanted |= {pk for row in ramps for pk in (row.baseline, row.version)}
    _read_versions(wanted, versions)
    withdrawn: dict[UUID, set[str]] = defaultdict(set)
    gone = Release.objects.filter(status__in=("rolling_back", "rolled_back")).order_by("-id")
    for agent_id, pk in gone.values_list("agent_id", "pk")[:_KEPT_WITHDRAWN]:
        withdrawn[agent_id].add(str(pk))
    subjects: dict[UUID, set[str]] = defaultdict(set)
    for agent_id, subject in UserState.objects.values_list("agent_id", "subject"):
        subjects[agent_id].add(subject)
    live: dict[UUID, Ramp] = {}
    watched: dict[UUID, Ramp] = {}
    stable_of = {pk: stable for pk, _, stable in agents}
    for row in ramps:
        ramp = Ramp(str(row.pk), row.salt, row.step, row.weight, versions[row.baseline], versions[row.version])
        if row.status != "promoted":
            live[row.agent] = ramp
        elif stable_of.get(row.agent) == row.version:
            # Only what made the stable version what it is can hold users out of it.
            watched[row.agent] = ramp
    views = {}
    for pk, slug, stable in agents:
        version = None if stable is None else versions.get(stable)
        mine = (frozenset(withdrawn[pk]), frozenset(subjects[pk]))
        views[slug] = AgentView(pk, slug, version, live.get(pk), watched.get(pk), *mine)
    return Snapshot(number, views)


def _read_versions(wanted: set[UUID], versions: dict[UUID, Version]) -> None:
    """Keep the versions that are wanted, reading those not read before: bodies never change."""
    for pk in versions.keys() - wanted:
        del versions[pk]
    rows = HarnessVersion.objects.filter(pk__in=wanted - versions.keys())
    for pk, number, digest, body in rows.values_list("pk", "number", "digest", "body"):
        versions[pk] = Version(number, digest, bytes(body))


def _listen(holder: _Holder) -> None:
    if holder.thread is not None and holder.thread.is_alive():
        return
    with holder.lock:
        if holder.thread is None or not holder.thread.is_alive():
            holder.thread = threading.Thread(target=_watch, args=(holder,), name="serving-revision", daemon=True)
            holder.thread.start()


def _watch(holder: _Holder) -> None:
    """Confirm the snapshot at every notice and at least once a second, on connections of this thread's own."""
    while not holder.stopping.is_set():
        try:
            with _notices() as listener:
                while not holder.stopping.is_set():
                    _confirm(holder)
                    # Several notices of one moment cost one reading.
                    for _ in listener.notifies(timeout=float(settings.SERVING_POLL_S), stop_after=1):
                        pass
        except (DatabaseError, psycopg.Error):
            _confirm(holder)
            holder.stopping.wait(0.5)
        finally:
            connection.close()


@contextlib.contextmanager
def _notices() -> Iterator["psycopg.Connection[Any]"]:
    """Open a dedicated connection that hears the revision's notices."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("prepare_threshold", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters, autocommit=True) as listener:
        listener.execute(f"LISTEN {Revision.CHANNEL}")
        yield listener
