"""The ledger: every call to a model, what it took and what came of it. It holds no text of prompts or answers."""

from decimal import Decimal

from django.db import models
from django.utils import timezone

from accounts.ids import uuid7
from inference.querysets import LedgerQuerySet

__all__ = ["LedgerEntry"]


class LedgerEntry(models.Model):
    """One request to a model's endpoint: a fact, never changed.

    The rows of one question share `call_id` and are numbered by `attempt`: retries and the repair round are requests
    of their own. `agent_id` and `team_id` name the agent the question was asked for.
    """

    class Outcome(models.TextChoices):
        ANSWERED = "answered", "Answered"
        INVALID = "invalid", "Answer did not fit"
        REFUSED = "refused", "Model refused"
        TIMED_OUT = "timed_out", "Timed out"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(default=timezone.now, editable=False, help_text="When the request ended.")
    call_id = models.UUIDField(editable=False)
    attempt = models.PositiveSmallIntegerField(default=1)

    agent_id = models.UUIDField(null=True, blank=True, help_text="The agent this was asked for.")
    team_id = models.UUIDField(null=True, blank=True)
    role = models.CharField(max_length=60, help_text="Who asked: critic, proposer, judge, …")
    purpose = models.CharField(max_length=120, help_text="What for, as entity.action.")

    source = models.CharField(max_length=255, help_text="Who answered: the host of the endpoint.")
    model = models.CharField(max_length=200, help_text="The model asked for.")
    provider_model = models.CharField(max_length=200, blank=True, help_text="The model the provider says answered.")

    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    is_estimated = models.BooleanField(
        default=False, help_text="The endpoint reported no usage; tokens are counted as four characters each."
    )
    cost_usd = models.DecimalField(max_digits=16, decimal_places=9, default=Decimal(0))
    latency_ms = models.PositiveIntegerField(default=0)

    outcome = models.CharField(max_length=20, choices=Outcome)
    error = models.CharField(max_length=120, blank=True, help_text="The class of the error and its HTTP status.")

    objects = LedgerQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger entries"
        indexes = (
            # Covers the budget's question, which every call asks.
            models.Index(fields=("at",), include=("cost_usd",), name="ledger_at"),
            models.Index(fields=("agent_id", "-id"), name="ledger_agent"),
            models.Index(fields=("team_id", "-id"), name="ledger_team"),
        )
        constraints = (
            models.CheckConstraint(condition=models.Q(cost_usd__gte=0), name="ledger_cost_not_negative"),
            models.CheckConstraint(
                condition=models.Q(outcome="answered", error="") | ~models.Q(outcome="answered") & ~models.Q(error=""),
                name="ledger_error_names_failure",
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} · {self.purpose} · {self.get_outcome_display()} · ${self.cost_usd:.6f}"
