"""A rollout of one version: who, why, how far, and how it ended."""

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from pydantic import BaseModel, Field

from accounts.access import Scope
from accounts.acting import Actor
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from accounts.roles import Permission
from audit.transitions import Edge, Stateful
from harness.models import Agent, HarnessVersion
from proposals.models import Proposal
from releases.plan import Plan
from releases.promotion import AftermathReading
from releases.querysets import GovernedOfReleaseQuerySet, ReleaseQuerySet

__all__ = ["Release", "ReleaseApproval"]


class Extension(BaseModel):
    """For how long an inconclusive release may go on; empty takes the plan's maximum duration once more."""

    seconds: float | None = Field(default=None, gt=0, le=366 * 86_400, allow_inf_nan=False)


class Release(Stateful):
    """One version on its way to everybody, step by step, watched and reversible."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        AWAITING_APPROVAL = "awaiting_approval", "Awaiting approval"
        RUNNING = "running", "Running"
        PAUSED = "paused", "Paused"
        PROMOTING = "promoting", "Promoting"
        PROMOTED = "promoted", "Promoted"
        ROLLING_BACK = "rolling_back", "Rolling back"
        ROLLED_BACK = "rolled_back", "Rolled back"
        INCONCLUSIVE = "inconclusive", "Inconclusive"
        WITHDRAWN = "withdrawn", "Withdrawn"
        DECLINED = "declined", "Declined"

    class Effect(models.TextChoices):
        VERIFIED = "verified", "Verified"
        NOT_FIXED = "not_fixed", "Not fixed"
        CONFOUNDED = "confounded", "Confounded"

    EDGES: ClassVar[tuple[Edge, ...]] = (
        Edge("submit", frozenset({Status.DRAFT}), Status.AWAITING_APPROVAL, Permission.PLAN_RELEASE, "Submit"),
        Edge("start", frozenset({Status.AWAITING_APPROVAL}), Status.RUNNING, Permission.RUN_RELEASE, "Start"),
        Edge("pause", frozenset({Status.RUNNING}), Status.PAUSED, Permission.STOP_RELEASE, "Pause", by_machine=True),
        Edge("resume", frozenset({Status.PAUSED}), Status.RUNNING, Permission.RUN_RELEASE, "Resume"),
        Edge(
            "withdraw", frozenset({Status.DRAFT, Status.AWAITING_APPROVAL}), Status.WITHDRAWN,
            Permission.PLAN_RELEASE, "Withdraw",
        ),
        Edge("decline", frozenset({Status.AWAITING_APPROVAL}), Status.DECLINED, Permission.APPROVE_RELEASE, "Decline"),
        Edge(
            "roll_back", frozenset({Status.RUNNING, Status.PAUSED, Status.PROMOTING, Status.PROMOTED, Status.INCONCLUSIVE}),
            Status.ROLLING_BACK, Permission.STOP_RELEASE, "Roll back", by_machine=True, danger=True,
        ),
        Edge(
            "confirm_rolled_back", frozenset({Status.ROLLING_BACK}), Status.ROLLED_BACK, None,
            "Confirm the rollback of", by_machine=True,
        ),
        Edge("begin_promotion", frozenset({Status.RUNNING}), Status.PROMOTING, None, "Begin to promote", by_machine=True),
        Edge("promote", frozenset({Status.PROMOTING}), Status.PROMOTED, None, "Promote", by_machine=True),
        Edge("fall_back", frozenset({Status.PROMOTING}), Status.RUNNING, None, "Fall back from promoting", by_machine=True),
        Edge("run_out", frozenset({Status.RUNNING}), Status.INCONCLUSIVE, None, "End as inconclusive", by_machine=True),
        Edge("extend", frozenset({Status.INCONCLUSIVE}), Status.RUNNING, Permission.RUN_RELEASE, "Extend", form=Extension),
    )  # fmt: skip

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="releases")
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="releases")
    baseline = models.ForeignKey(HarnessVersion, on_delete=models.PROTECT, related_name="+", editable=False)
    version = models.ForeignKey(HarnessVersion, on_delete=models.PROTECT, related_name="releases", editable=False)
    run_ref = models.UUIDField(editable=False, help_text="The run that judged the version.")
    retry_of = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="retries")
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", editable=False)
    reason = models.TextField()
    plan = models.JSONField(help_text="Steps, margins, guards, clocks: what the approvers approve.")
    plan_digest = models.CharField(max_length=64, editable=False)
    salt = models.CharField(max_length=64, editable=False)
    approvals_needed = models.PositiveSmallIntegerField(default=1, editable=False)
    is_hotfix = models.BooleanField(
        default=False, editable=False, help_text="A repair: velocity limits do not hold it up."
    )
    overlap_accepted = models.BooleanField(
        default=False,
        editable=False,
        help_text="It may touch what an open aftermath watches; that verdict is confounded.",
    )

    status = models.CharField(max_length=18, choices=Status.choices, default=Status.DRAFT, editable=False)
    step = models.PositiveSmallIntegerField(default=0, editable=False)
    weight = models.FloatField(default=0.0, editable=False)
    step_started_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    deadline_at = models.DateTimeField(null=True, editable=False)
    promoted_at = models.DateTimeField(null=True, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    aftermath_closed_at = models.DateTimeField(null=True, editable=False)
    effect = models.CharField(max_length=12, choices=Effect.choices, blank=True, editable=False)
    effect_reading = models.JSONField(default=dict, editable=False)
    guard_status = models.CharField(max_length=10, blank=True, editable=False)
    guard_sentence = models.TextField(blank=True, editable=False)
    acknowledged = models.JSONField(
        default=list, editable=False, help_text="Causes of a pause that a person looked into before resuming."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ReleaseQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["guard_sentence", "guard_status"])

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("agent",),
                condition=Q(status__in=("running", "paused", "promoting", "inconclusive")),
                name="one_live_ramp_per_agent",
            ),
            models.CheckConstraint(condition=Q(weight__gte=0) & Q(weight__lte=1), name="release_weight_is_share"),
            models.CheckConstraint(condition=~Q(version=F("baseline")), name="release_changes_something"),
        )
        indexes = (models.Index(fields=("agent", "status"), name="release_by_status"),)

    def __str__(self) -> str:
        return f"{self.version} ({self.get_status_display().lower()})"

    def access_scope(self) -> Scope:
        return self.agent.access_scope()

    def audit_digest(self) -> str:
        return self.version.digest

    def as_plan(self) -> Plan:
        return Plan.from_mapping(self.plan)

    def valid_approvals(self, now: datetime | None = None) -> "QuerySet[ReleaseApproval]":
        """Return the approvals that count: of exactly this plan and version, unexpired, of people free to judge it."""
        mine = self.approvals.filter(
            plan_digest=self.plan_digest, version_digest=self.version.digest,
            expires_at__gt=now or timezone.now(), approver__is_active=True,
        )  # fmt: skip
        return mine.exclude(approver_id=self.owner_id).exclude(approver_id__in=self.proposal.author_ids())

    def num_approvals(self) -> int:
        """Return how many distinct people's approvals count now."""
        return int(self.valid_approvals().order_by().values("approver_id").distinct().count())

    # verbs; the procedures behind them read this model, so they are imported where they are called

    def submit(self, *, by: Actor, reason: str) -> None:
        """Ask for approvals of exactly this plan."""
        self._move("submit", by=by, reason=reason, facts={"plan_digest": self.plan_digest})

    def approve(self, *, by: Actor, reason: str, plan_digest: str) -> None:
        """Say *this plan is right*, for exactly the plan and version named; not an edge, several people may do it."""
        from releases.approving import approve  # noqa: PLC0415  # see above

        approve(self, by=by, reason=reason, plan_digest=plan_digest)

    def withdraw(self, *, by: Actor, reason: str) -> None:
        self._move("withdraw", by=by, reason=reason, ended_at=True)

    def decline(self, *, by: Actor, reason: str) -> None:
        self._move("decline", by=by, reason=reason, ended_at=True)

    def start(self, *, by: Actor, reason: str) -> None:
        """Serve the first step, when approvals, stable version, freezes and velocity allow it."""
        from releases.rollout import start  # noqa: PLC0415  # see above

        start(self, by=by, reason=reason)

    def advance(self, *, by: Actor, reason: str) -> None:
        """Take the approved plan's next step, or promote after the last, provided that the guard's reading allows it."""
        from releases.watching import advance  # noqa: PLC0415  # see above

        advance(self, by=by, reason=reason)

    def pause(self, *, by: Actor, reason: str) -> None:
        """Hold the ramp where it is: nobody's version changes, nothing advances, the guard goes on watching."""
        from releases.rollout import pause  # noqa: PLC0415  # see above

        pause(self, by=by, reason=reason)

    def resume(self, *, by: Actor, reason: str) -> None:
        """Go on; the cause of the pause counts as looked into and does not pause again."""
        from releases.rollout import resume  # noqa: PLC0415  # see above

        resume(self, by=by, reason=reason)

    def begin_promotion(self, *, by: Actor, reason: str) -> None:
        self._move("begin_promotion", by=by, reason=reason)

    def promote(self, *, by: Actor, reason: str) -> None:
        """Make the version stable; falls back to running where another one became stable meanwhile."""
        from releases.rollout import promote  # noqa: PLC0415  # see above

        promote(self, by=by, reason=reason)

    def fall_back(self, *, by: Actor, reason: str) -> None:
        self._move("fall_back", by=by, reason=reason)

    def run_out(self, *, by: Actor, reason: str) -> None:
        """The maximum duration is over without a decision: the weight stays, a person decides."""
        self._move("run_out", by=by, reason=reason)

    def extend(self, *, by: Actor, reason: str, seconds: float | None = None) -> None:
        """Give an inconclusive release more time."""
        from releases.rollout import extend  # noqa: PLC0415  # see above

        extend(self, by=by, reason=reason, seconds=seconds)

    def roll_back(self, *, by: Actor, reason: str) -> None:
        """Stop serving the version at once; a promoted one gives way to the preceding until its aftermath closes."""
        from releases.rollout import roll_back  # noqa: PLC0415  # see above

        roll_back(self, by=by, reason=reason)

    def confirm_rolled_back(self, *, by: Actor, reason: str) -> None:
        """Close the rollback once serving no longer hands the version out."""
        from releases.rollout import confirm_rolled_back  # noqa: PLC0415  # see above

        confirm_rolled_back(self, by=by, reason=reason)

    def close_aftermath(self, reading: AftermathReading, *, by: Actor) -> None:
        """Write down what the release did to its target, and tell proposal, pattern and lessons."""
        from releases.aftermath import close  # noqa: PLC0415  # see above

        close(self, reading, by=by)


class ReleaseApproval(models.Model):
    """One person saying *this plan is right*, for exactly this plan and version."""

    AGENT_PATH: ClassVar[str] = "release__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="approvals")
    approver = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    plan_digest = models.CharField(max_length=64)
    version_digest = models.CharField(max_length=64)
    comment = models.TextField(blank=True)
    is_simulated = models.BooleanField(default=False)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())

    objects = GovernedOfReleaseQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("release", "approver", "plan_digest"), name="release_approval_once"),
        )

    def __str__(self) -> str:
        return f"{self.approver} approved {self.release}"
