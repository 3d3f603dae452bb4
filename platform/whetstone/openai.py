"""Record an openai client's calls as steps of the current episode.

    client = whetstone.openai.wrap(openai.OpenAI())

Nothing else changes: the same client comes back, its answers and errors are the SDK's own, and outside of an episode
nothing is recorded. This module does not import the SDK; it goes by the names every version of it has.
"""

import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Self

from whetstone.encoding import plain
from whetstone.episodes import Episode, current_episode

__all__ = ["wrap"]

_MARK = "_whetstone_records"
# Where the calls are, and the name of what each is asked.
_CALLS = (
    (("chat", "completions"), ("create", "parse"), "messages"),
    (("responses",), ("create", "parse"), "input"),
)
_NOT_ASKED = frozenset({"extra_headers", "extra_query", "extra_body", "timeout"})
_COPIES = ("with_options", "copy")


def wrap[C](client: C) -> C:
    """Return the client, sync or async, with its chat completions and responses recorded, streams included.

    Copies made by `with_options` are wrapped as well. Wrapping twice is wrapping once.
    """
    if getattr(client, _MARK, False):
        return client
    for path, names, asked in _CALLS:
        resource: Any = client
        with suppress(AttributeError):
            for part in path:
                resource = getattr(resource, part)
            for name in names:
                if hasattr(resource, name):
                    setattr(resource, name, _recorded(getattr(resource, name), asked))
    for name in _COPIES:
        if hasattr(client, name):
            setattr(client, name, _copying(getattr(client, name)))
    with suppress(AttributeError):
        setattr(client, _MARK, True)
    return client


def _copying(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def copy(*arguments: Any, **options: Any) -> Any:
        return wrap(method(*arguments, **options))

    return copy


def _recorded(call: Callable[..., Any], asked: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(inspect.unwrap(call)):

        @functools.wraps(call)
        async def create_async(*arguments: Any, **options: Any) -> Any:
            step = _Call.begun(options, asked)
            if step is None:
                return await call(*arguments, **options)
            try:
                answer = await call(*arguments, **options)
            except BaseException as error:
                step.ended(error=error)
                raise
            return step.answered(answer, is_async=True)

        return create_async

    @functools.wraps(call)
    def create(*arguments: Any, **options: Any) -> Any:
        step = _Call.begun(options, asked)
        if step is None:
            return call(*arguments, **options)
        try:
            answer = call(*arguments, **options)
        except BaseException as error:
            step.ended(error=error)
            raise
        return step.answered(answer, is_async=False)

    return create


class _Call:
    """One call under way, to become one step."""

    def __init__(self, episode: Episode, options: Mapping[str, Any], asked: str) -> None:
        self._episode = episode
        self._attempt = episode.attempt
        self._asked = {name: _given(value) for name, value in options.items() if name not in _NOT_ASKED}
        self._asked = {name: value for name, value in self._asked.items() if value is not None}
        self._model = str(options.get("model") or "")
        self._is_chat = asked == "messages"
        self._started = time.perf_counter()
        self._is_over = False

    @classmethod
    def begun(cls, options: Mapping[str, Any], asked: str) -> "_Call | None":
        episode = current_episode()
        if episode is None:
            return None
        try:
            return cls(episode, options, asked)
        except Exception:  # noqa: BLE001 - a call that cannot be recorded is still to be made
            return None

    def answered(self, answer: Any, *, is_async: bool) -> Any:
        """Return the answer, or for a stream one that records as it is read."""
        with suppress(Exception):
            if hasattr(answer, "__anext__" if is_async else "__next__"):
                return _AsyncStream(answer, self) if is_async else _Stream(answer, self)
            # `with_raw_response` hands out the HTTP answer, which parses itself.
            told = answer.parse() if hasattr(answer, "http_response") else answer
            if inspect.iscoroutine(told):
                told.close()
            self.ended(plain(told))
        self.ended()  # an answer of a kind that cannot be read was a call all the same
        return answer

    def ended(self, told: Any = None, *, error: BaseException | None = None) -> None:
        """Record the step. `told` is the SDK's answer as plain JSON."""
        if self._is_over:
            return
        self._is_over = True
        with suppress(Exception):
            facts = told if isinstance(told, dict) else {}
            latency_ms = 1000 * (time.perf_counter() - self._started)
            self._episode.step(
                "model_call", str(facts.get("model") or self._model), input=self._asked,
                output=_chat_output(facts) if self._is_chat else _response_output(facts),
                error=error or _failure(facts), latency_ms=latency_ms, attempt=self._attempt,
            )  # fmt: skip
            self._episode.usage(**_usage(facts.get("usage") or {}))


class _Stream:
    """The SDK's stream, recorded as it is read; everything else is the stream's own."""

    def __init__(self, stream: Any, call: _Call) -> None:
        self._stream, self._call, self._seen = stream, call, _Seen()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            event = next(self._stream)
        except StopIteration:
            self._call.ended(self._seen.whole())
            raise
        except BaseException as error:
            self._call.ended(self._seen.whole(), error=error)
            raise
        self._seen.add(event)
        return event

    def __enter__(self) -> Self:
        self._stream.__enter__()
        return self

    def __exit__(self, *trace: object) -> Any:
        self._call.ended(self._seen.whole())
        return self._stream.__exit__(*trace)

    def close(self) -> None:
        """Close the stream; what was read of it is recorded."""
        self._call.ended(self._seen.whole())
        self._stream.close()


class _AsyncStream:
    """The same for an asynchronous stream."""

    def __init__(self, stream: Any, call: _Call) -> None:
        self._stream, self._call, self._seen = stream, call, _Seen()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            event = await anext(self._stream)
        except StopAsyncIteration:
            self._call.ended(self._seen.whole())
            raise
        except BaseException as error:
            self._call.ended(self._seen.whole(), error=error)
            raise
        self._seen.add(event)
        return event

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *trace: object) -> Any:
        self._call.ended(self._seen.whole())
        return await self._stream.__aexit__(*trace)

    async def close(self) -> None:
        """Close the stream; what was read of it is recorded."""
        self._call.ended(self._seen.whole())
        await self._stream.close()


class _Seen:
    """Puts a stream's events together again."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] = {}
        self._messages: dict[int, dict[str, Any]] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}
        self._calls: dict[tuple[int, int], dict[str, Any]] = {}

    def add(self, event: Any) -> None:
        with suppress(Exception):
            facts = plain(event)
            if isinstance(facts.get("response"), dict):
                # The last of a response's events that carries it carries all of it.
                self._facts = facts["response"]
                return
            self._facts |= {name: facts[name] for name in ("model", "usage") if facts.get(name)}
            for choice in facts.get("choices") or ():
                self._add_choice(choice)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        index, delta = int(choice.get("index") or 0), choice.get("delta") or {}
        message = self._messages.setdefault(index, {"role": "assistant"})
        if choice.get("finish_reason"):
            message["finish_reason"] = choice["finish_reason"]
        for name in ("content", "refusal"):
            if delta.get(name):
                self._texts.setdefault((index, name), []).append(delta[name])
        for part in delta.get("tool_calls") or ():
            call = self._calls.setdefault((index, int(part.get("index") or 0)), {"type": "function", "function": {}})
            if part.get("id"):
                call["id"] = part["id"]
            for name, piece in (part.get("function") or {}).items():
                call["function"][name] = call["function"].get(name, "") + (piece or "")

    def whole(self) -> dict[str, Any]:
        """Return the answer as it would have come without streaming."""
        choices = []
        for index, kept in sorted(self._messages.items()):
            message = {name: value for name, value in kept.items() if name != "finish_reason"}
            message |= {name: "".join(parts) for (at, name), parts in self._texts.items() if at == index}
            calls = [call for (at, _), call in sorted(self._calls.items()) if at == index]
            if calls:
                message["tool_calls"] = calls
            choices.append({"index": index, "message": message, "finish_reason": kept.get("finish_reason")})
        return self._facts | ({"choices": choices} if choices else {})


def _given(value: Any) -> Any:
    """Return an argument as plain JSON; None for the SDK's marks of an argument that was not given."""
    if type(value).__name__ in {"NotGiven", "Omit"}:
        return None
    return plain(value.model_json_schema() if hasattr(value, "model_json_schema") else value)


def _chat_output(facts: Mapping[str, Any]) -> dict[str, Any]:
    choices = facts.get("choices") or []
    if len(choices) == 1:
        return {"message": _without_nothing(choices[0]["message"]), "finish_reason": choices[0].get("finish_reason")}
    return {"choices": [_without_nothing(choice.get("message") or {}) for choice in choices]} if choices else {}


def _response_output(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("output", "status", "incomplete_details") if facts.get(name)}


def _failure(facts: Mapping[str, Any]) -> str:
    error = facts.get("error")
    return str(error.get("message") or error) if isinstance(error, Mapping) else str(error or "")


def _without_nothing(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value is not None and value != []}


def _usage(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokens by their one name; chat completions and responses have two."""
    asked = facts.get("prompt_tokens_details") or facts.get("input_tokens_details") or {}
    told = facts.get("completion_tokens_details") or facts.get("output_tokens_details") or {}
    return {
        "input_tokens": facts.get("prompt_tokens", facts.get("input_tokens")),
        "output_tokens": facts.get("completion_tokens", facts.get("output_tokens")),
        "cached_tokens": asked.get("cached_tokens"),
        "reasoning_tokens": told.get("reasoning_tokens"),
    }
