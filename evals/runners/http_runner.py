"""The runner that asks the agent's own endpoint over HTTP."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Literal, Self

from evals.runners.connections import Connections, NoAnswerError, UnreachableError, without_credentials
from evals.runners.protocol import InfrastructureError, Played

__all__ = ["HttpRunner"]

TIMEOUT_S = 60.0
_NOT_READY = frozenset({429, 502, 503, 504})
_SHOWN = 200


class HttpRunner:
    """Asks `POST {endpoint}/turn` of the agent itself, which plays the given document.

    Validation always plays with recorded tools; only a measurement outside of any gate may ask for live ones.
    `timeout_s` bounds the whole turn. An agent that took the turn and is not done by then crashed: a harness can cause
    that, so it is a result; one that could not be reached is infrastructure.
    """

    def __init__(
        self, endpoint: str, *, tools: Literal["recorded", "live"] = "recorded", timeout_s: float = TIMEOUT_S
    ) -> None:
        self.name = f"http {without_credentials(endpoint)}"
        self._tools = tools
        self._connections = Connections(f"{endpoint.rstrip('/')}/turn", timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connections.close()

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
            status, content = self._connections.post(body)
        except UnreachableError as error:
            raise InfrastructureError(str(error)) from error
        except NoAnswerError as error:
            return Played(latency_ms=_since(started), crashed=True, error=str(error))
        if status in _NOT_READY:
            raise InfrastructureError(f"The endpoint answered {status}.")
        return _read(status, content, _since(started))


def _read(status: int, content: bytes, wall_ms: float) -> Played:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if status != HTTPStatus.OK or not isinstance(answer, dict) or not isinstance(answer.get("output"), dict):
        said = answer.get("error", "") if isinstance(answer, dict) else content[:_SHOWN].decode(errors="replace")
        return Played(latency_ms=wall_ms, crashed=True, error=f"{status}: {said}"[: 2 * _SHOWN])
    try:
        usage = dict(answer.get("usage") or {})
        return Played(
            output=answer["output"],
            steps=[dict(step) for step in answer.get("steps") or ()],
            latency_ms=_amount(usage, "latency_ms") or wall_ms,
            cost_usd=_amount(usage, "cost_usd"),
            fingerprint=str(usage.get("model_fingerprint") or "")[:_SHOWN],
        )
    except (TypeError, ValueError) as error:
        return Played(
            latency_ms=wall_ms, crashed=True, error=f"steps or usage have another form: {error}"[: 2 * _SHOWN]
        )


def _amount(usage: Mapping[str, Any], name: str) -> float:
    value = float(usage.get(name) or 0.0)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value!r}; give a number from 0 up")
    return value


def _since(started: float) -> float:
    return 1_000 * (time.perf_counter() - started)
