"""Play a harness: the protocol, and the runner that asks the agent's own endpoint over HTTP."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import httpx

__all__ = ["HttpRunner", "InfrastructureError", "Played", "Runner"]

TIMEOUT_S = 60.0


class InfrastructureError(Exception):
    """The endpoint could not be reached or did not answer: nobody's fault in the harness."""


@dataclass(frozen=True)
class Played:
    """What came of one turn. A crash of the agent is a result; the reply is empty then."""

    output: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = ()
    latency_ms: float = 0.0
    cost_usd: float = 0.0
    crashed: bool = False
    error: str = ""


class Runner(Protocol):
    """Plays one turn of a document. Never with live tools: recorded or scripted results only."""

    def play(
        self,
        document: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        *,
        user_state: Mapping[str, Any],
        seed: int,
    ) -> Played:
        """Return what came of it; raise `InfrastructureError` when nothing can be said."""


class HttpRunner:
    """Asks `POST {endpoint}/turn` of the agent itself, which plays the given document.

    Validation always plays with recorded tools; only a measurement outside of any gate may ask for live ones.
    """

    def __init__(
        self, endpoint: str, *, tools: Literal["recorded", "live"] = "recorded", timeout_s: float = TIMEOUT_S
    ) -> None:
        self._tools = tools
        self._client = httpx.Client(base_url=endpoint.rstrip("/"), timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def play(
        self,
        document: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        *,
        user_state: Mapping[str, Any],
        seed: int,
    ) -> Played:
        body = {
            "harness": document,
            "messages": list(messages),
            "user": user_state.get("user", "benchmark"),
            "user_state": dict(user_state),
            "tools": self._tools,
            "seed": seed,
        }
        started = time.perf_counter()
        try:
            response = self._client.post("/turn", json=body)
        except httpx.TransportError as error:
            raise InfrastructureError(f"{type(error).__name__}: {error}") from error
        wall_ms = 1_000 * (time.perf_counter() - started)
        if response.status_code in (429, 502, 503, 504):
            raise InfrastructureError(f"The endpoint answered {response.status_code}.")
        return self._read(response, wall_ms)

    @staticmethod
    def _read(response: httpx.Response, wall_ms: float) -> Played:
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code != httpx.codes.OK or not isinstance(answer, dict) or "output" not in answer:
            detail = answer.get("error", "") if isinstance(answer, dict) else response.text[:200]
            return Played(latency_ms=wall_ms, crashed=True, error=f"{response.status_code}: {detail}")
        usage = answer.get("usage") or {}
        return Played(
            output=answer["output"],
            steps=answer.get("steps") or (),
            latency_ms=float(usage.get("latency_ms") or wall_ms),
            cost_usd=float(usage.get("cost_usd") or 0.0),
        )
