"""`record()`: write down an act in the transaction of the act itself."""

from typing import Any
from uuid import UUID

from django.db import models

from accounts.acting import Actor, current
from audit.models import Event

__all__ = ["record", "reference"]


def reference(instance: models.Model) -> str:
    """Return how the record names a row: `app.model:key`. A string, because the record outlives rows."""
    return f"{instance._meta.label_lower}:{instance.pk}"


def record(
    action: str,
    object_ref: str | models.Model,
    *,
    digest: str = "",
    actor: Actor | None = None,
    reason: str | None = None,
    team_id: UUID | None = None,
    facts: dict[str, Any] | None = None,
) -> Event:
    """Insert one event; actor, reason and request id come from `accounts.acting` unless given.

    `facts` are plain JSON without personal text. Runs in the caller's transaction: no act without its event.
    """
    acting = current()
    actor = actor or acting.actor
    ref = object_ref if isinstance(object_ref, str) else reference(object_ref)
    return Event.objects.create(
        actor=actor.name,
        actor_kind=actor.kind,
        actor_user_id=actor.user_id,
        action=action,
        object_ref=ref,
        team_id=team_id,
        agent_id=None if isinstance(object_ref, str) else _agent_of(object_ref),
        digest=digest,
        reason=acting.reason if reason is None else reason,
        request_id=acting.request_id,
        facts=facts or {},
    )


def _agent_of(row: Any) -> UUID | None:
    """Return the agent a row belongs to, as its class says (`AGENT_PATH`, else `agent`); `None` for rows of no agent."""
    *path, last = str(getattr(type(row), "AGENT_PATH", "agent")).split("__")
    for name in path:
        row = getattr(row, name, None)
    found = getattr(row, last if last == "pk" else f"{last}_id", None)
    return found if isinstance(found, UUID) else None
