"""Two people are two only while neither can act as the other."""

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from accounts.access import Scope
from accounts.acting import Actor
from accounts.models import Membership
from accounts.roles import Permission
from audit.models import Event
from harness.exceptions import SelfApprovalError

__all__ = ["LOCKED_OUT_FOR", "refuse_dependent"]

# Whoever is locked out of their account by a password that somebody else set notices within a week.
LOCKED_OUT_FOR = timedelta(days=7)


def refuse_dependent(
    by: Actor,
    *,
    authors: Collection[UUID],
    drafted_at: datetime,
    permission: Permission,
    scope: Scope,
    act: str,
) -> None:
    """Raise `SelfApprovalError` where an author could be acting as the approver, or one person as both.

    That is: an author set the approver's password (up to a week before the draft, or since), or added the account or
    gave the role that approves since the draft; or one and the same person set the passwords of both.
    """
    if by.user_id is None or not authors:
        return
    since = drafted_at - LOCKED_OUT_FOR
    setters = _actors_on(authors, ("user.set_password",), since)
    held = [name for user_id, name in _actors_on({by.user_id}, ("user.set_password",), since) if user_id in
            {*authors, *(setter for setter, _ in setters)}]  # fmt: skip
    held += [name for user_id, name in setters if user_id == by.user_id]
    held += [name for user_id, name in _actors_on({by.user_id}, ("user.add",), drafted_at) if user_id in authors]
    if not held:
        held = _granters(by, authors, drafted_at, permission, scope)
    if held:
        raise SelfApprovalError(
            f"{by.name} cannot {act}: {held[0]} set a password, added the account or gave the role with which one "
            "person could be both author and approver here. Ask an approver whose account no author has touched."
        )


def _actors_on(users: Collection[UUID], actions: tuple[str, ...], since: datetime) -> list[tuple[UUID | None, str]]:
    """Return who did such a thing to one of these accounts, other than its own person."""
    found: list[tuple[UUID | None, str]] = []
    for user_id in users:
        events = Event.objects.about(f"accounts.user:{user_id}").filter(action__in=actions, at__gte=since)
        found += events.exclude(actor_user_id=user_id).values_list("actor_user_id", "actor")
    return found


def _granters(by: Actor, authors: Collection[UUID], since: datetime, permission: Permission, scope: Scope) -> list[str]:
    """Return who gave the permission, if nothing but recent gifts of the authors carries it."""
    if scope.team_id is None:
        return []
    where = Q(agent_id__isnull=True) | Q(agent_id=scope.agent_id)
    carrying = Membership.objects.of(by).granting(permission).filter(where, team_id=scope.team_id)
    ids = set(carrying.values_list("pk", flat=True))
    gifts = Membership.history.filter(
        id__in=ids, history_type="+", history_date__gte=since, history_user_id__in=authors
    ).values_list("id", "history_actor")
    return [name for _, name in gifts] if ids and ids == {pk for pk, _ in gifts} else []
