"""The append-only record: events as they happen, seals that put them in one unbroken order."""

from datetime import UTC
from typing import Any, Self

from django.db import models
from django.db.models.functions import Now

from accounts.acting import Actor
from accounts.ids import uuid7
from accounts.models import Membership, MembershipQuerySet
from accounts.roles import Permission

__all__ = ["Event", "Seal"]


class EventQuerySet(models.QuerySet["Event"]):
    def unsealed(self) -> Self:
        return self.filter(seal__isnull=True)

    def about(self, object_ref: str) -> Self:
        return self.filter(object_ref=object_ref)

    def visible_to(self, actor: Actor) -> Self:
        """Return the events of the teams whose members `actor` is, or of the single agents they were let in to.

        Events of no team need the permission to read all.
        """
        if actor.is_machine:
            return self
        return self._within(Membership.objects.of(actor))

    def listed_for(self, actor: Actor) -> Self:
        """Return the events of those teams and agents whose whole record `actor` may read, as auditors may."""
        return self._within(Membership.objects.of(actor).granting(Permission.READ_AUDIT))

    def _within(self, memberships: MembershipQuerySet) -> Self:
        whole_teams = memberships.filter(agent_id__isnull=True)
        let_in = memberships.filter(agent_id=models.OuterRef("agent_id"), team_id=models.OuterRef("team_id"))
        seen = models.Q(team_id__in=whole_teams.values("team_id")) | models.Q(models.Exists(let_in))
        if whole_teams.granting(Permission.READ_AUDIT).exists():
            seen |= models.Q(team_id__isnull=True)
        return self.filter(seen)


class Event(models.Model):
    """One act: who did what to which object, with which digest, for what reason."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(db_default=Now(), editable=False)
    actor = models.CharField(max_length=200)
    actor_kind = models.CharField(max_length=10)
    actor_user_id = models.UUIDField(null=True)
    action = models.CharField(max_length=80)
    object_ref = models.CharField(max_length=120)
    team_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    digest = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    facts = models.JSONField(default=dict)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("object_ref", "id"), name="event_object"),
            models.Index(fields=("team_id", "-id"), name="event_team"),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.object_ref} by {self.actor}"

    def as_sealed(self) -> dict[str, Any]:
        """Return the fields the chain commits to, as plain JSON.

        A field that came later is left out where it is empty, so that the hashes of older events still hold.
        """
        agent = {"agent_id": str(self.agent_id)} if self.agent_id else {}
        return agent | {
            "id": str(self.pk),
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": self.actor,
            "actor_kind": self.actor_kind,
            "actor_user_id": str(self.actor_user_id) if self.actor_user_id else None,
            "action": self.action,
            "object_ref": self.object_ref,
            "team_id": str(self.team_id) if self.team_id else None,
            "digest": self.digest,
            "reason": self.reason,
            "request_id": self.request_id,
            "facts": self.facts,
        }


class Seal(models.Model):
    """The place of one event in the chain: gap-free sequence number and hash over the previous hash and the event."""

    seq = models.BigIntegerField(primary_key=True, editable=False)
    event = models.OneToOneField(Event, on_delete=models.DO_NOTHING, related_name="seal", db_constraint=False)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)
    sealed_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("seq",)

    def __str__(self) -> str:
        return f"#{self.seq}"
