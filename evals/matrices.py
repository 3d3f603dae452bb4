"""Versions by models: each learning played on each model, against the version it was built on."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts.acting import Actor, acting
from audit.exceptions import ReasonMissingError
from audit.record import record
from episodes.models import Intent
from evals.comparing import refuse_comparing
from evals.exceptions import ComparisonError
from evals.freezing import targets_of
from evals.models import Benchmark, Case, Matrix, Run
from evals.starting import compare
from evals.transfer import Transfer, transfer_of
from harness.models import Agent, HarnessVersion
from proposals.models import Proposal

__all__ = ["MAX_CELLS", "Cell", "Learning", "ask_matrix", "read_matrix"]

MAX_CELLS = 30


@dataclass(frozen=True)
class Cell:
    """One learning on one model: where its run stands and, once it is judged, whether it carries over."""

    model: str
    run: Run | None
    transfer: Transfer | None
    sentence: str


@dataclass(frozen=True)
class Learning:
    """One step from a version to the next, with a cell for each model."""

    version: str
    base: str
    note: str
    cells: tuple[Cell, ...]


@transaction.atomic
def ask_matrix(
    benchmark: Benchmark, versions: Sequence[HarnessVersion], models: Sequence[str], *, by: Actor, reason: str,
    split: str = Case.Split.VERIFY, trials: int | None = None, runner: str = Run.Runner.HTTP,
) -> Matrix:  # fmt: skip
    """Have every version played against its parent on every model, and write the matrix down.

    A cell asks about the intents of the proposal that made the version, or about all. The versions with another model
    are ordinary versions: a model swap is released like any other change.
    """
    versions, models = list(dict.fromkeys(versions)), list(dict.fromkeys(name.strip() for name in models))
    refuse_comparing(benchmark, versions, split, by=by)
    _refuse_shape(versions, models, reason)
    agent = Agent.objects.locked().get(pk=benchmark.agent_id)
    with acting(by, reason=reason):
        matrix = Matrix(agent=agent, benchmark=benchmark, reason=reason, asked_by=by.name)
        matrix.save(force_insert=True)
        for version in versions:
            targets = _targets(version)
            for model in models:
                run = _played(matrix, version, model, by, reason, split, targets, trials, runner)
                matrix.cells.append(_as_cell(version, model, run))
        matrix.save(update_fields=["cells"])
        facts = {"versions": [version.number for version in versions], "models": models, "split": split}
        record("matrix.create", matrix, team_id=agent.team_id, facts=facts)
    return matrix


def _refuse_shape(versions: Sequence[HarnessVersion], models: Sequence[str], reason: str) -> None:
    if not reason.strip():
        raise ReasonMissingError("Say why you ask for the matrix: the record needs it.")
    if not versions or not models or not all(models):
        raise ComparisonError("A matrix needs at least one version and one model, each model by its name.")
    if len(versions) * len(models) > MAX_CELLS:
        raise ComparisonError(f"{len(versions)} versions by {len(models)} models are more than {MAX_CELLS} cells.")
    if first := next((version for version in versions if version.parent_id is None), None):
        raise ComparisonError(f"{first} was built on nothing, so it is no learning; leave it out.")


def _targets(version: HarnessVersion) -> frozenset[str]:
    proposal = Proposal.objects.filter(candidate=version).order_by("-id").first()
    if proposal is None:
        return frozenset()
    current = Intent.objects.filter(agent_id=version.agent_id).current().values_list("slug", flat=True)
    return targets_of(proposal) & frozenset(current)


def _played(
    matrix: Matrix, version: HarnessVersion, model: str, by: Actor, reason: str, split: str, targets: frozenset[str],
    trials: int | None, runner: str,
) -> Run | None:  # fmt: skip
    """Begin the run of a cell; none where the step was the model itself, so that nothing is left of it."""
    assert version.parent is not None  # refused above
    base, swapped = (_on_model(one, model, by) for one in (version.parent, version))
    if base.digest == swapped.digest:
        return None
    return compare(
        base, swapped, matrix.benchmark, by=by, reason=reason, split=split, targets=targets, trials=trials,
        runner=runner, matrix=matrix,
    )  # fmt: skip


def _on_model(version: HarnessVersion, model: str, by: Actor) -> HarnessVersion:
    """Return the version with this model; its other settings stay. The caller holds the agent's lock."""
    document: dict[str, Any] = copy.deepcopy(version.document)
    if document.get("model", {}).get("name") == model:
        return version
    document["model"] = {**document.get("model", {}), "name": model}
    return HarnessVersion.create(
        agent=version.agent, document=document, parent=version, by=by, note=f"{version} with the model {model}"
    )


def _as_cell(version: HarnessVersion, model: str, run: Run | None) -> dict[str, Any]:
    assert version.parent is not None  # as above
    return {
        "version": version.digest, "version_number": version.number, "base_number": version.parent.number,
        "note": version.note, "model": model, "run": str(run.pk) if run else None,
    }  # fmt: skip


def read_matrix(matrix: Matrix) -> list[Learning]:
    """Return the learnings with their cells, as the runs stand now."""
    runs = {str(run.pk): run for run in matrix.runs.all()}
    rows: dict[int, list[dict[str, Any]]] = {}
    for cell in matrix.cells:
        rows.setdefault(cell["version_number"], []).append(cell)
    return [
        Learning(
            version=f"v{number}", base=f"v{cells[0]['base_number']}", note=cells[0]["note"],
            cells=tuple(_cell(cell["model"], runs.get(cell["run"] or "")) for cell in cells),
        )
        for number, cells in sorted(rows.items())
    ]  # fmt: skip


def _cell(model: str, run: Run | None) -> Cell:
    if run is None:
        return Cell(model, None, None, "The step is the model itself: on this one, both documents are the same.")
    if run.status != Run.Status.JUDGED:
        return Cell(model, run, None, f"{run.get_status_display()}. {run.error}".strip())
    transfer = transfer_of(run.reading["gates"])
    return Cell(model, run, transfer, transfer.sentence)
