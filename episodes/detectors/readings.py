"""What detectors read and what they return: plain values, no database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Found", "StepReading"]

type SignalKind = Literal["tool_error", "loop", "handoff", "abandonment", "rephrase"]


@dataclass(frozen=True)
class StepReading:
    """One step of an episode."""

    position: int
    kind: str
    name: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    status: str = "ok"
    error: str = ""

    @property
    def has_failed(self) -> bool:
        return self.status != "ok" or bool(self.error)


@dataclass(frozen=True)
class Found:
    """A detected fact, the layer it points to before anything else is known, and the spans it rests on."""

    kind: SignalKind
    layer: str
    evidence: dict[str, Any]
