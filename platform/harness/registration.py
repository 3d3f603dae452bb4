"""Agents come in and are described anew: the acts on an agent that are neither a version nor a policy."""

from django.db import transaction

from accounts.access import Scope, can, require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError, NotPermittedError
from accounts.models import Team, User
from accounts.roles import Permission
from audit.record import record
from harness.models import Agent, Revision

__all__ = ["SlugTakenError", "add_agent", "describe_agent"]


class SlugTakenError(DomainError):
    """Slugs are unique in the whole installation."""

    code = "slug_taken"


@transaction.atomic
def add_agent(
    *,
    team: Team,
    slug: str,
    name: str,
    by: Actor,
    reason: str,
    purpose: str = "",
    runner: str = Agent.Runner.HTTP,
    endpoint: str = "",
) -> Agent:
    """Add an agent to a team; it serves nothing until it is bootstrapped. The actor becomes its owner."""
    if not can(by, Permission.MANAGE_AGENT, Scope(team_id=team.pk)):
        raise NotPermittedError(f"{by.name} may not add an agent to {team}: ask its administrator.")
    if Agent.objects.filter(slug=slug).exists():
        raise SlugTakenError(f"{slug!r} is taken: slugs are unique in the whole installation. Choose another.")
    with acting(by, reason=reason):
        owner = User.objects.get(pk=by.user_id)
        agent = Agent(team=team, slug=slug, name=name, purpose=purpose, runner=runner, endpoint=endpoint, owner=owner)
        agent.save(force_insert=True)
        record("agent.add", agent, team_id=team.pk)
    Revision.bump()
    return agent


@transaction.atomic
def describe_agent(
    agent: Agent,
    *,
    by: Actor,
    reason: str,
    name: str | None = None,
    purpose: str | None = None,
    runner: str | None = None,
    endpoint: str | None = None,
) -> None:
    """Set what an agent is called, what it is for and who plays it where; `None` leaves a field as it is.

    An empty endpoint takes an agent that answers over HTTP out of validation. The record names the fields, the history keeps their values.
    """
    agent.refresh_from_db(from_queryset=Agent.objects.locked())
    require(by, Permission.MANAGE_AGENT, agent.access_scope(), act=f"describe agent {agent.slug!r}")
    given = {"name": name, "purpose": purpose, "runner": runner, "endpoint": endpoint}
    changed = [field for field, value in given.items() if value is not None and value != getattr(agent, field)]
    if not changed:
        return
    for field in changed:
        setattr(agent, field, given[field])
    with acting(by, reason=reason):
        agent.save(update_fields=changed)
        record("agent.change", agent, team_id=agent.team_id, facts={"fields": changed})
