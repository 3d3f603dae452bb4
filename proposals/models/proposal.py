"""One small change on its way from draft to verdict to release."""

from typing import Any, ClassVar
from uuid import UUID

from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from pydantic import BaseModel, Field

from accounts.access import Scope, require
from accounts.acting import Actor, acting
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from accounts.roles import Permission
from audit.record import record
from audit.transitions import Edge, Stateful
from episodes.models import Pattern
from harness.canonical import digest_of
from harness.exceptions import SelfApprovalError
from harness.independence import refuse_dependent
from harness.models import Agent, HarnessVersion
from proposals.exceptions import BaseMovedError, NotJudgedError, ValidationBusyError
from proposals.models.strategy import Strategy
from proposals.querysets import ProposalQuerySet

__all__ = ["Proposal"]


class ApprovedDigest(BaseModel):
    """What the approver looked at; empty takes the candidate that was judged."""

    digest: str = Field(default="", max_length=64)


class Proposal(Stateful):
    """A small patch on a base version, with its claim, its reasons and its evidence."""

    class Claim(models.TextChoices):
        FIXES = "fixes", "Fixes"
        CHEAPER = "cheaper", "Cheaper"
        FASTER = "faster", "Faster"
        SIMPLIFIES = "simplifies", "Simplifies"
        ENABLES = "enables", "Enables"

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        SUBMITTED = "submitted", "Submitted"
        VALIDATING = "validating", "Validating"
        HELD = "held", "Held"
        VALIDATED = "validated", "Validated"
        FAILED = "failed", "Failed"
        APPROVED = "approved", "Approved"
        RELEASED = "released", "Released"
        VERIFIED = "verified", "Verified"
        NOT_FIXED = "not_fixed", "Not fixed"
        CONFOUNDED = "confounded", "Confounded"
        ROLLED_BACK = "rolled_back", "Rolled back"
        STALE = "stale", "Stale"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"
        SUPERSEDED = "superseded", "Superseded"

    _OPEN = frozenset(
        {
            Status.DRAFT,
            Status.SUBMITTED,
            Status.VALIDATING,
            Status.HELD,
            Status.VALIDATED,
            Status.APPROVED,
            Status.STALE,
        }
    )
    EDGES: ClassVar[tuple[Edge, ...]] = (
        Edge("submit", frozenset({Status.DRAFT}), Status.SUBMITTED, Permission.WRITE_PROPOSAL, "Submit", by_machine=True),
        Edge(
            "begin_validation", frozenset({Status.SUBMITTED}), Status.VALIDATING, Permission.START_RUN,
            "Validate", by_machine=True, needs_reason=False,
        ),
        Edge("record_pass", frozenset({Status.VALIDATING}), Status.VALIDATED, None, "Pass", by_machine=True),
        Edge("record_fail", frozenset({Status.VALIDATING}), Status.FAILED, None, "Fail", by_machine=True),
        Edge("record_hold", frozenset({Status.VALIDATING}), Status.HELD, None, "Hold", by_machine=True),
        Edge("hold_unplayed", frozenset({Status.SUBMITTED}), Status.HELD, None, "Hold unplayed", by_machine=True),
        Edge("resume_validation", frozenset({Status.HELD}), Status.VALIDATING, Permission.START_RUN, "Resume", by_machine=True),
        Edge(
            "requeue", frozenset({Status.VALIDATING}), Status.SUBMITTED, Permission.START_RUN,
            "Requeue", by_machine=True,
        ),
        Edge("approve", frozenset({Status.VALIDATED}), Status.APPROVED, Permission.APPROVE_PROPOSAL, "Approve", form=ApprovedDigest),
        Edge(
            "rebase", frozenset({Status.SUBMITTED, Status.VALIDATED, Status.APPROVED, Status.HELD}), Status.SUBMITTED,
            Permission.WRITE_PROPOSAL, "Rebase", by_machine=True,
        ),
        Edge(
            "mark_stale", frozenset({Status.SUBMITTED, Status.VALIDATED, Status.APPROVED, Status.HELD}), Status.STALE,
            None, "Mark as stale", by_machine=True,
        ),
        Edge("mark_released", frozenset({Status.APPROVED}), Status.RELEASED, None, "Mark as released", by_machine=True),
        Edge("verify", frozenset({Status.RELEASED}), Status.VERIFIED, None, "Verify", by_machine=True),
        Edge("mark_not_fixed", frozenset({Status.RELEASED}), Status.NOT_FIXED, None, "Mark as not fixed", by_machine=True),
        Edge("mark_confounded", frozenset({Status.RELEASED}), Status.CONFOUNDED, None, "Mark as confounded", by_machine=True),
        Edge(
            "mark_rolled_back", frozenset({Status.APPROVED, Status.RELEASED}), Status.ROLLED_BACK,
            None, "Mark as rolled back", by_machine=True,
        ),
        Edge("decline", _OPEN, Status.DECLINED, Permission.APPROVE_PROPOSAL, "Decline", danger=True),
        Edge("withdraw", _OPEN, Status.WITHDRAWN, Permission.WRITE_PROPOSAL, "Withdraw", danger=True),
        Edge("supersede", _OPEN, Status.SUPERSEDED, Permission.WRITE_PROPOSAL, "Supersede", by_machine=True),
    )  # fmt: skip

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="proposals")
    title = models.CharField(max_length=200)
    base = models.ForeignKey(HarnessVersion, on_delete=models.PROTECT, related_name="proposals", editable=False)
    layer = models.CharField(max_length=12, editable=False)
    claim = models.CharField(max_length=12, choices=Claim.choices)
    patch = models.JSONField(help_text="RFC 6902 operations within one layer.")
    size = models.PositiveIntegerField(editable=False, help_text="Changed lines of the pretty-printed document.")
    candidate_digest = models.CharField(max_length=64, editable=False)
    candidate = models.ForeignKey(HarnessVersion, on_delete=models.PROTECT, null=True, related_name="+", editable=False)
    rationale = models.TextField()
    predicted_effect = models.JSONField(default=dict, help_text="{gain, low, high} on the target slice, 0..1.")
    drafted_cases = models.JSONField(default=list)
    target_intents = models.JSONField(default=list, help_text="Slugs of the intents this change is for.")

    pattern = models.ForeignKey(Pattern, on_delete=models.PROTECT, null=True, blank=True, related_name="proposals")
    strategy = models.ForeignKey(Strategy, on_delete=models.PROTECT, null=True, blank=True, related_name="proposals")
    source = models.CharField(max_length=8, default="person", editable=False, help_text="person, rules or model")
    retry_of = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="retries")
    revision = models.PositiveSmallIntegerField(default=1, editable=False)

    status = models.CharField(max_length=12, choices=Status.choices, default=Status.DRAFT, editable=False)
    run_ref = models.UUIDField(null=True, editable=False, help_text="The run that judged it.")
    verdict = models.CharField(max_length=4, blank=True, editable=False)
    verdict_summary = models.JSONField(default=dict, editable=False)
    approvals_needed = models.PositiveSmallIntegerField(default=1, editable=False)
    effect = models.JSONField(default=dict, editable=False, help_text="What the aftermath measured.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    submitted_at = models.DateTimeField(null=True, editable=False)
    judged_at = models.DateTimeField(null=True, editable=False)
    closed_at = models.DateTimeField(null=True, editable=False)

    objects = ProposalQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("agent",), condition=Q(status="validating"), name="one_validates_per_agent"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=("validated", "approved", "released", "verified")) | Q(run_ref__isnull=False),
                name="proposal_judged_before_validated",
            ),
        )
        indexes = (models.Index(fields=("agent", "status"), name="proposal_by_status"),)

    def __str__(self) -> str:
        return self.title

    # questions

    def access_scope(self) -> Scope:
        return self.agent.access_scope()

    def audit_digest(self) -> str:
        return self.candidate_digest

    def claim_digest(self) -> str:
        """Return the digest of everything a review judges: candidate, claim, rationale, evidence."""
        return digest_of(
            {
                "candidate": self.candidate_digest, "claim": self.claim, "rationale": self.rationale,
                "target_intents": list(self.target_intents), "base": self.base.digest,
                "evidence": [*sorted(str(pk) for pk in self.evidence.values_list("episode_id", flat=True))],
            }
        )  # fmt: skip

    @property
    def is_machine_written(self) -> bool:
        return not self.authors.exists()

    def author_ids(self) -> set[UUID]:
        return set(self.authors.values_list("user_id", flat=True))

    # verbs

    def submit(self, *, by: Actor, reason: str) -> None:
        """Ask for validation. From here on claim and patch no longer change."""
        from proposals.drafting import refuse_unlawful  # noqa: PLC0415  # the laws read this model

        with self.locked():
            refuse_unlawful(self)
            self._move("submit", by=by, reason=reason, submitted_at=True)

    def begin_validation(self, *, by: Actor, reason: str = "") -> None:
        """Reserve the agent's one validation slot and fix the candidate version that the run will play."""
        with transaction.atomic():
            agent = Agent.objects.locked().get(pk=self.agent_id)
            with self.locked():
                others = Proposal.objects.filter(agent=agent).validating().exclude(pk=self.pk)
                if others.exists():
                    raise ValidationBusyError(f"{others.first()} is being validated; one at a time per agent.")
                if self.base_id != agent.stable_id:
                    raise BaseMovedError(
                        f"{self} is based on {self.base}, but {agent.stable} is stable: rebase it first."
                    )
                candidate = self._candidate_version(agent, by)
                self._move("begin_validation", by=by, reason=reason, candidate=candidate)

    def _candidate_version(self, agent: Agent, by: Actor) -> HarnessVersion:
        from proposals.drafting import candidate_document  # noqa: PLC0415  # drafting reads this model

        document = candidate_document(self)
        version = HarnessVersion.create(agent=agent, document=document, parent=self.base, by=by, note=self.title)
        if version.digest != self.candidate_digest:
            raise NotJudgedError(f"{self}: the patched document is {version.digest}, not {self.candidate_digest}.")
        return version

    def record_verdict(
        self, verdict: str, *, run_ref: UUID, summary: dict[str, Any], approvals: int, by: Actor
    ) -> None:
        """Take a run's verdict: `pass`, `fail` (final) or `hold`."""
        verb = {"pass": "record_pass", "fail": "record_fail", "hold": "record_hold"}[verdict]
        getattr(self, verb)(run_ref=run_ref, summary=summary, approvals=approvals, by=by)

    def record_pass(
        self, *, run_ref: UUID, summary: dict[str, Any], approvals: int, by: Actor, reason: str = ""
    ) -> None:
        self._record("record_pass", "pass", run_ref, summary, approvals, by, reason)

    def record_fail(
        self, *, run_ref: UUID, summary: dict[str, Any], approvals: int, by: Actor, reason: str = ""
    ) -> None:
        self._record("record_fail", "fail", run_ref, summary, approvals, by, reason)

    def record_hold(
        self, *, run_ref: UUID, summary: dict[str, Any], approvals: int, by: Actor, reason: str = ""
    ) -> None:
        self._record("record_hold", "hold", run_ref, summary, approvals, by, reason)

    def _record(
        self, verb: str, verdict: str, run_ref: UUID, summary: dict[str, Any], approvals: int, by: Actor, reason: str
    ) -> None:
        self._move(
            verb, by=by, reason=reason or str(summary.get("sentence") or f"verdict {verdict}"), facts={"run": str(run_ref)},
            run_ref=run_ref, verdict=verdict, verdict_summary=summary, approvals_needed=approvals, judged_at=True,
        )  # fmt: skip

    def resume_validation(self, *, by: Actor, reason: str) -> None:
        """Take the next look of the same plan."""
        self._move("resume_validation", by=by, reason=reason)

    def hold_unplayed(self, *, by: Actor, reason: str) -> None:
        """Stop waiting for a run that cannot be played; a person resumes once the reason is mended."""
        summary = {"sentence": reason, "gates": {}, "reasons": []}
        self._move("hold_unplayed", by=by, reason=reason, verdict_summary=summary)

    def requeue(self, *, by: Actor, reason: str) -> None:
        """Free the validation slot after a run that failed or was canceled; nothing was judged."""
        self._move("requeue", by=by, reason=reason)

    def approve(self, *, by: Actor, reason: str, digest: str = "") -> None:
        """Say *this change is right*, for exactly the candidate that was judged.

        `digest` is what the approver saw; empty takes the judged candidate. Needs `approvals_needed` people.
        """
        from proposals.models.reviews import Review  # noqa: PLC0415  # reviews refer to proposals

        with self.locked():
            if by.user_id in self.author_ids():
                raise SelfApprovalError(f"{by.name} is an author of {self} and cannot approve it: ask a second person.")
            refuse_dependent(
                by, authors=self.author_ids(), drafted_at=self.created_at, permission=Permission.APPROVE_PROPOSAL,
                scope=self.access_scope(), act=f"approve {self}",
            )  # fmt: skip
            if (digest or self.candidate_digest) != self.candidate_digest:
                raise NotJudgedError(
                    f"{self} was judged as {self.candidate_digest[:12]}…, not {digest[:12]}…: look again."
                )
            self._authorize(self.edge("approve"), by)
            if self.status == self.Status.VALIDATED:
                Review.approve(self, by=by, comment=reason)
            if self.status != self.Status.VALIDATED or self.num_approvals() >= self.approvals_needed:
                self._move("approve", by=by, reason=reason)

    def num_approvals(self) -> int:
        """Return how many distinct people approved exactly this candidate, claim and run."""
        mine = self.reviews.filter(
            decision="approve", digest=self.candidate_digest, claim_digest=self.claim_digest(), run_ref=self.run_ref
        )
        return int(mine.values("reviewer_id").distinct().count())

    def rebase(self, *, by: Actor, reason: str) -> None:
        """Move the patch onto the agent's stable version; it must be judged again. A conflict is a refusal."""
        from proposals.drafting import rebased  # noqa: PLC0415  # drafting reads this model

        with self.locked():
            change = rebased(self, self.agent.stable)
            self._move("rebase", by=by, reason=reason, revision=self.revision + 1, run_ref=None, verdict="", **change)

    def mark_stale(self, *, by: Actor, reason: str) -> None:
        """The base moved and the patch no longer fits it."""
        self._move("mark_stale", by=by, reason=reason, closed_at=True)

    def mark_released(self, *, by: Actor, reason: str) -> None:
        self._move("mark_released", by=by, reason=reason)

    def verify(self, *, by: Actor, reason: str, effect: dict[str, Any] | None = None) -> None:
        self._move("verify", by=by, reason=reason, effect=effect or {}, closed_at=True)

    def mark_not_fixed(self, *, by: Actor, reason: str, effect: dict[str, Any] | None = None) -> None:
        self._move("mark_not_fixed", by=by, reason=reason, effect=effect or {}, closed_at=True)

    def mark_confounded(self, *, by: Actor, reason: str, effect: dict[str, Any] | None = None) -> None:
        self._move("mark_confounded", by=by, reason=reason, effect=effect or {}, closed_at=True)

    def mark_rolled_back(self, *, by: Actor, reason: str) -> None:
        self._move("mark_rolled_back", by=by, reason=reason, closed_at=True)

    def decline(self, *, by: Actor, reason: str) -> None:
        self._move("decline", by=by, reason=reason, closed_at=True)

    def withdraw(self, *, by: Actor, reason: str) -> None:
        self._move("withdraw", by=by, reason=reason, closed_at=True)

    def supersede(self, *, by: Actor, reason: str) -> None:
        self._move("supersede", by=by, reason=reason, closed_at=True)

    def amend(self, *, by: Actor, reason: str, **changes: Any) -> None:
        """Change a draft's text or patch; whoever amends counts as an author from then on."""
        from proposals.drafting import amended  # noqa: PLC0415  # drafting reads this model

        require(by, Permission.WRITE_PROPOSAL, self.access_scope(), act=f"amend {self}")
        with self.locked():
            fields = amended(self, changes)
            for field, value in fields.items():
                setattr(self, field, value)
            self.revision += 1
            with acting(by, reason=reason):
                self.save(update_fields=[*fields, "revision"])
                self.authors.get_or_create(user=User.objects.get(pk=by.user_id))
                record("proposal.amend", self, digest=self.candidate_digest, team_id=self.agent.team_id)
