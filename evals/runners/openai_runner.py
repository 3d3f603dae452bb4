"""The runner with a tool loop of its own, for any OpenAI-compatible endpoint: the document, and nothing else, steers."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx

from evals.exceptions import RunnerError
from evals.runners.connections import without_credentials
from evals.runners.prompting import HAND_OFF, chat_messages, last_words, system_text, tool_names, tool_schemas
from evals.runners.protocol import InfrastructureError, Played
from evals.runners.retrieval import Library, Passage
from evals.runners.sandbox import Sandbox
from evals.runners.tooling import Toolbox, ToolResult
from inference.client import OWN_PARAMETERS, AgentRef, Answer, Inference, ToolCall, Turn
from inference.configuration import Configuration
from inference.exceptions import EndpointError, ModelRefusedError, NotConfiguredError

__all__ = ["ROLE", "OpenAiRunner"]

ROLE = "agent"
PURPOSE = "run.play"
DEFAULT_ROUNDS, MOST_ROUNDS = 8, 32
DEFAULT_TOP_K, MOST_DOCUMENTS = 3, 20
_MAX_ATTEMPTS = 3
# What the harness itself can bring about: a question no model can take.
_HARNESS_AT_FAULT = frozenset({400, 404, 413, 422})


class _UnplayableError(Exception):
    """The document says what cannot be played; that is its crash, not infrastructure."""


class OpenAiRunner:
    """Plays a turn by asking a model, with tools that give recorded, scripted or sandboxed results.

    Every request goes through the platform's door to models, so the day's budget and the ledger hold. `safe` names
    tools that may be asked live. A turn that is not over in `timeout_s` crashed.
    """

    def __init__(
        self,
        configuration: Configuration,
        agent: AgentRef,
        *,
        safe: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.name = f"openai {without_credentials(configuration.endpoint)}"
        self._inference = Inference(
            replace(
                configuration,
                timeout_s=min(configuration.timeout_s, timeout_s),
                max_attempts=min(configuration.max_attempts, _MAX_ATTEMPTS),
            )
        )
        self._agent, self._safe, self._timeout_s = agent, safe or {}, timeout_s
        self._library, self._sandbox = Library(), Sandbox()
        self._http = httpx.Client(timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._sandbox.__exit__(kind, error, trace)

    def play(
        self,
        document: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]],
        *,
        user_state: Mapping[str, Any],
        seed: int,
    ) -> Played:
        toolbox = Toolbox(
            document.get("tools", {}), user_state, safe=self._safe, sandbox=self._sandbox, http=self._http, seed=seed
        )
        turn = _Turn(document, seed, toolbox, deadline=time.perf_counter() + self._timeout_s)
        try:
            return self._converse(turn, messages)
        except _UnplayableError as error:
            return turn.crashed(str(error))
        except ModelRefusedError as error:
            return turn.played({"text": "", "handoff": False, "sources": [], "refused": True}, error=str(error))
        except NotConfiguredError as error:
            raise RunnerError(str(error)) from error
        except EndpointError as error:
            if error.has_timed_out or error.status in _HARNESS_AT_FAULT:
                return turn.crashed(str(error))
            raise InfrastructureError(str(error)) from error

    def _converse(self, turn: "_Turn", messages: Sequence[Mapping[str, Any]]) -> Played:
        found = self._retrieve(turn, last_words(messages))
        wire = [{"role": "system", "content": system_text(turn.document, found)}, *chat_messages(messages)]
        names, schemas = tool_names(turn.document), tool_schemas(turn.document)
        for number in range(1, turn.rounds + 1):
            answer = self._inference.converse(
                role=ROLE, messages=wire, tools=schemas, model=turn.model, purpose=PURPOSE, agent_ref=self._agent,
                parameters=turn.parameters,
            )  # fmt: skip
            turn.note_answer(answer, number)
            if time.perf_counter() > turn.deadline:
                raise _UnplayableError(f"no answer within {self._timeout_s:g} s")
            said = answer.value
            if not said.calls:
                return turn.played({"text": said.text, "handoff": False, "sources": _cited(said.text, found)})
            wire.append(dict(said.message))
            for call in said.calls:
                arguments = _arguments(call)
                if call.name == HAND_OFF:
                    return turn.handed_off(said, arguments or {}, found)
                wire.append({"role": "tool", "tool_call_id": call.id, "content": turn.use(call, names, arguments)})
        raise _UnplayableError(f"no answer after {turn.rounds} rounds of tool calls")

    def _retrieve(self, turn: "_Turn", query: str) -> list[Passage]:
        documents = turn.document.get("context", {}).get("documents", {})
        if not documents:
            return []
        top_k = int(turn.setting("context", "retrieval", "top_k", DEFAULT_TOP_K))
        min_score = float(turn.setting("context", "retrieval", "min_score", 0.0))
        started, today = time.perf_counter(), datetime.now(UTC).date()
        found = self._library.find(documents, query, top_k=min(top_k, MOST_DOCUMENTS), min_score=min_score, today=today)
        shown = [{"id": one.doc_id, "score": round(one.score, 4)} for one in found]
        turn.note(
            "retrieval", "context.documents", {"query": query}, {"documents": shown, "min_score": min_score},
            latency_ms=1_000 * (time.perf_counter() - started),
        )  # fmt: skip
        return found


@dataclass
class _Turn:
    """One turn under way: what the document asks for, and everything that has happened."""

    document: Mapping[str, Any]
    seed: int
    toolbox: Toolbox
    deadline: float
    steps: list[dict[str, Any]] = field(default_factory=list)
    cost_usd: float = 0.0
    answered_by: set[str] = field(default_factory=set)

    @property
    def model(self) -> str | None:
        return self.document.get("model", {}).get("name") or None

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the model's parameters with the trial's seed; refuse those that belong to the platform."""
        given = self.document.get("model", {}).get("parameters", {})
        if reserved := sorted((OWN_PARAMETERS | {"tools", "tool_choice"}) & set(given)):
            raise _UnplayableError(f"model.parameters names {reserved!r}, which the platform sets: leave them out")
        return {**given, "seed": self.seed}

    @property
    def rounds(self) -> int:
        return min(MOST_ROUNDS, max(1, int(self.setting("workflow", "settings", "max_rounds", DEFAULT_ROUNDS))))

    def setting(self, layer: str, group: str, name: str, default: float) -> float:
        """Return a number of the document; what is no number crashes the turn."""
        value = self.document.get(layer, {}).get(group, {}).get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _UnplayableError(f"{layer}.{group}.{name} is {value!r}: give a number")
        return value

    def use(self, call: ToolCall, names: Mapping[str, str], arguments: Mapping[str, Any] | None) -> str:
        """Call a tool and return its result as the model reads it."""
        name = names.get(call.name, call.name)
        if call.name not in names:
            result = ToolResult(error=f"there is no tool {call.name!r}")
        elif arguments is None:
            result = ToolResult(error="the arguments are no JSON object")
        else:
            result = self.toolbox.call(name, arguments)
        output = result.value if isinstance(result.value, dict) else {"value": result.value}
        self.note(
            "tool_call", name, dict(arguments or {"text": call.arguments}), {} if result.error else output,
            error=result.error, latency_ms=result.latency_ms, result_from=result.source,
        )  # fmt: skip
        return json.dumps({"error": result.error} if result.error else result.value, ensure_ascii=False)

    def handed_off(self, said: Turn, arguments: Mapping[str, Any], found: Sequence[Passage]) -> Played:
        """End the turn with a person taking over."""
        self.note("handoff", HAND_OFF, {}, {"reason": str(arguments.get("reason", ""))})
        return self.played({"text": said.text, "handoff": True, "sources": _cited(said.text, found)})

    def note_answer(self, answer: Answer[Turn], number: int) -> None:
        """Keep what a model call said and took."""
        said, cost = answer.value, float(answer.cost_usd)
        self.cost_usd += cost
        # A model's name alone is no fingerprint: providers move names to other models.
        self.answered_by.add(f"{answer.provider_model} {said.fingerprint}" if said.fingerprint else "")
        usage = {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens, "cost_usd": cost}
        calls = [{"name": call.name, "arguments": call.arguments} for call in said.calls]
        self.note(
            "model_call", answer.provider_model or str(self.model or ""), {"round": number},
            {"text": said.text, "tool_calls": calls, "usage": usage}, latency_ms=float(answer.latency_ms),
        )  # fmt: skip

    def note(
        self, kind: str, name: str, given: dict[str, Any], output: dict[str, Any], *, error: str = "",
        latency_ms: float = 0.0, **more: Any,
    ) -> None:  # fmt: skip
        """Keep one step."""
        self.steps.append(
            {
                "kind": kind, "name": name, "input": given, "output": output, "status": "error" if error else "ok",
                "error": error, "latency_ms": round(latency_ms, 3), **more,
            }
        )  # fmt: skip

    def played(self, output: dict[str, Any], *, error: str = "") -> Played:
        fingerprint = "" if "" in self.answered_by else " + ".join(sorted(self.answered_by))
        return Played(
            output=output, steps=self.steps, latency_ms=sum(step["latency_ms"] for step in self.steps),
            cost_usd=self.cost_usd, error=error, fingerprint=fingerprint[:200],
        )  # fmt: skip

    def crashed(self, error: str) -> Played:
        return replace(self.played({}, error=error), crashed=True)


def _arguments(call: ToolCall) -> dict[str, Any] | None:
    """Return a call's arguments; `None` where the model wrote no JSON object."""
    try:
        read = json.loads(call.arguments or "{}")
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _cited(text: str, found: Sequence[Passage]) -> list[str]:
    return [one.doc_id for one in found if f"[{one.doc_id}]" in text]
