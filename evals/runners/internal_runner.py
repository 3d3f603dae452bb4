"""The runner for the platform's own agents: critic, proposer and judge, in process, through the code that serves them.

A case's last message of the user is what the part is given, as a JSON object. Where no model is configured, critic and
proposer work by rules here as they do there, and say so.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from evals.exceptions import RunnerError
from evals.judges.asking import JudgeFailedError
from evals.judges.rubric import BadRubricError
from evals.runners.parts import Done, criticize, grade, propose
from evals.runners.prompting import last_words
from evals.runners.protocol import InfrastructureError, Played
from harness.models import Agent
from inference.exceptions import EndpointError, InvalidAnswerError, ModelRefusedError, NotConfiguredError

__all__ = ["InternalRunner"]

type _Part = Callable[[Mapping[str, Any], Mapping[str, Any], Agent, int], Done]

PARTS: Mapping[str, tuple[_Part, int]] = {
    Agent.Runner.CRITIC: (criticize, Agent.Level.CRITIC),
    Agent.Runner.PROPOSER: (propose, Agent.Level.CRITIC),
    Agent.Runner.JUDGE: (grade, Agent.Level.JUDGE),
}


class InternalRunner:
    """Plays one of the platform's own agents. Refuses agents of another level: a customer's agent is no critic."""

    def __init__(self, agent: Agent) -> None:
        self._part, level = PARTS[agent.runner]
        if agent.level != level:
            raise RunnerError(
                f"Agent {agent.slug!r} is of level {agent.level} and cannot be played as the platform's {agent.runner}, "
                f"which is of level {level}. Choose another runner."
            )
        self._agent = agent
        self.name = f"internal {agent.runner}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold nothing open."""

    def play(
        self,
        document: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        *,
        user_state: Mapping[str, Any],
        seed: int,
    ) -> Played:
        started = time.perf_counter()
        try:
            given = json.loads(last_words(messages))
            if not isinstance(given, dict):
                raise TypeError(f"it is {type(given).__name__}, not an object")
            done = self._part(document, given, self._agent, seed)
        except NotConfiguredError as error:
            raise RunnerError(str(error)) from error
        except EndpointError as error:
            raise InfrastructureError(str(error)) from error
        except JudgeFailedError as error:
            if isinstance(error.__cause__, EndpointError):
                raise InfrastructureError(str(error)) from error
            return _crashed(started, str(error))
        except (BadRubricError, InvalidAnswerError, ModelRefusedError) as error:
            return _crashed(started, str(error))
        except (ValidationError, AttributeError, TypeError, ValueError, KeyError) as error:
            return _crashed(started, f"The last message is not what the {self._agent.runner} is given: {error}"[:400])
        step = {
            "kind": "model_call" if done.is_by_model else "check", "name": self._agent.runner,
            "input": {"source": "model" if done.is_by_model else "rules"}, "output": done.output, "status": "ok",
            "error": "", "latency_ms": _since(started),
        }  # fmt: skip
        return Played(output=done.output, steps=[step], latency_ms=_since(started), cost_usd=done.cost_usd)


def _crashed(started: float, error: str) -> Played:
    return Played(latency_ms=_since(started), crashed=True, error=error)


def _since(started: float) -> float:
    return 1_000 * (time.perf_counter() - started)
