"""May this actor do this here? One answer for admin, API, jobs and shell."""

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q

from accounts.acting import Actor
from accounts.exceptions import NotPermittedError
from accounts.models import Membership
from accounts.roles import Permission, roles_with

__all__ = ["Scope", "can", "has_anywhere", "require"]


@dataclass(frozen=True)
class Scope:
    """Where an act happens: one agent of one team."""

    team_id: UUID | None
    agent_id: UUID | None = None


def can(actor: Actor, permission: Permission, scope: Scope) -> bool:
    """Return whether `actor` holds `permission` in `scope`. Superusers get no exemption; the machine holds none."""
    if actor.user_id is None or actor.agent_id is not None or scope.team_id is None:
        return False
    if actor.scopes is not None and permission.value not in actor.scopes:
        return False
    where = (
        Q(agent_id__isnull=True) if scope.agent_id is None else Q(agent_id__isnull=True) | Q(agent_id=scope.agent_id)
    )
    return Membership.objects.of(actor).granting(permission).filter(where, team_id=scope.team_id).exists()


def has_anywhere(actor: Actor, permission: Permission) -> bool:
    """Return whether `actor` holds `permission` in at least one team; decides what a page offers, never what it does."""
    if actor.scopes is not None and permission.value not in actor.scopes:
        return False
    return Membership.objects.of(actor).granting(permission).exists()


def require(actor: Actor, permission: Permission, scope: Scope, *, act: str) -> None:
    """Raise `NotPermittedError` unless `actor` holds `permission` in `scope`."""
    if not can(actor, permission, scope):
        holders = ", ".join(role.label.lower() for role in roles_with(permission))
        raise NotPermittedError(
            f"{actor.name} may not {act} here: it needs the permission {permission.value!r}, "
            f"which these roles carry: {holders}. Ask an administrator of the team."
        )
