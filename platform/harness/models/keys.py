"""The keys to agents, and to what their owners may do."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Self

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.access import Scope, require
from accounts.acting import Actor, acting
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from accounts.roles import AGENT_KEY_SCOPES, Permission
from audit.record import record
from harness.exceptions import InvalidKeyError
from harness.models.agents import Agent, Revision
from harness.querysets import OfAgentQuerySet

__all__ = ["ApiKey"]

_PREFIX = re.compile("[0-9a-f]{12}")


class ApiKeyQuerySet(OfAgentQuerySet):
    def live(self) -> Self:
        return self.filter(revoked_at__isnull=True).filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
        )

    def visible_to(self, actor: Actor) -> Self:
        """Return the keys of visible agents and a person's own; an agent's key does not see its owner's."""
        if actor.is_machine:
            return self
        if actor.agent_id is not None:
            return self.filter(agent_id=actor.agent_id)
        return self.filter(Q(agent__in=Agent.objects.visible_to(actor)) | Q(owner_id=actor.user_id))


class ApiKey(models.Model):
    """A key of an agent or of a person: shown once, stored as a digest, scoped, expiring, revocable."""

    class Kind(models.TextChoices):
        AGENT = "agent", "Agent"
        PERSON = "person", "Person"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.CharField(max_length=120)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_keys")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, null=True, blank=True, related_name="api_keys")
    scopes = models.JSONField(default=list)
    prefix = models.CharField(max_length=12, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ApiKeyQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["digest", "last_used_at"])

    class Meta:
        verbose_name = "API key"
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(kind="agent", agent__isnull=False) | Q(kind="person", agent__isnull=True),
                name="key_kind_fits",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(
        cls, *, kind: str, name: str, owner: User, by: Actor, agent: Agent | None = None,
        scopes: Iterable[str] = (), expires_at: datetime | None = None,
    ) -> tuple["ApiKey", str]:  # fmt: skip
        """Make a key and return it with its secret, which is never readable again."""
        scopes = sorted(set(scopes))
        allowed = AGENT_KEY_SCOPES if kind == cls.Kind.AGENT else frozenset(Permission)
        unknown = [scope for scope in scopes if scope not in allowed]
        if unknown:
            raise InvalidKeyError(f"Unknown scopes {unknown!r} for a key of kind {kind!r}; allowed: {sorted(allowed)}.")
        if (kind == cls.Kind.AGENT) != (agent is not None):
            raise InvalidKeyError("A key of kind 'agent' names its agent; a key of kind 'person' names none.")
        if agent is not None and not by.is_machine:
            require(by, Permission.MANAGE_ACCESS, agent.access_scope(), act=f"issue a key for {agent.slug!r}")
        if agent is None and not by.is_machine and (by.kind != "user" or by.user_id != owner.pk):
            # A key that could make keys would outgrow its scopes and outlive its end.
            raise InvalidKeyError("A person's key is issued by that person, signed in: keys do not make keys.")
        prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with transaction.atomic(), acting(by):
            key = cls(
                kind=kind, name=name, owner=owner, agent=agent, scopes=scopes, expires_at=expires_at,
                prefix=prefix, digest=cls.digest_of(secret),
            )  # fmt: skip
            key.save(force_insert=True)
            record("key.issue", key, team_id=agent.team_id if agent else None, facts={"scopes": scopes, "kind": kind})
        return key, f"wsk_{prefix}_{secret}"

    @staticmethod
    def digest_of(secret: str) -> str:
        """Return the keyed digest of a key's secret; the secret has 256 random bits, so one hash suffices."""
        return hmac.new(settings.SECRET_KEY.encode(), secret.encode(), hashlib.sha256).hexdigest()

    @classmethod
    def authenticate(cls, presented: str) -> "ApiKey | None":
        """Return the live key behind `presented`, or `None`. Constant time in the secret."""
        head, _, rest = presented.partition("_")
        prefix, _, secret = rest.partition("_")
        if head != "wsk" or not _PREFIX.fullmatch(prefix) or not secret or len(presented) > 120:
            return None
        key = cls.objects.live().select_related("owner", "agent__policy").filter(prefix=prefix).first()
        if key is None or not key.owner.is_admitted or not hmac.compare_digest(key.digest, cls.digest_of(secret)):
            return None
        return key  # type: ignore[no-any-return]  # the queryset is generic over Any

    def as_actor(self) -> Actor:
        """Return this key as an actor: it counts as its owner, within its scopes and, for an agent's key, its agent."""
        return Actor(
            kind="key", name=f"{self.owner.username} via key {self.name}", user_id=self.owner_id, key_id=self.pk,
            agent_id=self.agent_id, scopes=frozenset(self.scopes), is_simulated=self.owner.is_simulated,
        )  # fmt: skip

    @transaction.atomic
    def revoke(self, *, by: Actor, reason: str) -> None:
        """End the key at once; revoking twice changes nothing."""
        self.refresh_from_db(from_queryset=ApiKey.objects.locked())
        if self.revoked_at is not None:
            return
        is_own = by.key_id == self.pk or (by.kind == "user" and by.user_id == self.owner_id)
        if not is_own and not by.is_machine:
            scope = self.agent.access_scope() if self.agent else Scope(team_id=None)
            require(by, Permission.MANAGE_ACCESS, scope, act=f"revoke key {self.name!r}")
        self.revoked_at = timezone.now()
        with acting(by, reason=reason):
            self.save(update_fields=["revoked_at"])
            record("key.revoke", self, team_id=self.agent.team_id if self.agent else None)
        Revision.bump()
