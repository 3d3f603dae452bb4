"""What a promotion means for the proposals that were written before it."""

from django.db import transaction

from accounts.acting import MACHINE
from harness.models import Agent
from proposals.exceptions import BaseMovedError
from proposals.models import Proposal

__all__ = ["return_to_queue"]


def return_to_queue(agent: Agent, *, reason: str) -> tuple[int, int]:
    """Move every waiting proposal of `agent` onto its stable version, to be judged again; return (rebased, stale).

    A patch that conflicts with what was promoted becomes stale; its author decides what to do.
    """
    rebased = stale = 0
    waiting = Proposal.objects.filter(agent=agent, status__in=("submitted", "validated", "approved", "held"))
    for proposal in waiting.exclude(base_id=agent.stable_id).select_related("base", "agent"):
        try:
            with transaction.atomic():
                proposal.rebase(by=MACHINE, reason=reason)
            rebased += 1
        except BaseMovedError as conflict:
            proposal.mark_stale(by=MACHINE, reason=str(conflict))
            stale += 1
    return rebased, stale
