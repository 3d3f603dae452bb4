"""The one door to RQ: declare a job, enqueue it, run it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any
from uuid import UUID

import django_rq
from django.db import DatabaseError, IntegrityError, close_old_connections, connection, transaction
from django.utils.module_loading import import_string
from redis import Redis
from redis.exceptions import RedisError
from rq.exceptions import DuplicateJobError

from accounts.acting import MACHINE, Actor, acting, current
from accounts.exceptions import DomainError, without_values
from accounts.ids import uuid7
from jobs.models import Task

__all__ = ["Job", "enqueue", "job", "others_wait", "ring", "run_task"]

logger = logging.getLogger("jobs")

MAX_ATTEMPTS = 5
LEASE_S = 20.0
# The name and key of the task this thread runs.
_running: ContextVar[tuple[str, str]] = ContextVar("running", default=("", ""))


@dataclass(frozen=True)
class Job:
    """A function that a worker may run: queue and timeout are said where it is defined."""

    function: Callable[..., None]
    queue: str
    timeout_s: int
    is_urgent: bool = False

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__name__}"

    def __call__(self, *arguments: Any) -> None:
        self.function(*arguments)


def job(
    *, queue: str = "default", timeout_s: int = 300, is_urgent: bool = False
) -> Callable[[Callable[..., None]], Job]:
    """Declare a job. Its arguments are ids and plain JSON; its docstring says why a repeat is harmless.

    An urgent job is rung at the front of its queue.
    """

    def declare(function: Callable[..., None]) -> Job:
        return Job(function=function, queue=queue, timeout_s=timeout_s, is_urgent=is_urgent)

    return declare


def enqueue(what: Job, *arguments: Any, key: str = "") -> None:
    """Write down that `what` must run, in the caller's transaction, and ring the worker after its commit.

    With a `key`, a second call while the first still waits adds no task; the one that waits runs after this
    transaction too. Losing Redis loses nothing: the reconciler rings again. A job that puts itself down again is rung
    when it ends, behind everybody else: a worker that came before would find it held.
    """
    now = current()
    task = Task(
        id=uuid7(),
        name=what.name,
        key=key,
        arguments=list(arguments),
        queue=what.queue,
        actor=_actor_as_json(now.actor),
        reason=now.reason,
        request_id=now.request_id,
    ).put_down()
    if not key or _running.get() != (what.name, key):
        transaction.on_commit(partial(ring, task.pk, what, task.attempts), robust=True)


def others_wait(what: Job, *, key: str) -> bool:
    """Return whether another task of the job's queue is due: one that plays long then ends its turn and queues anew."""
    return Task.objects.due().filter(queue=what.queue).exclude(name=what.name, key=key).exists()


def ring(task_id: UUID, what: Job, attempt: int, *, again: int = 0) -> None:
    """Tell a worker that a task waits. Never raises: the row is the truth, the reconciler repeats lost rings."""
    try:
        django_rq.get_queue(what.queue, commit_mode="auto", connection=_bell()).enqueue(
            "jobs.tasks.run_task",
            str(task_id),
            # The id makes ringing twice one ring: a busy queue is not flooded by the reconciler.
            job_id=f"task-{task_id}-{attempt}-{again}",
            unique=True,
            at_front=what.is_urgent,
            job_timeout=what.timeout_s + 10,
            result_ttl=0,
            failure_ttl=10,
        )
    except DuplicateJobError:
        logger.debug("task.rung_already", extra={"task": str(task_id)})
    except RedisError as error:
        logger.warning("task.ring_lost", extra={"task": str(task_id), "error": type(error).__name__})


@cache
def _bell() -> Redis:
    """Return this process's client. Each client has connections of its own, and the server takes only so many."""
    return django_rq.get_connection()


def run_task(task_id: str) -> None:
    """Claim the task and run its job as the actor who asked for it. Running a finished task does nothing.

    A refusal of the domain ends the task with its sentence; a crash puts it back, later each time, up to
    `MAX_ATTEMPTS`.
    """
    close_old_connections()  # a worker outlives its connections, which die with every restart of PostgreSQL
    task = Task.objects.filter(pk=task_id).first()
    if task is None or not _claim(task):
        return
    what: Job = import_string(task.name)
    running = _running.set((task.name, task.key))
    try:
        with _heartbeat(task), acting(_actor_from_json(task.actor), reason=task.reason, request_id=task.request_id):
            what(*task.arguments)
    except DomainError as refusal:
        logger.info("task.refused", extra={"task": str(task), "refusal": str(refusal)})
        task.finish(error=f"refused: {refusal}")
    except Exception as error:  # the job runner is the edge where every crash is caught
        logger.exception("task.crashed", extra={"task": str(task)})
        if connection.needs_rollback or not connection.is_usable():
            connection.close()
        _after_crash(task, error)
    else:
        task.finish()
    finally:
        _running.reset(running)
    if task.key:
        _ring_next(task)


def _claim(task: Task) -> bool:
    try:
        with transaction.atomic():
            return task.claim(LEASE_S)
    except IntegrityError:  # another worker claimed a task with the same key in the same moment
        return False


def _after_crash(task: Task, error: Exception) -> None:
    sentence = f"{type(error).__name__}: {without_values(error)}"[:2_000]
    if task.attempts >= MAX_ATTEMPTS:
        task.finish(error=sentence)
    else:
        task.put_back(error=sentence, after_s=2.0**task.attempts)


def _ring_next(task: Task) -> None:
    waiting = Task.objects.due().filter(name=task.name, key=task.key).first()
    if waiting:
        ring(waiting.pk, import_string(waiting.name), waiting.attempts)


@contextmanager
def _heartbeat(task: Task) -> Iterator[None]:
    """Renew the lease from a thread of its own while the job runs; a killed process simply stops renewing."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(LEASE_S / 3):
            try:
                if not task.renew(LEASE_S):
                    return
            except DatabaseError:
                close_old_connections()
        connection.close()

    thread = threading.Thread(target=beat, name=f"lease-{task.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _actor_as_json(actor: Actor) -> dict[str, Any]:
    plain = {name: str(value) if isinstance(value, UUID) else value for name, value in asdict(actor).items()}
    plain["scopes"] = sorted(actor.scopes) if actor.scopes is not None else None
    return plain


def _actor_from_json(plain: dict[str, Any]) -> Actor:
    if not plain:
        return MACHINE
    ids = {name: UUID(plain[name]) if plain[name] else None for name in ("user_id", "key_id", "agent_id")}
    scopes = None if plain["scopes"] is None else frozenset(plain["scopes"])
    return Actor(kind=plain["kind"], name=plain["name"], scopes=scopes, is_simulated=plain["is_simulated"], **ids)
