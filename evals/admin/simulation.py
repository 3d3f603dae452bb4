"""Simulated users: how like recorded ones they were found to be, and cases made of recorded conversations."""

from typing import Annotated, Any, Literal

from django.contrib import admin
from pydantic import BaseModel, Field
from unfold.decorators import display

from accounts.acting import Actor
from accounts.roles import Permission
from audit.desk import Act, GovernedAdmin, VisibleRelatedFilter
from evals.conversing.asking import ask_for_calibration
from evals.conversing.reading import ConversationError, lines_of
from evals.conversing.recorded import add_recorded_case
from evals.models import Benchmark, SimulationCalibration

__all__ = ["SIMULATION_ACTS", "RecordedCase", "SimulationCalibrationAdmin", "calibrations_of", "readable"]


class RecordedCase(BaseModel):
    """What it takes to make a case of a recorded conversation."""

    conversation: Annotated[
        str, Field(min_length=1, max_length=200, description="The id under which the agent reported it.")
    ]
    name: Annotated[str, Field(min_length=1, max_length=160)]
    kind: Literal["success", "known_failure", "edge", "high_risk"]
    expectations: Annotated[
        dict[str, Any], Field(description='What must hold of the replies, e.g. {"contains": ["30 days"]}.')
    ]


def _add_recorded_case(row: Benchmark, *, by: Actor, reason: str, **given: Any) -> str:
    case = add_recorded_case(row, by=by, **given)
    return f"{case} is a draft now: it says what the recorded user said, in the split of that conversation."


def has_simulated_cases(benchmark: Benchmark) -> bool:
    """Return whether there is anything to calibrate."""
    return bool(benchmark.cases.active().simulated().exists())


SIMULATION_ACTS = (
    Act(
        "add_recorded_case",
        "Add a recorded conversation",
        Permission.EDIT_BENCHMARK,
        _add_recorded_case,
        needs_reason=False,
        form=RecordedCase,
    ),
    Act(
        "calibrate_simulation",
        "Calibrate simulated users",
        Permission.EDIT_BENCHMARK,
        ask_for_calibration,
        needs_reason=False,
        offered=has_simulated_cases,
    ),
)


def calibrations_of(benchmark: Benchmark) -> list[SimulationCalibration]:
    """Return the newest calibration of each manner, the last one first."""
    return sorted(
        SimulationCalibration.objects.filter(benchmark=benchmark).newest(), key=lambda row: row.pk, reverse=True
    )


def readable(conversation: Any) -> list[tuple[str, str]]:
    """Return a conversation as people read it; where it cannot be played, why."""
    try:
        return lines_of(conversation)
    except ConversationError as refusal:
        return [("Cannot be played", str(refusal))]


@admin.register(SimulationCalibration)
class SimulationCalibrationAdmin(GovernedAdmin):
    list_display = ("benchmark", "verdict", "sentence", "played_by", "asked_by", "created_at")
    list_filter = (("benchmark", VisibleRelatedFilter), "verdict")
    list_select_related = ("benchmark",)
    ordering = ("-id",)
    reading_template = "evals/simulation_calibration.html"

    def reading(self, request: Any, row: SimulationCalibration) -> dict[str, Any]:
        return {"statistics": row.reading.get("statistics", ()), "sentence": row.sentence}

    @display(description="Played by")
    def played_by(self, row: SimulationCalibration) -> str:
        return str(row.manner.get("model") or row.manner.get("by", ""))
