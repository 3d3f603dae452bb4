"""Jobs of proposals."""

from accounts.acting import MACHINE
from episodes.models import Pattern
from harness.models import Agent
from jobs.tasks import enqueue, job
from proposals.drafters import draft_for_agent, draft_for_pattern

__all__ = ["draft_everywhere", "draft_proposals", "draft_proposals_for_pattern"]


@job(queue="default", timeout_s=120)
def draft_proposals(agent_id: str) -> None:
    """Draft for every open pattern of an agent. A repeat finds pending proposals and writes nothing."""
    draft_for_agent(Agent.objects.get(pk=agent_id), by=MACHINE)


@job(queue="default", timeout_s=120)
def draft_proposals_for_pattern(pattern_id: str) -> None:
    """Draft for one pattern. A repeat finds the pending proposal and writes nothing."""
    draft_for_pattern(Pattern.objects.get(pk=pattern_id), by=MACHINE)


def draft_everywhere() -> None:
    """Ask for drafts at every agent that is not frozen; one waiting task per agent at most."""
    for agent_id in Agent.objects.filter(frozen_at__isnull=True, stable__isnull=False).values_list("pk", flat=True):
        enqueue(draft_proposals, str(agent_id), key=str(agent_id))
