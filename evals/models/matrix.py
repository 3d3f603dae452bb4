"""A matrix asks which learnings carry over to which models."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from accounts.access import Scope
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from evals.models.benchmark import Benchmark
from evals.querysets import MatrixQuerySet
from harness.models import Agent

__all__ = ["Matrix"]


class Matrix(models.Model):
    """Versions by models on one benchmark.

    Each cell is a comparison: a version against the one it was built on, both with the column's model.
    """

    AGENT_PATH: ClassVar[str] = "agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="matrices")
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="matrices")
    cells = models.JSONField(default=list, editable=False, help_text="Rows of version, base, model and run.")
    reason = models.TextField()
    asked_by = models.CharField(max_length=200, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = MatrixQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "matrices"

    def __str__(self) -> str:
        versions = {cell["version_number"] for cell in self.cells}
        models_named = {cell["model"] for cell in self.cells}
        return f"{len(versions)} versions by {len(models_named)} models on {self.benchmark}"

    def access_scope(self) -> Scope:
        return self.agent.access_scope()
