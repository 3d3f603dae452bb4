"""Ask a model: one door to any OpenAI-compatible endpoint, paid from a daily budget and written in a ledger."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, cast, overload

import openai
from django.db import transaction
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ValidationError

from inference._calls import AgentRef, Answer, Attempt, Call, ToolCall, Turn
from inference._failures import (
    UnreadableReplyError,
    error_name,
    may_have_run,
    outcome_of,
    pause_s,
    rejects_response_format,
)
from inference.answers import Message, read_answer, repair_request, response_format, with_schema
from inference.configuration import Configuration, is_configured
from inference.exceptions import BudgetExhaustedError, EndpointError, InvalidAnswerError, ModelRefusedError
from inference.models import LedgerEntry
from inference.querysets import budget_day

__all__ = ["OWN_PARAMETERS", "AgentRef", "Answer", "Inference", "ToolCall", "Turn", "is_configured"]

logger = logging.getLogger("inference")

OWN_PARAMETERS = frozenset({"model", "messages", "response_format", "stream", "n"})


@dataclass(frozen=True)
class Inference:
    """The door to models under one configuration."""

    configuration: Configuration

    @classmethod
    def from_settings(cls) -> Self:
        return cls(Configuration.from_settings())

    @overload
    def complete(
        self,
        *,
        role: str,
        messages: Sequence[Message],
        schema: None = None,
        purpose: str,
        agent_ref: AgentRef | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer[str]: ...

    @overload
    def complete[M: BaseModel](
        self,
        *,
        role: str,
        messages: Sequence[Message],
        schema: type[M],
        purpose: str,
        agent_ref: AgentRef | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer[M]: ...

    def complete(
        self,
        *,
        role: str,
        messages: Sequence[Message],
        schema: type[BaseModel] | None = None,
        purpose: str,
        agent_ref: AgentRef | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer[Any]:
        """Ask the model of `role` and return its answer, validated against `schema` where one is given.

        An answer that does not fit is sent back once with what is wrong. Busy, failing and slow endpoints are asked
        again with growing pauses. Every request is a ledger row, committed at once: a call inside a transaction is
        refused (RuntimeError), since its rollback would forget money already spent. `parameters` (temperature,
        max_tokens, seed, …) go to the endpoint as they are.
        Raises NotConfiguredError, BudgetExhaustedError, EndpointError, ModelRefusedError, InvalidAnswerError.
        """
        call = self._call(role=role, model=None, purpose=purpose, agent_ref=agent_ref, parameters=parameters)
        if schema is not None:
            call.response_format = response_format(schema)
        if schema is None:
            attempt = self._ask(call, messages)
            call.record(attempt, LedgerEntry.Outcome.ANSWERED)
            return call.answer(attempt.text)
        return self._structured(call, with_schema(messages, schema), schema)

    def converse(
        self,
        *,
        role: str,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        model: str | None = None,
        purpose: str,
        agent_ref: AgentRef | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer[Turn]:
        """Ask for the next message of a conversation, which may call `tools` (function schemas of the wire).

        `model` is asked instead of the role's; it needs a price like any other. The rest is as in `complete`.
        """
        call = self._call(role=role, model=model, purpose=purpose, agent_ref=agent_ref, parameters=parameters)
        if tools:
            call.parameters = {**call.parameters, "tools": [dict(tool) for tool in tools]}
        attempt = self._ask(call, messages)
        call.record(attempt, LedgerEntry.Outcome.ANSWERED)
        return call.answer(attempt.turn)

    def _call(
        self,
        *,
        role: str,
        model: str | None,
        purpose: str,
        agent_ref: AgentRef | None,
        parameters: Mapping[str, Any] | None,
    ) -> Call:
        reserved = OWN_PARAMETERS & set(parameters or ())
        if reserved:
            msg = f"Parameters {sorted(reserved)!r} are set by the platform: leave them out."
            raise ValueError(msg)
        asked = model or self.configuration.model_for(role)
        return Call(
            role=role,
            purpose=purpose,
            model=asked,
            source=self.configuration.host,
            price=self.configuration.price_of(asked),
            agent=agent_ref,
            parameters=dict(parameters or {}),
            response_format=None,
        )

    def _structured[M: BaseModel](self, call: Call, messages: Sequence[Message], schema: type[M]) -> Answer[M]:
        attempt = self._ask(call, messages)
        read = _read(attempt.text, schema)
        if isinstance(read, ValidationError):
            call.record(attempt, LedgerEntry.Outcome.INVALID, "ValidationError")
            attempt = self._ask(call, [*messages, *repair_request(attempt.text, read)])
            read = _read(attempt.text, schema)
        if isinstance(read, ValidationError):
            call.record(attempt, LedgerEntry.Outcome.INVALID, "ValidationError")
            raise InvalidAnswerError(
                f"Model {call.model!r} answered {call.purpose!r} twice without fitting {schema.__name__}: "
                f"{read.error_count()} problems remain. Use rules here, or a stronger model."
            )
        call.record(attempt, LedgerEntry.Outcome.ANSWERED)
        return call.answer(read)

    def _ask(self, call: Call, messages: Sequence[Message]) -> Attempt:
        """Return a readable, unrefused reply, which the caller records; every other request is recorded here."""
        tries = 0
        while True:
            tries += 1
            self._require_budget(call.role)
            started = time.monotonic()
            try:
                completion = self._send(call, messages)
            except (openai.APIError, UnreadableReplyError) as error:
                failed = Attempt(messages, _elapsed_ms(started), may_have_run=may_have_run(error))
                call.record(failed, outcome_of(error), error_name(error))
                self._prepare_next(call, error, tries)
                continue
            attempt = Attempt(messages, _elapsed_ms(started), completion)
            if attempt.refusal:
                call.record(attempt, LedgerEntry.Outcome.REFUSED, attempt.refusal)
                raise ModelRefusedError(
                    f"Model {call.model!r} declined to answer {call.purpose!r} ({attempt.refusal}). "
                    "Leave this one to rules or a person."
                )
            return attempt

    def _send(self, call: Call, messages: Sequence[Message]) -> ChatCompletion:
        client = _connection(
            self.configuration.endpoint, self.configuration.api_key, self.configuration.timeout_s, os.getpid()
        )
        shape = {} if call.response_format is None else {"response_format": call.response_format}
        reply: Any = client.chat.completions.create(
            model=call.model, messages=cast("Any", list(messages)), extra_body={**call.parameters, **shape}
        )
        # The library hands on whatever came with status 200, a proxy's page of HTML included.
        if not isinstance(reply, ChatCompletion) or not reply.choices or reply.choices[0].message is None:
            raise UnreadableReplyError
        return reply

    def _prepare_next(self, call: Call, error: Exception, tries: int) -> None:
        """Wait until the failed request may be repeated, or raise EndpointError when that is no use."""
        if call.response_format is not None and rejects_response_format(error):
            # The schema is in the messages as well: this endpoint gets it in words only.
            call.response_format = None
            return
        pause = pause_s(error, after=tries, first_s=self.configuration.retry_delay_s)
        if pause is None or tries >= self.configuration.max_attempts:
            # Without the cause: its message may quote the prompt, and tracebacks are logged.
            raise EndpointError(
                f"Cannot get an answer from model {call.model!r} at {call.source!r} for {call.purpose!r}: "
                f"{error_name(error)}, requests made: {len(call.rows)}. Try later, or check the endpoint.",
                status=error.status_code if isinstance(error, openai.APIStatusError) else None,
                has_timed_out=isinstance(error, openai.APITimeoutError),
            ) from None
        time.sleep(pause)

    def _require_budget(self, role: str) -> None:
        """Raise BudgetExhaustedError when today's budget is spent; requests under way may overshoot it."""
        # Durable: inside someone's transaction this raises before any money is spent.
        with transaction.atomic(durable=True):
            budget = self.configuration.daily_budget_usd
            if budget is None:
                return
            spent = LedgerEntry.objects.spent_today()
        if spent >= budget:
            logger.warning("budget.exhausted", extra={"role": role, "spent_usd": str(spent), "budget_usd": str(budget)})
            raise BudgetExhaustedError(role=role, spent_usd=spent, budget_usd=budget, resets_at=budget_day()[1])


@lru_cache(maxsize=4)
def _connection(endpoint: str, api_key: str, timeout_s: float, pid: int) -> openai.OpenAI:
    """Return this process's connections to an endpoint; a forked child must not share its parent's sockets."""
    # Retries are ours, so that each request has its ledger row. Endpoints without keys still need some header.
    return openai.OpenAI(base_url=endpoint, api_key=api_key or "none", timeout=timeout_s, max_retries=0)


def _read[M: BaseModel](text: str, schema: type[M]) -> M | ValidationError:
    try:
        return read_answer(text, schema)
    except ValidationError as error:
        return error


def _elapsed_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
