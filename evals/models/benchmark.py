"""An agent's examples."""

from typing import ClassVar

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from accounts.access import Scope
from accounts.acting import Actor
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from accounts.models import User
from accounts.roles import Permission
from audit.transitions import Edge, Stateful
from episodes.models import Correction, Episode, Intent
from evals.conversing.reading import is_simulated
from evals.exceptions import CaseUsedError, OwnChangeError
from evals.querysets import BenchmarkQuerySet, CaseQuerySet, FactsOfRunQuerySet
from evals.scoring import validate_expectations
from harness.models import Agent
from proposals.models import Proposal

__all__ = ["Benchmark", "Case", "CurationTrial"]


class Benchmark(models.Model):
    """A named set of cases of one agent. One is active and judges proposals."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="benchmarks")
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    is_active = models.BooleanField(default=True)
    scored_outside = models.BooleanField(
        default=False, help_text="Results of runs played elsewhere bring their own scores, which are believed."
    )
    holdout_looks = models.PositiveIntegerField(default=0, editable=False)
    rotated_at = models.DateTimeField(null=True, editable=False, help_text="Looks and attempts count from here.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = BenchmarkQuerySet.as_manager()
    history = GovernedHistory(excluded_fields=["holdout_looks"])

    class Meta:
        ordering = ("agent", "name")
        constraints = (
            models.UniqueConstraint(fields=("agent", "name"), name="benchmark_name_once"),
            models.UniqueConstraint(fields=("agent",), condition=Q(is_active=True), name="one_active_benchmark"),
        )

    def __str__(self) -> str:
        return self.name

    def refuse_examinees(self, by: Actor, act: str) -> None:
        """Raise `OwnChangeError` where `by` has an open proposal of the agent: nobody moves the exam they sit."""
        own = Proposal.objects.pending().filter(agent_id=self.agent_id, authors__user_id=by.user_id)
        if by.user_id is not None and (first := own.first()):
            raise OwnChangeError(
                f"{by.name} may not {act}: {first} is theirs and open, and {self} may judge it. Ask a second person."
            )


class Case(Stateful):
    """One example: what the user says, with which state, and what must come of it."""

    class Kind(models.TextChoices):
        SUCCESS = "success", "Success"
        KNOWN_FAILURE = "known_failure", "Known failure"
        EDGE = "edge", "Edge"
        HIGH_RISK = "high_risk", "High risk"

    class Split(models.TextChoices):
        DEV = "dev", "Development"
        VERIFY = "verify", "Verification"
        HOLDOUT = "holdout", "Hold-out"

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        ACTIVE = "active", "Active"
        RETIRED = "retired", "Retired"

    AGENT_PATH: ClassVar[str] = "benchmark__agent"
    EDGES: ClassVar[tuple[Edge, ...]] = (
        Edge(
            "activate",
            frozenset({Status.DRAFT}),
            Status.ACTIVE,
            Permission.EDIT_BENCHMARK,
            "Activate",
            needs_reason=False,
        ),
        Edge("retire", frozenset({Status.DRAFT, Status.ACTIVE}), Status.RETIRED, Permission.EDIT_BENCHMARK, "Retire"),
        Edge("reopen", frozenset({Status.ACTIVE, Status.RETIRED}), Status.DRAFT, Permission.EDIT_BENCHMARK, "Reopen"),
    )

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="cases")
    name = models.CharField(max_length=160)
    kind = models.CharField(max_length=14, choices=Kind.choices)
    split = models.CharField(max_length=8, choices=Split.choices)
    intent = models.ForeignKey(Intent, on_delete=models.PROTECT, null=True, blank=True, related_name="cases")
    cluster = models.CharField(max_length=160, help_text="The coarsest known of template, source conversation, user.")
    weight = models.FloatField(default=1.0)
    source = models.CharField(
        max_length=160, blank=True, help_text="Where it comes from: an episode, a person, a file."
    )
    episode = models.ForeignKey(
        Episode, on_delete=models.PROTECT, null=True, editable=False, related_name="cases",
        help_text="The captured episode it was drafted from.",
    )  # fmt: skip
    correction = models.ForeignKey(
        Correction, on_delete=models.PROTECT, null=True, editable=False, related_name="cases",
        help_text="The correction that says what it expects.",
    )  # fmt: skip
    messages = models.JSONField(help_text="The conversation up to the turn that is judged.")
    user_state = models.JSONField(default=dict, blank=True)
    conversation = models.JSONField(
        default=dict, db_default=Value({}, models.JSONField()), blank=True,
        help_text="How the user goes on: a script or a simulated user; empty for a single turn.",
    )  # fmt: skip
    author = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, editable=False, related_name="+",
        help_text="Who wrote it, and so proposes nothing that it judges.",
    )  # fmt: skip
    expectations = models.JSONField(help_text='What must hold of the reply, e.g. {"contains": ["30 days"]}.')
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.DRAFT, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CaseQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("benchmark", "split", "name")
        constraints = (models.UniqueConstraint(fields=("benchmark", "name"), name="case_name_once"),)
        indexes = (models.Index(fields=("benchmark", "split", "status"), name="case_place"),)

    def __str__(self) -> str:
        return self.name

    def access_scope(self) -> Scope:
        return self.benchmark.agent.access_scope()

    @property
    def agent(self) -> Agent:
        return self.benchmark.agent

    @property
    def is_simulated(self) -> bool:
        return is_simulated(self.conversation)

    def activate(self, *, by: Actor, reason: str = "") -> None:
        """Put a draft in use; from here on its text does not change. People with an open proposal may not.

        A draft that expects nothing yet is refused.
        """
        with self.locked():
            if self.status == self.Status.DRAFT and (self.expectations or not self.benchmark.scored_outside):
                validate_expectations(self.expectations)
            if self.split != self.Split.DEV:
                self.benchmark.refuse_examinees(by, "put a case in use")
            self._move("activate", by=by, reason=reason)

    def retire(self, *, by: Actor, reason: str) -> None:
        """Take a case out of use. People with an open proposal may not where it judges."""
        if self.split != self.Split.DEV and self.status == self.Status.ACTIVE:
            self.benchmark.refuse_examinees(by, "retire a case in use")
        self._move("retire", by=by, reason=reason)

    def reopen(self, *, by: Actor, reason: str) -> None:
        """Make it a draft again while it was never played; its trials and verdicts are those of the text it has."""
        with self.locked():
            if self.split != self.Split.DEV and self.status == self.Status.ACTIVE:
                self.benchmark.refuse_examinees(by, "take a case out of use")
            if self.run_cases.exists() or self.curation_trials.exists():
                raise CaseUsedError(f"{self} was played already: retire it and write it anew.")
            self._move("reopen", by=by, reason=reason)


class CurationTrial(models.Model):
    """One trial of a case on one version, played to choose cases; it never counts in a gate. Append-only."""

    AGENT_PATH: ClassVar[str] = "case__benchmark__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    case = models.ForeignKey(Case, on_delete=models.PROTECT, related_name="curation_trials")
    digest = models.CharField(max_length=64, help_text="The version played.")
    trial = models.PositiveSmallIntegerField()
    passed = models.BooleanField()
    latency_ms = models.FloatField()
    played_at = models.DateTimeField(db_default=Now())

    objects = FactsOfRunQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("case", "digest", "trial"), name="curation_once"),)

    def __str__(self) -> str:
        return f"{self.case} on {self.digest[:8]} trial {self.trial}"
