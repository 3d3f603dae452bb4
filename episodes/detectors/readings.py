"""What detectors read and what they return: plain values, no database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

__all__ = ["STEP_KINDS", "STEP_KIND_CHOICES", "Found", "StepReading"]

STEP_KINDS: Mapping[str, str] = {
    "model_call": "Model call",
    "tool_call": "Tool call",
    "retrieval": "Retrieval",
    "handoff": "Hand-off",
    "check": "Check",
}
STEP_KIND_CHOICES = tuple(STEP_KINDS.items())

type SignalKind = Literal["tool_error", "loop", "handoff", "abandonment", "rephrase"]


@dataclass(frozen=True)
class StepReading:
    """One act inside an episode: a model or tool call, a retrieval, a hand-off, a check, with its attempt.

    `position` counts from 1 within the episode; `latency_ms` is `None` where nobody measured.
    """

    position: int
    kind: str
    name: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    error: str = ""
    attempt: int = 1
    latency_ms: float | None = None

    @classmethod
    def from_stored(cls, position: int, stored: Mapping[str, Any]) -> Self:
        """Read the step as an episode stores it: what is left out is the default."""
        return cls(position, **stored)

    @property
    def label(self) -> str:
        return STEP_KINDS.get(self.kind, self.kind)

    @property
    def has_failed(self) -> bool:
        return self.status != "ok" or bool(self.error)


@dataclass(frozen=True)
class Found:
    """A detected fact, the layer it points to before anything else is known, and the spans it rests on."""

    kind: SignalKind
    layer: str
    evidence: dict[str, Any]
