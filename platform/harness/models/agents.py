"""Agents, the immutable versions of their documents, and the counter that serving watches."""

from typing import Any, ClassVar, Self

from django.db import connection, models, transaction
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now
from django.utils import timezone

from accounts.access import Scope, require
from accounts.acting import Actor, acting
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import Team, User
from accounts.roles import Permission
from audit.record import record
from harness.canonical import canonical_bytes, sha256_hex
from harness.documents import validate_document
from harness.exceptions import AgentFrozenError, AlreadyBootstrappedError, StableMovedError
from harness.objective import Objective
from harness.policy import Policy
from harness.querysets import AgentQuerySet, PlainOfAgentQuerySet

__all__ = ["Agent", "HarnessVersion", "Revision"]


class Revision(models.Model):
    """A counter that moves with everything serving depends on, so that snapshots know when they are old."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    number = models.BigIntegerField(default=0)

    CHANNEL: ClassVar[str] = "whetstone_revision"

    def __str__(self) -> str:
        return str(self.number)

    @classmethod
    def current(cls) -> int:
        """Return the counter, 0 before it first moved. Asked at every report of an agent, so without the ORM's compiler."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT number FROM harness_revision WHERE id = 1")
            row = cursor.fetchone()
        return int(row[0]) if row else 0

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

    class Runner(models.TextChoices):
        HTTP = "http", "The agent's own endpoint: POST /turn"
        OPENAI = "openai", "The built-in tool loop on an OpenAI-compatible endpoint"
        EXTERNAL = "external", "The team's own CI, which fetches cases and posts results"
        CRITIC = "critic", "In process, as the platform's critic"
        PROPOSER = "proposer", "In process, as the platform's proposer"
        JUDGE = "judge", "In process, as the platform's judge"

    AGENT_PATH: ClassVar[str] = "pk"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="agents")
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    purpose = models.TextField(blank=True)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    level = models.PositiveSmallIntegerField(choices=Level.choices, default=Level.CUSTOMER)
    runner = models.CharField(
        max_length=8, choices=Runner.choices, default=Runner.HTTP, help_text="Who plays a harness in validation."
    )
    endpoint = models.URLField(
        blank=True,
        help_text="Where validation plays a harness: the agent's own service, or the base URL of a model's API (empty: "
        "the platform's).",
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
