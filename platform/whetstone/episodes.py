"""Record what an agent lives through, step by step, without ever getting in its way."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from whetstone.harness import Harness

__all__ = ["Episode", "StepKind", "Timed", "current_episode"]

type StepKind = Literal["model_call", "tool_call", "retrieval", "handoff", "check"]

_current: ContextVar["Episode | None"] = ContextVar("whetstone_episode", default=None)
_MAX_ERROR = 20_000
_MAX_REASON = 300
_SUMS = frozenset({"input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd", "latency_ms"})


def current_episode() -> "Episode | None":
    """Return the episode this thread or task is inside of; None outside of every `with ws.episode(…)`."""
    return _current.get()


@dataclass(slots=True)
class Timed:
    """A step under way; what is set here until it ends is what it did."""

    output: Any = None
    error: str = ""


class Episode:
    """One agent run being recorded. Made by `Client.episode`; sent when its `with` block ends, however it ends.

    No method raises, whatever it is given. `id` may be given to whoever reports outcomes later; `accepted` says, after
    the block, whether the episode was taken in (see `Client.record` for what that means).
    """

    def __init__(
        self, record: Callable[[Mapping[str, Any]], bool], harness: Harness | None, *, is_durable: bool, **facts: Any
    ) -> None:
        self._record = record
        self._is_durable = is_durable
        self._facts = {name: value for name, value in facts.items() if value}
        self._steps: list[dict[str, Any]] = []
        self._sources: list[Any] = []
        self._usage: dict[str, Any] = {}
        self._attributes: dict[str, Any] = dict(facts.get("attributes") or {})
        self._outcomes: list[dict[str, Any]] = []
        self._token: Token[Episode | None] | None = None
        self.attempt = 1
        self.accepted: bool | None = None
        self.id: str = str(facts.get("id") or uuid.uuid4())
        if harness is not None:
            self._facts |= harness.reference()
            self._facts.setdefault("conversation", harness.conversation or None)
            self._facts.setdefault("subject", harness.user)
            age_s = None if harness.age_s is None else round(harness.age_s, 1)
            self._attributes |= {"harness_source": harness.source, "harness_age_s": age_s}
        self._facts["input"] = _as_input(facts.get("input"))
        self._facts["started_at"] = _now()

    def step(
        self,
        kind: StepKind,
        name: str = "",
        *,
        input: Any = None,  # noqa: A002 - the episode's own word
        output: Any = None,
        error: str | BaseException = "",
        latency_ms: float | None = None,
        attempt: int | None = None,
    ) -> None:
        """Add one act: a model or tool call, a retrieval, a hand-off, a check. A step with an error has failed."""
        with suppress(Exception):
            text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error or "")
            self._steps.append(
                {
                    "kind": kind, "name": str(name)[:200], "attempt": max(1, attempt or self.attempt),
                    "input": input, "output": output, "status": "error" if text else "ok", "error": text[:_MAX_ERROR],
                    "latency_ms": None if latency_ms is None else round(max(0.0, latency_ms), 3),
                }
            )  # fmt: skip

    @contextmanager
    def during(self, kind: StepKind, name: str = "", *, input: Any = None) -> Iterator[Timed]:  # noqa: A002 - as above
        """Time a step around a block; set `output` on what it yields. An exception is the step's error, and passes on."""
        timed, started = Timed(), time.perf_counter()
        try:
            yield timed
        except BaseException as error:
            timed.error = timed.error or f"{type(error).__name__}: {error}"
            raise
        finally:
            latency_ms = 1000 * (time.perf_counter() - started)
            self.step(kind, name, input=input, output=timed.output, error=timed.error, latency_ms=latency_ms)

    def output(self, value: Any) -> None:
        """Set what the agent answered: a text, or an object."""
        self._facts["output"] = {"text": value} if isinstance(value, str) else value

    def source(self, *sources: Any) -> None:
        """Add what the answer rests on."""
        self._sources.extend(sources)

    def usage(self, **numbers: Any) -> None:
        """Add to what the run used; tokens, `cost_usd` and `latency_ms` sum up, other names are set."""
        with suppress(Exception):
            for name, number in numbers.items():
                if number is not None:
                    self._usage[name] = self._usage.get(name, 0) + number if name in _SUMS else number

    @property
    def cost_usd(self) -> float:
        """What the run cost so far, as far as `usage` was told."""
        return float(self._usage.get("cost_usd", 0.0))

    @property
    def num_steps(self) -> int:
        """How many steps were recorded so far."""
        return len(self._steps)

    def attribute(self, name: str, value: Any) -> None:
        """Set a free fact."""
        self._attributes[str(name)] = value

    def outcome(self, name: str, *, value: float = 1.0, reason: str = "") -> None:
        """Say how it ended, as the agent sees it (`resolved failed abandoned escalated blocked`, or your own word)."""
        self._outcomes.append({"name": name, "value": value, "reason": str(reason)[:_MAX_REASON]})

    def blocked(self, reason: str) -> None:
        """Say that the agent could not go on, and why."""
        self.outcome("blocked", reason=reason)

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)
        self._send()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)
        if self._is_durable:
            # The disk may be slow; the event loop is not the one to wait for it.
            await asyncio.to_thread(self._send)
        else:
            self._send()

    def _leave(self, error: BaseException | None) -> None:
        with suppress(Exception):
            if self._token is not None:
                _current.reset(self._token)
            if error is not None:
                self._attributes["error"] = f"{type(error).__name__}: {error}"[:_MAX_ERROR]

    def _send(self) -> None:
        with suppress(Exception):
            self.accepted = self._record(
                self._facts
                | {"id": self.id, "ended_at": _now(), "steps": self._steps, "sources": self._sources}
                | {"usage": self._usage, "attributes": self._attributes, "outcomes": self._outcomes}
            )


def _as_input(value: Any) -> Any:
    """Return what the user said in the words of the episode: a text is one message, a list is the messages."""
    if isinstance(value, str):
        return {"messages": [{"role": "user", "content": value}]}
    return {"messages": value} if isinstance(value, list | tuple) else value


def _now() -> str:
    return datetime.now(UTC).isoformat()
