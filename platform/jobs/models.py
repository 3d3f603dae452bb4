"""What must happen, as rows. The queue only makes it happen sooner."""

import json
from datetime import timedelta
from typing import Self

from django.db import connection, models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.acting import Actor
from accounts.ids import uuid7
from accounts.models import User

__all__ = ["Beat", "Task", "is_operator"]


# Setting a column to itself takes the row's lock, which DO NOTHING would not: a ready row that is claimed and finished
# before the caller commits would swallow the call. The ORM cannot name a partial index as the conflict's target.
_PUT_DOWN = """
INSERT INTO jobs_task (id, name, key, arguments, queue, actor, reason, request_id, state, attempts, last_error)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'ready', 0, '')
ON CONFLICT (name, key) WHERE state = 'ready' AND NOT (key = '') DO UPDATE SET available_at = jobs_task.available_at
RETURNING id, attempts
"""


def is_operator(actor: Actor) -> bool:
    """Return whether `actor` is a superuser at the keyboard: whoever runs the installation sees its jobs."""
    return actor.kind == "user" and User.objects.filter(pk=actor.user_id, is_superuser=True, is_active=True).exists()


class BeatQuerySet(models.QuerySet["Beat"]):
    def visible_to(self, actor: Actor) -> Self:
        """Return every beat to whoever is signed in: names of jobs and times. Their errors are for operators."""
        return self.none() if actor.kind == "nobody" else self


class TaskQuerySet(models.QuerySet["Task"]):
    def due(self) -> Self:
        return self.filter(state=Task.State.READY, available_at__lte=timezone.now())

    def abandoned(self) -> Self:
        """Return claimed tasks whose worker stopped renewing its lease."""
        return self.filter(state=Task.State.CLAIMED, lease_until__lt=timezone.now())

    def unfinished(self) -> Self:
        return self.filter(state__in=(Task.State.READY, Task.State.CLAIMED))

    def visible_to(self, actor: Actor) -> Self:
        """Return every task for the machine and the installation's operators, none for others: tasks belong to no team."""
        return self if actor.is_machine or is_operator(actor) else self.none()


class Task(models.Model):
    """One thing to do: a job's dotted name, its plain arguments, and who holds it until when."""

    class State(models.TextChoices):
        READY = "ready", "Ready"
        CLAIMED = "claimed", "Claimed"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=120)
    key = models.CharField(
        max_length=160, blank=True, help_text="At most one ready and one claimed task per name and key."
    )
    arguments = models.JSONField(default=list)
    queue = models.CharField(max_length=20)

    state = models.CharField(max_length=10, choices=State.choices, default=State.READY)
    available_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)

    actor = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(
                fields=("name", "key"), condition=Q(state="ready") & ~Q(key=""), name="task_ready_once"
            ),
            models.UniqueConstraint(
                fields=("name", "key"), condition=Q(state="claimed") & ~Q(key=""), name="task_claimed_once"
            ),
        )
        indexes = (
            models.Index(fields=("available_at",), condition=Q(state="ready"), name="task_ready"),
            models.Index(fields=("lease_until",), condition=Q(state="claimed"), name="task_claimed"),
            models.Index(fields=("finished_at",), condition=Q(state="done"), name="task_done"),
        )

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"

    def put_down(self) -> "Task":
        """Write the task down and return it; where one with the same name and key is ready already, return that one.

        That row stays locked until the caller commits: whoever claims it waits, and then sees what the caller wrote.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                _PUT_DOWN,
                [self.pk, self.name, self.key, json.dumps(self.arguments), self.queue, json.dumps(self.actor),
                 self.reason, self.request_id],
            )  # fmt: skip
            self.pk, self.attempts = cursor.fetchone()
        return self

    def renew(self, lease_s: float) -> bool:
        """Extend the lease; `False` means somebody else holds the task by now."""
        return bool(self._held().update(lease_until=Now() + timedelta(seconds=lease_s)))

    def finish(self, *, error: str = "", if_abandoned: bool = False) -> None:
        """Close the task this worker still holds; a task taken over by another is left alone.

        `if_abandoned` is for whoever is not that worker: a lease renewed meanwhile keeps the task as it is.
        """
        held = self._held(if_abandoned=if_abandoned)
        state = self.State.FAILED if error else self.State.DONE
        held.update(state=state, finished_at=Now(), lease_until=None, last_error=error)

    def put_back(self, *, error: str, after_s: float, if_abandoned: bool = False) -> None:
        """Make the task ready again later, unless a newer one with the same key already waits."""
        held = self._held(if_abandoned=if_abandoned)
        if self.key and Task.objects.filter(name=self.name, key=self.key, state=self.State.READY).exists():
            held.update(state=self.State.DONE, finished_at=Now(), lease_until=None, last_error=error)
            return
        held.update(
            state=self.State.READY, available_at=Now() + timedelta(seconds=after_s), lease_until=None, last_error=error
        )

    def claim(self, lease_s: float) -> bool:
        """Take the task; `False` when it is not due or another worker holds it or one with the same key."""
        if self.key and Task.objects.filter(name=self.name, key=self.key, state=self.State.CLAIMED).exists():
            return False
        due = Task.objects.due().filter(pk=self.pk)
        taken = due.update(
            state=self.State.CLAIMED, attempts=F("attempts") + 1, lease_until=Now() + timedelta(seconds=lease_s)
        )
        if taken:
            self.refresh_from_db()
        return bool(taken)

    def _held(self, *, if_abandoned: bool = False) -> TaskQuerySet:
        held = Task.objects.filter(pk=self.pk, state=self.State.CLAIMED, attempts=self.attempts)
        return held.filter(lease_until__lt=Now()) if if_abandoned else held


class Beat(models.Model):
    """When a scheduled job last ran and how it ended; the age of the reconciler and of the guard are read here."""

    name = models.CharField(max_length=120, primary_key=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)

    objects = BeatQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
