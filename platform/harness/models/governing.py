"""What an agent is optimized for and the limits it lives under: numbered documents that only two people change."""

from typing import Any, ClassVar, Self

from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from pydantic import BaseModel, Field

from accounts.access import Scope, require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from accounts.roles import Permission
from audit.record import record
from audit.transitions import Edge, Stateful
from harness.canonical import clean_json, digest_of
from harness.exceptions import ChangeMovedError, SelfApprovalError
from harness.independence import refuse_dependent
from harness.models.agents import Agent
from harness.objective import Objective, default_objective
from harness.policy import Policy, default_policy
from harness.querysets import OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = ["Change", "ObjectiveVersion", "PolicyVersion", "in_force", "put_in_force"]


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


class ReadDigest(BaseModel):
    """What the approver read; empty takes the document as it is."""

    digest: str = Field(default="", max_length=64)


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
        Edge(
            "approve",
            frozenset({Status.PROPOSED}),
            Status.APPROVED,
            Permission.APPROVE_CHANGE,
            "Approve",
            form=ReadDigest,
        ),
        Edge("decline", frozenset({Status.PROPOSED}), Status.DECLINED, Permission.APPROVE_CHANGE, "Decline"),
        Edge("withdraw", frozenset({Status.PROPOSED}), Status.WITHDRAWN, Permission.PROPOSE_CHANGE, "Withdraw"),
    )

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="changes")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    document = models.JSONField(help_text="The whole new document.")
    base_digest = models.CharField(
        max_length=64, default="", editable=False, help_text="Digest of what was in force when this was proposed."
    )
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
                base_digest=digest_of(in_force(Agent.objects.get(pk=agent.pk), kind)),
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

    def approve(self, *, by: Actor, reason: str, digest: str = "") -> None:
        """Put the document in force. The second person must not be the first, and must have read exactly this.

        `digest` is what the approver saw; empty takes the document. What is in force must still be what the change was
        proposed against, or approving it would undo whatever was decided since.
        """
        with self.locked():
            if by.user_id == self.proposed_by_id:
                raise SelfApprovalError(f"{by.name} proposed this change and cannot approve it: ask a second person.")
            refuse_dependent(
                by, authors={self.proposed_by_id}, drafted_at=self.proposed_at, permission=Permission.APPROVE_CHANGE,
                scope=self.access_scope(), act="approve this change",
            )  # fmt: skip
            if digest not in {"", self.audit_digest()}:
                raise ChangeMovedError(
                    f"This change is {self.audit_digest()[:12]}…, not {digest[:12]}…: read it again."
                )
            self.agent._lock()  # same aggregate
            if self.status == self.Status.PROPOSED and digest_of(in_force(self.agent, self.kind)) != self.base_digest:
                raise ChangeMovedError(
                    f"Another {self.kind} was put in force since this change was proposed, and approving it would undo "
                    "that. Decline it and propose it again on what is in force now."
                )
            self._move("approve", by=by, reason=reason, decided_by_id=by.user_id, decided_at=True)
            put_in_force(self.agent, self.kind, self.document, by=by, reason=reason)

    def decline(self, *, by: Actor, reason: str) -> None:
        """Refuse the change, as a second person; whoever proposed it withdraws it instead."""
        if by.user_id == self.proposed_by_id:
            raise SelfApprovalError(f"{by.name} proposed this change and cannot decline it: withdraw it instead.")
        self._move("decline", by=by, reason=reason, decided_by_id=by.user_id, decided_at=True)

    def withdraw(self, *, by: Actor, reason: str) -> None:
        self._move("withdraw", by=by, reason=reason, decided_by_id=by.user_id, decided_at=True)


def in_force(agent: Agent, kind: str) -> dict[str, Any]:
    """Return the objective or policy an agent lives under now; the shipped default where none was ever set."""
    if kind == Change.Kind.POLICY:
        return dict(agent.policy.document if agent.policy else default_policy())
    return dict(agent.objective.document if agent.objective else default_objective())


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
