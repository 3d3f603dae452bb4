"""Questions about many agents, versions, keys and changes."""

from collections.abc import Iterable
from typing import Any, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q

from accounts.acting import Actor
from accounts.history import GovernedQuerySet
from accounts.models import Membership

__all__ = ["AgentQuerySet", "OfAgentQuerySet", "PlainOfAgentQuerySet", "within"]


class AgentQuerySet(GovernedQuerySet[Any]):
    def visible_to(self, actor: Actor) -> Self:
        """Return the agents of the actor's teams, the single agents they were let in to, or a key's own agent."""
        if actor.is_machine:
            return self
        if actor.agent_id is not None:
            return self.filter(pk=actor.agent_id)
        memberships = Membership.objects.of(actor)
        whole_teams = memberships.filter(agent_id__isnull=True).values("team_id")
        # A membership reaches an agent of its own team only, whatever id was typed into it.
        let_in = memberships.filter(agent_id=OuterRef("pk"), team_id=OuterRef("team_id"))
        return self.filter(Q(team_id__in=whole_teams) | Exists(let_in))


def within(actor: Actor, path: str) -> Q:
    """Return the condition that the agent at lookup `path` is visible to `actor`."""
    from harness.models import Agent  # noqa: PLC0415  # models import this module

    if actor.is_machine:
        return Q()
    return Q(**{f"{path}__in": Agent.objects.visible_to(actor)})


class _ByAgent(models.QuerySet[Any]):
    """`visible_to` for rows that reach their agent at `AGENT_PATH` of their model (default: `agent`)."""

    def visible_to(self, actor: Actor) -> Self:
        return self.filter(within(actor, self._agent_path))

    def of_agents(self, agents: Iterable[Any]) -> Self:
        """Return the rows of the agents with these keys: what `visible_to` returns to whoever sees just them."""
        return self.filter(**{f"{self._agent_path}__in": agents})

    @property
    def _agent_path(self) -> str:
        return getattr(self.model, "AGENT_PATH", "agent")


class OfAgentQuerySet(_ByAgent, GovernedQuerySet[Any]):
    """Governed rows of an agent: visible with it, refusing bulk writes."""


class PlainOfAgentQuerySet(_ByAgent):
    """Facts of an agent: visible with it, written in bulk."""
