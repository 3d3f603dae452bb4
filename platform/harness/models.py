"""Agents, their versions, what they are optimized for, the limits they live under, and the keys to them."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now
from django.utils import timezone

from accounts.access import Scope, require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import Team, User
from accounts.roles import AGENT_KEY_SCOPES, Permission
from audit.record import record
from audit.transitions import Edge, Stateful
from harness.canonical import canonical_bytes, clean_json, digest_of, sha256_hex
from harness.documents import validate_document
from harness.exceptions import (
    AgentFrozenError,
    AlreadyBootstrappedError,
    InvalidKeyError,
    SelfApprovalError,
    StableMovedError,
)
from harness.objective import Objective
from harness.policy import Policy
from harness.querysets import AgentQuerySet, OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = ["Agent", "ApiKey", "Change", "HarnessVersion", "ObjectiveVersion", "PolicyVersion", "Revision"]


class Revision(models.Model):
    """A counter that moves with everything serving depends on, so that snapshots know when they are old."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    number = models.BigIntegerField(default=0)

    CHANNEL: ClassVar[str] = "whetstone_revision"

    def __str__(self) -> str:
        return str(self.number)

    @classmethod
    def bump(cls) -> None:
        """Move the counter in the caller's transaction; PostgreSQL tells listeners after its commit."""
        if not cls.objects.filter(pk=1).update(number=F("number") + 1):
            cls.objects.get_or_create(pk=1, defaults={"number": 1})
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {cls.CHANNEL}")


class Agent(models.Model):
    """The thing being improved."""

    class Level(models.IntegerChoices):
        CUSTOMER = 0, "A customer's agent"
        CRITIC = 1, "The platform's critic or proposer"
        JUDGE = 2, "The platform's judge"

    AGENT_PATH: ClassVar[str] = "pk"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="agents")
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    purpose = models.TextField(blank=True)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    level = models.PositiveSmallIntegerField(choices=Level.choices, default=Level.CUSTOMER)
    endpoint = models.URLField(
        blank=True, help_text="Where validation plays a harness: POST /turn of the agent's own service."
    )

    stable = models.ForeignKey(
        "HarnessVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    objective = models.ForeignKey(
        "ObjectiveVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    policy = models.ForeignKey(
        "PolicyVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    frozen_at = models.DateTimeField(null=True, blank=True, editable=False)
    frozen_reason = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = AgentQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    def access_scope(self) -> Scope:
        return Scope(team_id=self.team_id, agent_id=self.pk)

    def current_policy(self) -> Policy:
        """Return the policy in force; the shipped default where none was ever set."""
        return self.policy.as_policy() if self.policy else Policy()

    def current_objective(self) -> Objective:
        return self.objective.as_objective() if self.objective else Objective()

    def refuse_if_frozen(self) -> None:
        if self.frozen_at is not None:
            raise AgentFrozenError(
                f"Agent {self.slug!r} is frozen since {self.frozen_at:%Y-%m-%d %H:%M} UTC: {self.frozen_reason} "
                "Unfreeze it first; rollback stays possible."
            )

    @transaction.atomic
    def bootstrap(self, document: dict[str, Any], *, by: Actor, reason: str) -> "HarnessVersion":
        """Make version 1 from `document` and serve it as stable; the only version that no run judged."""
        self._lock()
        if self.stable_id is not None:
            raise AlreadyBootstrappedError(
                f"Agent {self.slug!r} already serves version {self.stable.number if self.stable else '?'}; "
                "further versions come from proposals."
            )
        if not by.is_machine:
            require(by, Permission.MANAGE_AGENT, self.access_scope(), act=f"bootstrap agent {self.slug!r}")
        version = HarnessVersion.create(agent=self, document=document, parent=None, by=by, note=reason)
        self._serve(version, by=by, reason=reason, action="agent.bootstrap", before=None)
        return version

    @transaction.atomic
    def set_stable(self, version: "HarnessVersion", *, expected: "HarnessVersion", by: Actor, reason: str) -> None:
        """Serve `version` as stable, provided that `expected` still is; called by releases, never by a page."""
        self._lock()
        if self.stable_id != expected.pk:
            raise StableMovedError(
                f"Agent {self.slug!r} serves {self.stable} by now, not {expected}: judge the change against that again."
            )
        self._serve(version, by=by, reason=reason, action="agent.set_stable", before=expected)

    @transaction.atomic
    def freeze(self, *, by: Actor, reason: str) -> None:
        """Stop every new release of this agent until a person lifts it. People on call and the machine may."""
        self._lock()
        if not by.is_machine:
            require(by, Permission.STOP_RELEASE, self.access_scope(), act=f"freeze agent {self.slug!r}")
        self._set("agent.freeze", by=by, reason=reason, frozen_at=timezone.now(), frozen_reason=reason)

    @transaction.atomic
    def unfreeze(self, *, by: Actor, reason: str) -> None:
        self._lock()
        require(by, Permission.RUN_RELEASE, self.access_scope(), act=f"unfreeze agent {self.slug!r}")
        self._set("agent.unfreeze", by=by, reason=reason, frozen_at=None, frozen_reason="")

    def _lock(self) -> None:
        self.refresh_from_db(from_queryset=Agent.objects.locked())

    def _set(self, action: str, *, by: Actor, reason: str, digest: str = "", facts: Any = None, **changes: Any) -> None:
        for field, value in changes.items():
            setattr(self, field, value)
        with acting(by, reason=reason):
            self.save(update_fields=list(changes))
            record(action, self, digest=digest, team_id=self.team_id, facts=facts)
        Revision.bump()

    def _serve(
        self, version: "HarnessVersion", *, by: Actor, reason: str, action: str, before: "HarnessVersion | None"
    ) -> None:
        facts = {"from": before.digest if before else None, "to": version.digest, "version": version.number}
        self._set(action, by=by, reason=reason, digest=version.digest, facts=facts, stable=version)


class HarnessVersion(models.Model):
    """One immutable document of an agent: canonical bytes, their digest, and a derived JSONB for searching."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="children")
    body = models.BinaryField()
    digest = models.CharField(max_length=64)
    document = models.JSONField()
    note = models.TextField(blank=True)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    objects = PlainOfAgentQuerySet.as_manager()

    class Meta:
        ordering = ("agent", "-number")
        constraints = (
            models.UniqueConstraint(fields=("agent", "number"), name="version_number_once"),
            models.UniqueConstraint(fields=("agent", "digest"), name="version_digest_once"),
            models.CheckConstraint(
                condition=Q(
                    digest=Func(
                        Func(F("body"), function="sha256", output_field=models.BinaryField()),
                        Value("hex"),
                        function="encode",
                        output_field=models.CharField(),
                    )
                ),
                name="version_digest_is_of_body",
            ),
        )

    def __str__(self) -> str:
        return f"{self.agent.slug} v{self.number}"

    @classmethod
    def create(
        cls, *, agent: Agent, document: dict[str, Any], parent: Self | None, by: Actor, note: str
    ) -> "HarnessVersion":
        """Store `document` as the agent's next version, or return the version that already has these bytes.

        The caller holds the agent's row lock, so numbers are gap-free.
        """
        validate_document(document)
        body = canonical_bytes(document)
        digest = sha256_hex(body)
        existing = cls.objects.filter(agent=agent, digest=digest).first()
        if existing:
            return existing  # type: ignore[no-any-return]  # the queryset is generic over Any
        last = cls.objects.filter(agent=agent).aggregate(models.Max("number"))["number__max"] or 0
        version = cls(
            agent=agent, number=last + 1, parent=parent, body=body, digest=digest,
            document=document, note=note, created_by=by.name,
        )  # fmt: skip
        version.save(force_insert=True)
        record(
            "version.create", version, digest=digest, team_id=agent.team_id, actor=by, reason=note,
            facts={"number": version.number, "parent": parent.digest if parent else None},
        )  # fmt: skip
        return version


class _NumberedDocument(models.Model):
    """An immutable, numbered JSON document of an agent."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT)
    number = models.PositiveIntegerField()
    document = models.JSONField()
    digest = models.CharField(max_length=64)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())

    objects = PlainOfAgentQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering = ("agent", "-number")

    def __str__(self) -> str:
        return f"{self.agent.slug} {self._meta.verbose_name} {self.number}"

    @classmethod
    def create(cls, *, agent: Agent, document: dict[str, Any], by: Actor) -> Self:
        """Store the agent's next version and put it in force."""
        last = cls.objects.filter(agent=agent).aggregate(models.Max("number"))["number__max"] or 0
        version = cls(
            agent=agent, number=last + 1, document=document,
            digest=digest_of(document), created_by=by.name,
        )  # fmt: skip
        version.save(force_insert=True)
        return version


class ObjectiveVersion(_NumberedDocument):
    """What the agent is optimized for."""

    class Meta(_NumberedDocument.Meta):
        verbose_name = "objective"
        constraints = (models.UniqueConstraint(fields=("agent", "number"), name="objective_number_once"),)

    def as_objective(self) -> Objective:
        return Objective.model_validate(self.document)


class PolicyVersion(_NumberedDocument):
    """The limits the loop works under."""

    class Meta(_NumberedDocument.Meta):
        verbose_name = "policy"
        verbose_name_plural = "policies"
        constraints = (models.UniqueConstraint(fields=("agent", "number"), name="policy_number_once"),)

    def as_policy(self) -> Policy:
        return Policy.model_validate(self.document)


class Change(Stateful):
    """A two-person edit of what proposals may not touch."""

    class Kind(models.TextChoices):
        OBJECTIVE = "objective", "Objective"
        POLICY = "policy", "Policy"

    class Status(models.TextChoices):
        PROPOSED = "proposed", "Proposed"
        APPROVED = "approved", "Approved"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"

    EDGES: ClassVar[tuple[Edge, ...]] = (
        Edge("approve", frozenset({Status.PROPOSED}), Status.APPROVED, Permission.APPROVE_CHANGE, "Approve"),
        Edge("decline", frozenset({Status.PROPOSED}), Status.DECLINED, Permission.APPROVE_CHANGE, "Decline"),
        Edge("withdraw", frozenset({Status.PROPOSED}), Status.WITHDRAWN, Permission.PROPOSE_CHANGE, "Withdraw"),
    )

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="changes")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    document = models.JSONField(help_text="The whole new document.")
    rationale = models.TextField()
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.PROPOSED, editable=False)
    proposed_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", editable=False)
    proposed_at = models.DateTimeField(db_default=Now(), editable=False)
    decided_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", null=True, editable=False)
    decided_at = models.DateTimeField(null=True, editable=False)

    objects = OfAgentQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=Q(decided_by__isnull=True) | ~Q(decided_by=F("proposed_by")) | Q(status="withdrawn"),
                name="change_two_people",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} change of {self.agent.slug}"

    @classmethod
    def propose(cls, *, agent: Agent, kind: str, document: dict[str, Any], rationale: str, by: Actor) -> "Change":
        """Write down a change for a second person to decide on; refuses documents that do not validate."""
        require(by, Permission.PROPOSE_CHANGE, agent.access_scope(), act=f"propose a change of {agent.slug!r}")
        _validate_governing(kind, document)
        with transaction.atomic(), acting(by, reason=rationale):
            change = cls(
                agent=agent,
                kind=kind,
                document=document,
                rationale=rationale,
                proposed_by=User.objects.get(pk=by.user_id),
            )
            change.save(force_insert=True)
            record("change.propose", change, digest=change.audit_digest(), team_id=agent.team_id, facts={"kind": kind})
        return change

    def access_scope(self) -> Scope:
        return self.agent.access_scope()

    def audit_digest(self) -> str:
        return digest_of(self.document)

    def approve(self, *, by: Actor, reason: str) -> None:
        """Put the document in force. The second person must not be the first."""
        with self.locked():
            if by.user_id == self.proposed_by_id:
                raise SelfApprovalError(f"{by.name} proposed this change and cannot approve it: ask a second person.")
            self._move("approve", by=by, reason=reason, decided_by_id=by.user_id, decided_at=True)
            put_in_force(self.agent, self.kind, self.document, by=by, reason=reason)

    def decline(self, *, by: Actor, reason: str) -> None:
        self._move("decline", by=by, reason=reason, decided_by_id=by.user_id, decided_at=True)

    def withdraw(self, *, by: Actor, reason: str) -> None:
        self._move("withdraw", by=by, reason=reason, decided_by_id=by.user_id, decided_at=True)


def _validate_governing(kind: str, document: dict[str, Any]) -> None:
    model: Any = {"objective": Objective, "policy": Policy}[kind]
    clean_json(document)
    try:
        model.model_validate(document)
    except ValueError as error:
        raise DomainError(f"The {kind} does not validate: {error}") from error


def put_in_force(agent: Agent, kind: str, document: dict[str, Any], *, by: Actor, reason: str) -> None:
    """Make `document` the agent's next objective or policy. Only `Change.approve` and bootstrap call this."""
    _validate_governing(kind, document)
    with transaction.atomic():
        agent._lock()  # same aggregate
        version_class: type[ObjectiveVersion | PolicyVersion] = (
            ObjectiveVersion if kind == "objective" else PolicyVersion
        )
        version = version_class.create(agent=agent, document=document, by=by)
        agent._set(  # same aggregate
            f"{kind}.put_in_force", by=by, reason=reason, digest=version.digest,
            facts={"number": version.number}, **{kind: version},
        )  # fmt: skip


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
        if head != "wsk" or not secret or not presented.isascii() or len(presented) > 120:
            return None
        key = cls.objects.live().select_related("owner", "agent").filter(prefix=prefix, owner__is_active=True).first()
        if key is None or not hmac.compare_digest(key.digest, cls.digest_of(secret)):
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
