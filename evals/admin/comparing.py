"""Comparisons and matrices: asked for on a benchmark's page, read on pages of their own."""

from typing import Any, Literal

from django.contrib import admin
from django.http import HttpRequest
from pydantic import BaseModel, Field

from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import Act, GovernedAdmin, VisibleRelatedFilter, folded
from evals.comparing import MAX_TRIALS, version_named
from evals.matrices import ask_matrix, read_matrix
from evals.models import Benchmark, Matrix
from evals.starting import compare

__all__ = ["COMPARING", "MatrixAdmin"]


class _Asked(BaseModel):
    split: Literal["verify", "dev"] = Field(
        default="verify", description="The exam, or development cases: who has an open proposal plays the latter."
    )
    trials: int | None = Field(default=None, ge=1, le=MAX_TRIALS, description="Empty: as many as the policy says.")
    runner: Literal["http", "external"] = Field(
        default="http", description="The agent's endpoint, or elsewhere: then results are posted."
    )


class ComparisonAsked(_Asked):
    """Two versions of the agent, by number or digest."""

    baseline: str = Field(max_length=64, description="A version's number, or the beginning of its digest.")
    candidate: str = Field(max_length=64, description="The same version twice measures the noise.")
    targets: str = Field(default="", max_length=2_000, description="Intents that are asked about, by slug; empty: all.")


class MatrixAsked(_Asked):
    """Versions, each against the one it was built on, by models."""

    versions: str = Field(max_length=300, description="Numbers, e.g. 3, 4, 7.")
    models: str = Field(max_length=2_000, description="Names of models, with commas between.")


def _compare(row: Benchmark, *, by: Actor, reason: str, **asked: Any) -> str:
    baseline, candidate = (version_named(row.agent, asked.pop(arm)) for arm in ("baseline", "candidate"))
    run = compare(baseline, candidate, row, by=by, reason=reason, targets=_listed(asked.pop("targets")), **asked)
    return f"{run} is asked for; follow it under Runs. Its verdict is shown and changes nothing."


def _ask_matrix(row: Benchmark, *, by: Actor, reason: str, **asked: Any) -> str:
    versions = [version_named(row.agent, name) for name in _listed(asked.pop("versions"))]
    matrix = ask_matrix(row, versions, _listed(asked.pop("models")), by=by, reason=reason, **asked)
    return f"{matrix}: {len(matrix.cells)} cells are asked for; read them under Matrices."


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


COMPARING = (
    Act("compare", "Compare two versions", Permission.START_RUN, _compare, form=ComparisonAsked),
    Act("ask_matrix", "Versions by models", Permission.START_RUN, _ask_matrix, form=MatrixAsked),
)


@admin.register(Matrix)
class MatrixAdmin(GovernedAdmin):
    list_display = ("__str__", "agent", "asked_by", "created_at")
    list_filter = (("agent", VisibleRelatedFilter),)
    list_select_related = ("agent", "benchmark")
    ordering = ("-id",)
    fieldsets = folded("agent", "benchmark", "reason", "asked_by", "created_at")
    reading_template = "evals/matrix.html"

    def reading(self, request: HttpRequest, row: Matrix) -> dict[str, Any]:
        colors = {"transfers": "good", "harmful": "bad", "neutral": "wait"}
        learnings = [
            {
                "learning": learning,
                "cells": [
                    {"cell": cell, "color": colors[cell.transfer.label] if cell.transfer else ""}
                    for cell in learning.cells
                ],
            }
            for learning in read_matrix(row)
        ]
        return {
            "models": list(dict.fromkeys(cell["model"] for cell in row.cells)), "learnings": learnings,
            "reason": row.reason, "asked_by": row.asked_by,
        }  # fmt: skip
