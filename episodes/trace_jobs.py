"""Jobs of traces: making episodes of those that have fallen quiet. Couriers only."""

from episodes.assembling import assemble_due
from episodes.models import Trace
from jobs.tasks import enqueue, job

__all__ = ["assemble", "assemble_traces"]


@job(queue="default", timeout_s=600)
def assemble() -> None:
    """Make episodes of quiet traces. A repeat finds none due; a killed batch is due again."""
    assemble_due()


def assemble_traces() -> None:
    """Ask for the assembling of traces that have become due; one task, however many are."""
    if Trace.objects.due().exists():
        enqueue(assemble, key="all")
