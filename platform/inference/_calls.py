"""One question on its way to a model: its requests, their ledger rows, the answer."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from openai.types.chat import ChatCompletion

from accounts.ids import uuid7
from inference.answers import Message
from inference.configuration import Price
from inference.models import LedgerEntry

__all__ = ["AgentRef", "Answer", "Attempt", "Call", "ToolCall", "Turn"]

logger = logging.getLogger("inference")

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class AgentRef:
    """The agent a question is asked for: who pays, and whose team sees the ledger row."""

    agent_id: UUID
    team_id: UUID | None = None


@dataclass(frozen=True)
class Answer[T]:
    """What a model said, read as `T` (text where no schema was asked for), and what all requests for it took."""

    value: T
    call_id: UUID
    provider_model: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    latency_ms: int


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model asks for; `arguments` is the text it wrote, which may be no JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Turn:
    """A model's next message in a conversation: text, calls of tools, or both.

    `message` is its wire form, to be sent back with the results. `fingerprint` is what the provider says of the exact
    system that answered; empty where it says nothing.
    """

    text: str
    calls: tuple[ToolCall, ...]
    message: Mapping[str, Any]
    fingerprint: str


@dataclass
class Call:
    """One question on its way: what every ledger row of it repeats, and what it has taken so far."""

    role: str
    purpose: str
    model: str
    source: str
    price: Price
    agent: AgentRef | None
    parameters: Mapping[str, Any]
    response_format: dict[str, Any] | None
    id: UUID = field(default_factory=uuid7)
    rows: list[LedgerEntry] = field(default_factory=list)

    def record(self, attempt: "Attempt", outcome: LedgerEntry.Outcome, error: str = "") -> None:
        """Write one request into the ledger."""
        input_tokens, output_tokens, is_estimated = attempt.tokens()
        row = LedgerEntry(
            call_id=self.id,
            attempt=len(self.rows) + 1,
            agent_id=self.agent.agent_id if self.agent else None,
            team_id=self.agent.team_id if self.agent else None,
            role=self.role,
            purpose=self.purpose,
            source=self.source,
            model=self.model,
            provider_model=(attempt.completion.model or "")[:200] if attempt.completion else "",
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            is_estimated=is_estimated,
            cost_usd=self.price.cost_usd(input_tokens=input_tokens, output_tokens=output_tokens),
            latency_ms=attempt.latency_ms,
            outcome=outcome,
            error=error[:120],
        )
        row.save(force_insert=True)
        self.rows.append(row)
        logger.info(
            "model.called",
            extra={
                "call_id": str(self.id),
                "attempt": row.attempt,
                "role": self.role,
                "purpose": self.purpose,
                "model": self.model,
                "outcome": str(outcome),
                "error": row.error,
                "latency_ms": row.latency_ms,
                "cost_usd": str(row.cost_usd),
            },
        )

    def answer[T](self, value: T) -> Answer[T]:
        return Answer(
            value=value,
            call_id=self.id,
            provider_model=self.rows[-1].provider_model,
            input_tokens=sum(row.input_tokens for row in self.rows),
            output_tokens=sum(row.output_tokens for row in self.rows),
            cost_usd=sum((row.cost_usd for row in self.rows), Decimal(0)),
            latency_ms=sum(row.latency_ms for row in self.rows),
        )


@dataclass(frozen=True)
class Attempt:
    """One request: what was sent, what came back (None where nothing did), how long it took."""

    messages: Sequence[Message]
    latency_ms: int
    completion: ChatCompletion | None = None
    may_have_run: bool = True

    @property
    def text(self) -> str:
        return (self.completion.choices[0].message.content or "") if self.completion else ""

    @property
    def refusal(self) -> str:
        """Why the model declined, in the provider's word; empty where it did not."""
        if self.completion is None:
            return ""
        choice = self.completion.choices[0]
        if choice.message.refusal:
            return "refusal"
        return "content_filter" if choice.finish_reason == "content_filter" else ""

    @property
    def turn(self) -> Turn:
        """Return the reply as a message of a conversation; raise ValueError where nothing came."""
        if self.completion is None:
            raise ValueError("Nothing was answered.")
        said = self.completion.choices[0].message
        asked = [one for one in said.tool_calls or () if one.type == "function"]
        calls = tuple(ToolCall(one.id, one.function.name, one.function.arguments or "") for one in asked)
        wire: dict[str, Any] = {"role": "assistant", "content": self.text}
        if calls:
            wire["tool_calls"] = [
                {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
                for one in calls
            ]
        return Turn(self.text, calls, wire, self.completion.system_fingerprint or "")

    def tokens(self) -> tuple[int, int, bool]:
        """Return input tokens, output tokens and whether they are our estimate.

        A request that got no answer may have been paid for all the same, so its input is counted.
        """
        usage = self.completion.usage if self.completion else None
        if usage is not None:
            return usage.prompt_tokens or 0, usage.completion_tokens or 0, False
        if not self.may_have_run:
            return 0, 0, False
        sent = sum(len(str(message.get("content") or "")) for message in self.messages)
        return -(-sent // _CHARACTERS_PER_TOKEN), -(-len(self.text) // _CHARACTERS_PER_TOKEN), True
