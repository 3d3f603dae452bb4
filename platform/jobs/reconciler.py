"""Finds work whose doorbell was lost or whose worker died, and rings again."""

from datetime import timedelta

from django.db.models.functions import Now
from django.utils import timezone
from django.utils.module_loading import import_string

from jobs.models import Task
from jobs.tasks import MAX_ATTEMPTS, ring

__all__ = ["forget_finished", "reconcile"]

RING_AFTER_S = 3.0


def reconcile(limit: int = 500) -> int:
    """Take back abandoned tasks and ring every task that has waited too long; return how many were touched.

    Ringing twice is harmless: the claim decides.
    """
    touched = 0
    for task in Task.objects.abandoned().order_by("lease_until")[:limit]:
        touched += 1
        if task.attempts >= MAX_ATTEMPTS:
            task.finish(error="its worker died on every attempt", if_abandoned=True)
        else:
            task.put_back(error="its worker died; the lease ran out", after_s=0, if_abandoned=True)
    patience = timezone.now() - timedelta(seconds=RING_AFTER_S)
    for task in Task.objects.due().filter(available_at__lt=patience).order_by("available_at")[:limit]:
        touched += 1
        # Once a minute under another name, in case a worker died between taking the ring and claiming the task.
        minutes = int((timezone.now() - task.available_at).total_seconds() // 60)
        ring(task.pk, import_string(task.name), task.attempts, again=minutes)
    return touched


def forget_finished(keep_s: float = 3_600) -> int:
    """Delete tasks that ended well long ago; failed ones stay until a person looks."""
    done = Task.objects.filter(state=Task.State.DONE, finished_at__lt=Now() - timedelta(seconds=keep_s))
    return done.delete()[0]
