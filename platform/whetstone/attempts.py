"""The loop within one task: try, check, try again with what the check said, until it passes or the budget is used up.

    result = whetstone.iterate(write_query, runs_without_error, Budget(attempts=3, seconds=20))

Every attempt and every check becomes a step of the current episode with its attempt number; giving up is reported as
`blocked` with its reason. First-pass success is what the agent can do, final success what the loop made of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from whetstone.episodes import Episode, current_episode

__all__ = ["Attempt", "Budget", "Checked", "Iteration", "aiterate", "iterate"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When to give up: after so many attempts, so many seconds, or so much money. None is no limit."""

    attempts: int = 3
    seconds: float | None = None
    cost_usd: float | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"A budget has at least one attempt, not {self.attempts}.")


@dataclass(slots=True)
class Attempt:
    """What a task knows when it tries: its number from 1, the last result and what the check said of it."""

    number: int
    previous: Any = None
    feedback: str = ""
    spent_usd: float = 0.0

    def spend(self, cost_usd: float) -> None:
        """Count a cost that the episode's usage does not hold."""
        self.spent_usd += cost_usd


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found; `reason` is given to the next attempt."""

    passed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Iteration[T]:
    """How it went. `value` is the last attempt's result, None when it raised; `blocked` says why it was given up."""

    value: T | None
    passed: bool
    first_pass: bool
    attempts: int
    seconds: float
    cost_usd: float
    feedback: str
    blocked: str = ""


type Task[T] = Callable[[Attempt], T]
type Check[T] = Callable[[T], bool | Checked]


def iterate[T](
    task: Task[T], check: Check[T], budget: Budget | None = None, *, episode: Episode | None = None
) -> Iteration[T]:
    """Run `task` until `check` passes or the budget is used up, and record it in the episode (default: the current).

    An exception in the task or the check fails that attempt and is the next one's feedback. Between attempts the budget
    is looked at; an attempt under way is not interrupted.
    """
    loop: _Loop[T] = _Loop(budget or Budget(), episode or current_episode(), _named(task), _named(check))
    while not loop.is_over:
        attempt = loop.begin()
        try:
            value = task(attempt)
        except Exception as error:  # noqa: BLE001 - whatever fails an attempt is what the next one learns from
            loop.failed(attempt, error)
            continue
        loop.tried(attempt, value)
        try:
            loop.checked(attempt, value, check(value))
        except Exception as error:  # noqa: BLE001 - as above
            loop.checked(attempt, value, error)
    return loop.result()


async def aiterate[T](
    task: Callable[[Attempt], Awaitable[T]],
    check: Callable[[T], bool | Checked | Awaitable[bool | Checked]],
    budget: Budget | None = None,
    *,
    episode: Episode | None = None,
) -> Iteration[T]:
    """Do the same for coroutines; here an attempt that outlives the budget's seconds is canceled."""
    loop: _Loop[T] = _Loop(budget or Budget(), episode or current_episode(), _named(task), _named(check))
    while not loop.is_over:
        attempt = loop.begin()
        try:
            async with asyncio.timeout(loop.left_s()):
                value = await task(attempt)
        except Exception as error:  # noqa: BLE001 - as in `iterate`
            loop.failed(attempt, error)
            continue
        loop.tried(attempt, value)
        try:
            found = check(value)
            loop.checked(attempt, value, await found if isinstance(found, Awaitable) else found)
        except Exception as error:  # noqa: BLE001 - as in `iterate`
            loop.checked(attempt, value, error)
    return loop.result()


class _Loop[T]:
    """The state of one loop and its record in the episode."""

    def __init__(self, budget: Budget, episode: Episode | None, task: str, check: str) -> None:
        self._budget = budget
        self._episode = episode
        self._task, self._check = task, check
        self._started = self._attempt_at = time.monotonic()
        self._cost_before = episode.cost_usd if episode else 0.0
        self._attempt_before = episode.attempt if episode else 1
        self._spent_usd = 0.0
        self._number = self._steps_before = 0
        self._value: T | None = None
        self._feedback = self._blocked = ""
        self._passed_at = 0

    @property
    def is_over(self) -> bool:
        """Tell whether it passed or the budget is used up; the reason for the latter is kept."""
        if self._passed_at:
            return True
        budget, cost_usd = self._budget, self._cost_usd()
        said = f"; the last check said: {self._feedback}" if self._feedback else ""
        if self._number >= budget.attempts:
            self._blocked = f"{self._number} of {budget.attempts} attempts failed{said}"
        elif self._number and budget.seconds is not None and self.left_s() == 0:
            self._blocked = f"{budget.seconds:g} s were used up by {self._number} attempts{said}"
        elif self._number and budget.cost_usd is not None and cost_usd >= budget.cost_usd:
            self._blocked = f"{cost_usd:.4f} of {budget.cost_usd:g} USD were used up by {self._number} attempts{said}"
        return bool(self._blocked)

    def left_s(self) -> float | None:
        """Return the seconds the budget leaves; None without a limit."""
        if self._budget.seconds is None:
            return None
        return max(0.0, self._budget.seconds - (time.monotonic() - self._started))

    def begin(self) -> Attempt:
        self._number += 1
        self._attempt_at = time.monotonic()
        if self._episode:
            self._episode.attempt = self._attempt_before + self._number - 1
            self._steps_before = self._episode.num_steps
        return Attempt(self._number, self._value, self._feedback)

    def tried(self, attempt: Attempt, value: T) -> None:
        self._value = value
        self._settle(attempt, output=value)

    def failed(self, attempt: Attempt, error: Exception) -> None:
        self._value = None
        self._settle(attempt, error=error)
        self._feedback = f"{type(error).__name__}: {error}"

    def checked(self, attempt: Attempt, value: T, found: bool | Checked | Exception) -> None:
        error = found if isinstance(found, Exception) else None
        verdict = (
            Checked(False, f"{type(error).__name__}: {error}")
            if error
            else found
            if isinstance(found, Checked)
            else Checked(bool(found))
        )
        self._feedback = "" if verdict.passed else verdict.reason
        if verdict.passed:
            self._passed_at = self._number
        if self._episode:
            output = {"passed": verdict.passed, "reason": verdict.reason}
            self._episode.step("check", self._check, input={"result": value}, output=output, error=error or "")

    def result(self) -> Iteration[T]:
        facts = {
            "attempts": self._number,
            "first_pass": self._passed_at == 1,
            "passed": bool(self._passed_at),
            "blocked": self._blocked,
        }
        if self._episode:
            with suppress(Exception):
                self._episode.attempt = self._attempt_before
                self._episode.attribute("iteration", facts)
                if self._blocked:
                    self._episode.blocked(self._blocked)
        return Iteration(
            value=self._value, passed=bool(self._passed_at), first_pass=self._passed_at == 1, attempts=self._number,
            seconds=time.monotonic() - self._started, cost_usd=self._cost_usd(), feedback=self._feedback,
            blocked=self._blocked,
        )  # fmt: skip

    def _settle(self, attempt: Attempt, *, output: Any = None, error: Exception | None = None) -> None:
        """Record the attempt itself, unless its own steps tell of it already."""
        self._spent_usd += attempt.spent_usd
        if self._episode and (error is not None or self._episode.num_steps == self._steps_before):
            latency_ms = 1000 * (time.monotonic() - self._attempt_at)
            tried = {"attempt": attempt.number, "feedback": attempt.feedback}
            self._episode.step(
                "tool_call", self._task, input=tried, output=output, error=error or "", latency_ms=latency_ms
            )

    def _cost_usd(self) -> float:
        return self._spent_usd + (self._episode.cost_usd - self._cost_before if self._episode else 0.0)


def _named(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
