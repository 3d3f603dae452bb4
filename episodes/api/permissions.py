"""Who may speak to the addresses of episodes at all; what exactly they may do is decided by the domain."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.roles import Permission
from harness.authentication import actor_of

__all__ = ["IsAgentWriting", "MayRead", "MayReport"]


class MayRead(BasePermission):
    """People, and their keys with the scope `view`. An agent's key writes what happened and reads none of it back."""

    message = "An agent's key cannot read episodes: use a person's key with the scope 'view'."

    def has_permission(self, request: Request, view: Any) -> bool:  # DRF's signature
        actor = actor_of(request)
        is_person = actor.user_id is not None and actor.agent_id is None
        return is_person and (actor.scopes is None or Permission.VIEW.value in actor.scopes)


class IsAgentWriting(BasePermission):
    """An agent's own key with the scope `episode:write`."""

    message = "Only an agent's key with the scope 'episode:write' reports episodes."

    def has_permission(self, request: Request, view: Any) -> bool:  # DRF's signature
        actor = actor_of(request)
        return actor.agent_id is not None and "episode:write" in (actor.scopes or ())


class MayReport(BasePermission):
    """Anybody known: the domain asks for the role or the scope that the act needs."""

    def has_permission(self, request: Request, view: Any) -> bool:  # DRF's signature
        return actor_of(request).kind != "nobody"
