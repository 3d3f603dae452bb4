"""What playing a harness means: one turn of a document in, what came of it out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["InfrastructureError", "Played", "Runner"]


class InfrastructureError(Exception):
    """Nothing can be said: whoever plays could not be reached or was not ready. Nobody's fault in the harness."""


@dataclass(frozen=True)
class Played:
    """What came of one turn. A crash of the agent is a result; the reply is empty then.

    `fingerprint` names the model that answered, as exactly as it names itself; empty where that is unknown.
    """

    output: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = ()
    latency_ms: float = 0.0
    cost_usd: float = 0.0
    crashed: bool = False
    error: str = ""
    fingerprint: str = ""


class Runner(Protocol):
    """Plays one turn of a document, from any thread. Tools give recorded, scripted or sandboxed results.

    `name` says who plays and where: results of runners of one name can be compared.
    """

    name: str

    def play(
        self,
        document: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        *,
        user_state: Mapping[str, Any],
        seed: int,
    ) -> Played:
        """Return what came of it; raise `InfrastructureError` when nothing can be said."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
