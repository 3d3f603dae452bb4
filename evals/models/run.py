"""Runs: baseline and candidate on the same frozen cases, and the verdict read off them."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.access import Scope
from accounts.acting import Actor
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from accounts.roles import Permission
from audit.transitions import Edge, Stateful
from evals.exceptions import OwnChangeError
from evals.models.benchmark import Benchmark, Case
from evals.querysets import DecisionsOnRunQuerySet, FactsOfRunQuerySet, RunQuerySet
from harness.models import Agent, HarnessVersion, PolicyVersion
from proposals.models import Proposal

__all__ = ["LeakRelease", "Result", "Run", "RunCase"]


class Run(Stateful):
    """One paired comparison. The verdict is a field; the numbers behind it are rows."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        JUDGED = "judged", "Judged"
        CANCELED = "canceled", "Canceled"
        FAILED = "failed", "Failed"

    class Verdict(models.TextChoices):
        PASS = "pass", "Pass"  # a verdict, not a password
        FAIL = "fail", "Fail"
        HOLD = "hold", "Hold"

    EDGES: ClassVar[tuple[Edge, ...]] = (
        Edge("start", frozenset({Status.QUEUED}), Status.RUNNING, None, "Start", by_machine=True, needs_reason=False),
        Edge("judge", frozenset({Status.RUNNING}), Status.JUDGED, None, "Judge", by_machine=True),
        Edge(
            "cancel",
            frozenset({Status.QUEUED, Status.RUNNING}),
            Status.CANCELED,
            Permission.START_RUN,
            "Cancel",
            danger=True,
        ),
        Edge("fail", frozenset({Status.QUEUED, Status.RUNNING}), Status.FAILED, None, "Give up on", by_machine=True),
    )

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="runs")
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="runs")
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, null=True, related_name="runs")
    baseline = models.ForeignKey(HarnessVersion, on_delete=models.PROTECT, related_name="+")
    candidate = models.ForeignKey(HarnessVersion, on_delete=models.PROTECT, related_name="+")
    policy = models.ForeignKey(PolicyVersion, on_delete=models.PROTECT, null=True, related_name="+")
    gate_policy = models.JSONField(default=dict, help_text="Every number of the gate, as it was in force.")
    trials = models.PositiveSmallIntegerField(default=3)
    seed = models.BigIntegerField(default=0)

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED, editable=False)
    verdict = models.CharField(max_length=4, choices=Verdict.choices, blank=True, editable=False)
    reading = models.JSONField(default=dict, editable=False, help_text="The verdict with every number behind it.")
    num_planned = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)

    objects = RunQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["reading"])

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=~Q(status="judged") | ~Q(verdict=""), name="run_judged_has_verdict"),
        )
        indexes = (models.Index(fields=("agent", "status"), name="run_by_status"),)

    def __str__(self) -> str:
        return f"{self.candidate} against {self.baseline}"

    def access_scope(self) -> Scope:
        return self.agent.access_scope()

    def audit_digest(self) -> str:
        return self.candidate.digest

    def start(self, *, by: Actor, reason: str = "") -> None:
        self._move("start", by=by, reason=reason, started_at=True)

    def judge(self, *, verdict: str, reading: dict[str, Any], by: Actor, reason: str = "") -> None:
        """Store what the gate read; every number stays with it."""
        self._move(
            "judge", by=by, reason=reason or str(reading.get("sentence") or verdict), facts={"verdict": verdict},
            verdict=verdict, reading=reading, finished_at=True,
        )  # fmt: skip

    def cancel(self, *, by: Actor, reason: str) -> None:
        """Stop playing and free the proposal's validation slot.

        With results of the candidate it counts as a look, and the candidate's authors may not do it: whoever can watch
        a run and end it sits the exam until it looks well.
        """
        with self.locked():
            if self.proposal is not None and by.user_id in self.proposal.author_ids():
                raise OwnChangeError(f"{by.name} wrote {self.proposal} and cannot end its exam: ask a second person.")
            self._move("cancel", by=by, reason=reason, finished_at=True)
            self._free_slot(by, reason)

    def fail(self, *, by: Actor, reason: str) -> None:
        """Infrastructure gave out; nothing was judged."""
        with self.locked():
            self._move("fail", by=by, reason=reason, finished_at=True, error=reason)
            self._free_slot(by, reason)

    def _free_slot(self, by: Actor, reason: str) -> None:
        if self.proposal is not None and self.proposal.status == Proposal.Status.VALIDATING:
            self.proposal.requeue(by=by, reason=f"the run ended without a verdict: {reason}")


class RunCase(models.Model):
    """A case as it was frozen for a run, and the part it plays there. Append-only."""

    AGENT_PATH: ClassVar[str] = "run__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="run_cases")
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="run_cases")
    split = models.CharField(max_length=8)
    intent_slug = models.CharField(max_length=80, blank=True)
    is_target = models.BooleanField(default=False)
    is_protected = models.BooleanField(default=False)
    messages = models.JSONField()
    user_state = models.JSONField(default=dict)
    expectations = models.JSONField()
    weight = models.FloatField()
    cluster = models.CharField(max_length=160)
    kind = models.CharField(max_length=14)

    objects = FactsOfRunQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "case"), name="run_case_once"),)

    def __str__(self) -> str:
        return f"{self.case} in {self.run}"


class Result(models.Model):
    """What came of one case, arm and trial. Append-only: no finished result is played or paid for twice."""

    class Arm(models.TextChoices):
        BASELINE = "baseline", "Baseline"
        CANDIDATE = "candidate", "Candidate"

    AGENT_PATH: ClassVar[str] = "run__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="results")
    run_case = models.ForeignKey(RunCase, on_delete=models.PROTECT, related_name="results")
    arm = models.CharField(max_length=10, choices=Arm.choices)
    trial = models.PositiveSmallIntegerField()
    harness_digest = models.CharField(max_length=64)
    score = models.PositiveSmallIntegerField(help_text="Thousandths.")
    passed = models.BooleanField()
    latency_ms = models.FloatField(null=True)
    cost_usd = models.FloatField(null=True)
    violations = models.JSONField(default=list)
    crashed = models.BooleanField(default=False)
    dropped = models.BooleanField(default=False, help_text="Infrastructure failed three times; left out in both arms.")
    rationale = models.TextField(blank=True)
    output = models.JSONField(default=dict)
    steps = models.JSONField(default=list)
    played_at = models.DateTimeField(db_default=Now())

    objects = FactsOfRunQuerySet.as_manager()

    class Meta:
        ordering = ("run", "run_case", "trial", "arm")
        constraints = (models.UniqueConstraint(fields=("run_case", "arm", "trial"), name="result_once"),)

    def __str__(self) -> str:
        return f"{self.run_case.case} {self.arm} trial {self.trial}: {self.score}"


class LeakRelease(models.Model):
    """That a person looked at a suspected leak of the exam and let it go."""

    AGENT_PATH: ClassVar[str] = "run__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="leak_releases")
    reviewer = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    comment = models.TextField()
    is_simulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())

    objects = DecisionsOnRunQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("run", "reviewer"), name="leak_release_once"),)

    def __str__(self) -> str:
        return f"{self.reviewer} released the leak of {self.run}"
