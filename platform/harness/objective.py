"""What an agent is optimized for: a primary metric, guard metrics, tripwires, and whose word counts.

An objective is an immutable, numbered document of the agent. No proposal can touch it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from harness.canonical import JsonObject

__all__ = [
    "TRUTH_SOURCES",
    "GuardMetric",
    "Objective",
    "PrimaryMetric",
    "Tripwire",
    "default_objective",
    "demo_objective",
]

type MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
type Direction = Literal["higher", "lower"]
type TruthSource = Literal["customer", "staff", "detector"]

TRUTH_SOURCES: tuple[TruthSource, ...] = ("customer", "staff", "detector")
"""Whose outcomes count, strongest first: the customer's system, staff, a detector. Never the agent itself."""

_HOUR_S = 3600


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PrimaryMetric(_Part):
    """The outcome to improve, as a share of conversations."""

    name: MetricName = "resolved"
    direction: Direction = "higher"


class GuardMetric(_Part):
    """A metric that may not get worse by more than `margin`.

    `unit` says how the margin is read: `share` as a difference of shares (.05 is five percentage points), `ratio` as a
    relative change (.10 is ten percent).
    """

    direction: Direction
    margin: Annotated[float, Field(gt=0, le=1)]
    unit: Literal["share", "ratio"] = "share"


class Tripwire(_Part):
    """A count that acts at once when a candidate reaches it, without waiting for a test."""

    at_least: Annotated[int, Field(ge=1)] = 1
    action: Literal["pause", "roll_back"] = "roll_back"


def _guards() -> dict[MetricName, GuardMetric]:
    return {
        "failed": GuardMetric(direction="lower", margin=0.05),
        "escalated": GuardMetric(direction="lower", margin=0.05),
        "frustrated": GuardMetric(direction="lower", margin=0.05),
        "latency": GuardMetric(direction="lower", margin=0.10, unit="ratio"),
        "cost": GuardMetric(direction="lower", margin=0.10, unit="ratio"),
    }


class Objective(_Part):
    """The objective document. `maturity_s` is the silence after which a conversation is settled and may be judged."""

    primary: PrimaryMetric = PrimaryMetric()
    guards: dict[MetricName, GuardMetric] = Field(default_factory=_guards)
    tripwires: dict[MetricName, Tripwire] = Field(default_factory=lambda: {"critical_violation": Tripwire()})
    maturity_s: Annotated[float, Field(gt=0)] = _HOUR_S
    truth_sources: list[TruthSource] = Field(default_factory=lambda: list(TRUTH_SOURCES), min_length=1)

    @model_validator(mode="after")
    def _is_coherent(self) -> "Objective":
        if self.primary.name in self.guards:
            message = f"{self.primary.name!r} is the primary metric and a guard too; keep one of them"
            raise ValueError(message)
        if len(set(self.truth_sources)) != len(self.truth_sources):
            message = f"truth_sources {self.truth_sources!r} names a source twice; name each once, strongest first"
            raise ValueError(message)
        return self

    def document(self) -> JsonObject:
        """Return the objective as plain JSON."""
        plain: JsonObject = self.model_dump(mode="json")
        return plain


def default_objective() -> JsonObject:
    """Return the shipped objective: resolve more, and fail, escalate, frustrate, wait and spend no more."""
    return Objective().document()


def demo_objective() -> JsonObject:
    """Return the shipped objective with the demo's clock: conversations settle after a second."""
    return Objective(maturity_s=1.0).document()
