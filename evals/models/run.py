"""Runs: baseline and candidate on the same frozen cases, and the verdict read off them."""

from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Now
from pydantic import BaseModel, Field

from accounts.access import Scope
from accounts.acting import Actor
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from accounts.roles import Permission
from audit.transitions import Edge, Stateful
from evals.conversing.reading import is_simulated
from evals.exceptions import OwnChangeError
from evals.models.benchmark import Benchmark, Case
from evals.models.matrix import Matrix
from evals.querysets import DecisionsOnRunQuerySet, FactsOfRunQuerySet, RunQuerySet
from harness.models import Agent, HarnessVersion, PolicyVersion
from harness.policy import Playing
from proposals.models import Proposal

__all__ = ["LeakRelease", "Result", "Run", "RunCase"]


class Allowance(BaseModel):
    """What a stopped run may spend beyond what it was allowed."""

    more_usd: float = Field(default=0.0, ge=0, le=1_000_000, description="Dollars more.")
    more_s: float = Field(default=0.0, ge=0, le=10_000_000, description="Seconds of playing more.")


class Run(Stateful):
    """One paired comparison. The verdict is a field; the numbers behind it are rows."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        STOPPED = "stopped", "Stopped"
        JUDGED = "judged", "Judged"
        CANCELED = "canceled", "Canceled"
        FAILED = "failed", "Failed"

    class Verdict(models.TextChoices):
        PASS = "pass", "Pass"  # a verdict, not a password
        FAIL = "fail", "Fail"
        HOLD = "hold", "Hold"

    class Runner(models.TextChoices):
        HTTP = "http", "The agent's endpoint"
        OPENAI = "openai", "The built-in tool loop"
        EXTERNAL = "external", "Elsewhere; results are posted"
        INTERNAL = "internal", "The platform itself"

    EDGES: ClassVar[tuple[Edge, ...]] = (
        Edge("start", frozenset({Status.QUEUED}), Status.RUNNING, None, "Start", by_machine=True, needs_reason=False),
        Edge("judge", frozenset({Status.RUNNING}), Status.JUDGED, None, "Judge", by_machine=True),
        Edge("stop", frozenset({Status.RUNNING}), Status.STOPPED, None, "Stop", by_machine=True),
        Edge("resume", frozenset({Status.STOPPED}), Status.RUNNING, Permission.START_RUN, "Resume", form=Allowance),
        Edge(
            "cancel",
            frozenset({Status.QUEUED, Status.RUNNING, Status.STOPPED}),
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
    runner = models.CharField(max_length=8, choices=Runner.choices, default=Runner.HTTP, help_text="Who plays it.")
    split = models.CharField(
        max_length=8, choices=Case.Split.choices, default=Case.Split.VERIFY,
        help_text="The cases it begins with: the exam, or development cases.",
    )  # fmt: skip
    targets = models.JSONField(
        default=list, help_text="Of a comparison: the intents it asks about; empty asks about all."
    )
    matrix = models.ForeignKey(Matrix, on_delete=models.PROTECT, null=True, related_name="runs", editable=False)
    trials = models.PositiveSmallIntegerField(default=3)
    seed = models.BigIntegerField(default=0)
    playing = models.JSONField(
        default=dict, editable=False, help_text="How it is played and what it may spend, in force since it started."
    )
    played_s = models.FloatField(default=0.0, editable=False, help_text="Seconds it was played, waiting left out.")
    judge_version = models.ForeignKey(
        HarnessVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+", editable=False,
        help_text="The judge of rubrics, the same for both arms; none where no case has one.",
    )  # fmt: skip
    judge_model = models.CharField(max_length=200, blank=True, editable=False)
    judge_digest = models.CharField(max_length=64, blank=True, editable=False)

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED, editable=False)
    verdict = models.CharField(max_length=4, choices=Verdict.choices, blank=True, editable=False)
    reading = models.JSONField(default=dict, editable=False, help_text="The verdict with every number behind it.")
    num_planned = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)

    objects = RunQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["reading", "played_s"])

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=~Q(status="judged") | ~Q(verdict=""), name="run_judged_has_verdict"),
        )
        indexes = (models.Index(fields=("agent", "status"), name="run_by_status"),)

    def __str__(self) -> str:
        return f"{self.candidate} against {self.baseline}"

    @property
    def is_comparison(self) -> bool:
        """Return whether somebody asked for it without a proposal: its verdict is shown and changes nothing."""
        return self.proposal_id is None

    @property
    def is_external(self) -> bool:
        """Return whether its results are posted."""
        return self.runner == self.Runner.EXTERNAL

    def access_scope(self) -> Scope:
        return self.agent.access_scope()

    def audit_digest(self) -> str:
        return self.candidate.digest

    def as_playing(self) -> Playing:
        """Return how it is played: as frozen at its start, before that as the agent's policy says."""
        return Playing.model_validate(self.playing) if self.playing else self.agent.current_policy().playing

    def keep_time(self, seconds: float) -> bool:
        """Count seconds of playing; `False` means that it is not being played any more: stop.

        An UPDATE without history: a counter that moves every second decides nothing by itself.
        """
        rows = Run._base_manager.filter(pk=self.pk, status=self.Status.RUNNING)
        return bool(rows.update(played_s=F("played_s") + seconds))

    def start(self, *, by: Actor, reason: str = "") -> None:
        """Begin to play; how is frozen here, so that a policy changed meanwhile moves no run under way."""
        playing = self.as_playing().model_dump(mode="json")
        self._move("start", by=by, reason=reason, started_at=True, playing=playing)

    def stop(self, *, by: Actor, reason: str) -> None:
        """Play no further until a person resumes or cancels it: its budget is spent. What was played stays."""
        self._move("stop", by=by, reason=reason, error=reason)

    def resume(self, *, by: Actor, reason: str, more_usd: float = 0.0, more_s: float = 0.0) -> None:
        """Play on with what is missing; the caller enqueues it. It stops again at once where the budget stays spent."""
        with self.locked():
            now = self.as_playing()
            more = {
                "budget_usd": None if now.budget_usd is None else now.budget_usd + more_usd,
                "budget_s": None if now.budget_s is None else now.budget_s + more_s,
            }
            playing = now.model_copy(update=more).model_dump(mode="json")
            facts = {"more_usd": more_usd, "more_s": more_s}
            self._move("resume", by=by, reason=reason, facts=facts, error="", playing=playing)

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
    conversation = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    expectations = models.JSONField()
    weight = models.FloatField()
    cluster = models.CharField(max_length=160)
    kind = models.CharField(max_length=14)

    objects = FactsOfRunQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "case"), name="run_case_once"),)

    def __str__(self) -> str:
        return f"{self.case} in {self.run}"

    @property
    def agent(self) -> Agent:
        return self.run.agent

    @property
    def is_simulated(self) -> bool:
        return is_simulated(self.conversation)


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
    runner = models.CharField(max_length=240, blank=True, help_text="Who played it, and where.")
    fingerprint = models.CharField(max_length=200, blank=True, help_text="The model that answered, where it is known.")
    reused_from = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="reuses",
        help_text="The result of another run that stands in here; it was paid for there.",
    )  # fmt: skip
    violations = models.JSONField(default=list)
    crashed = models.BooleanField(default=False)
    dropped = models.BooleanField(default=False, help_text="Infrastructure failed three times; left out in both arms.")
    rationale = models.TextField(blank=True)
    output = models.JSONField(default=dict)
    steps = models.JSONField(default=list)
    judgment = models.JSONField(null=True, help_text="What the judge said: its digest, the rubric's, grade, rationale.")
    played_at = models.DateTimeField(db_default=Now())

    objects = FactsOfRunQuerySet.as_manager()

    class Meta:
        ordering = ("run", "run_case", "trial", "arm")
        constraints = (models.UniqueConstraint(fields=("run_case", "arm", "trial"), name="result_once"),)

    def __str__(self) -> str:
        return f"{self.run_case.case} {self.arm} trial {self.trial}: {self.score}"

    @property
    def is_simulated(self) -> bool:
        """Whether the user who was talked to is a simulated one."""
        return self.run_case.is_simulated

    @property
    def broke_character(self) -> list[str]:
        """Return in which turns a model that played the user said what that user could not; empty when in none."""
        user = self.output.get("user") if self.is_simulated and isinstance(self.output, dict) else None
        return list(user.get("broke_character", ())) if isinstance(user, dict) else []


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
