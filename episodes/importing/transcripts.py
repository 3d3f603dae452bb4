"""Turns a chat transcript with tool calls into messages and steps, whatever became of it on its way. Pure."""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from episodes.detectors.handoff import is_handoff_name
from episodes.importing.entries import BadLineError, number

__all__ = ["Transcript", "arguments_of", "read_transcript", "words"]

_MAX_NAME = 200
_MAX_ERROR = 2_000
_MAX_PYTHON_CHARACTERS = 100_000
_SYSTEM = frozenset({"system", "developer"})
_SPOKEN = frozenset({"user", "assistant"})
# An agent that writes its calls as programs gets its results as assignments.
_ASSIGNED = re.compile(r"#\s*\w+\s*=\s*(.*)", re.DOTALL)


@dataclass
class Transcript:
    """What was said, what was done, in order. `pending` holds calls whose result has not come yet."""

    model: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    pending: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def answer(self) -> str:
        """Return the agent's last words."""
        return next((words(m["content"]) for m in reversed(self.messages) if m["role"] == "assistant"), "")

    @property
    def system(self) -> str:
        """Return what the agent was told before anyone spoke."""
        return "\n\n".join(words(m["content"]) for m in self.messages if m["role"] in _SYSTEM)

    @property
    def has_user(self) -> bool:
        return any(m["role"] == "user" for m in self.messages)

    @property
    def has_handed_off(self) -> bool:
        return any(step["kind"] == "handoff" for step in self.steps)

    def split(self) -> tuple[list[dict[str, Any]], str]:
        """Return what the last answer was given to, and that answer; no answer when the user had the last word."""
        spoken = [index for index, message in enumerate(self.messages) if message["role"] in _SPOKEN]
        if not spoken or self.messages[spoken[-1]]["role"] == "user":
            return self.messages, ""
        last = spoken[-1]
        return [*self.messages[:last], *self.messages[last + 1 :]], words(self.messages[last]["content"])


def words(content: object) -> str:
    """Return the text of a message's content: a text, or the texts among typed parts; empty for anything else."""
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return ""
    parts = [part if isinstance(part, str) else _part_text(part) for part in content]
    return "\n".join(part for part in parts if part).strip()


def _part_text(part: object) -> str:
    if not isinstance(part, Mapping):
        return ""
    return next((part[name] for name in ("text", "refusal", "content") if isinstance(part.get(name), str)), "")


def read_transcript(messages: object, *, model: str, keeps_system: bool = False) -> Transcript:
    """Return the transcript of OpenAI-style messages; raise `BadLineError` for what is none.

    A tool's result is a failure when it says so or begins with "Error". What a user does on their own device at the
    agent's request is a check, not a call of the agent's. Results find their call by its id, else by the tool's name,
    else by their order.
    """
    if not isinstance(messages, list):
        raise BadLineError("'messages' is missing or no list")
    transcript = Transcript(model=model[:_MAX_NAME])
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise BadLineError(f"message {index} is no object with a role")
        _read(transcript, message, keeps_system=keeps_system)
    return transcript


def _read(transcript: Transcript, message: Mapping[str, Any], *, keeps_system: bool) -> None:
    role, content = message["role"], message.get("content")
    if role in {"tool", "function"}:
        parts = message.get("tool_messages")
        for result in parts if isinstance(parts, list) else [message]:
            if isinstance(result, Mapping):
                _result(transcript, result)
        return
    text = words(content) or words(message.get("refusal"))
    has_parts = isinstance(content, list) and bool(content)
    if role in _SPOKEN | (_SYSTEM if keeps_system else frozenset()) and (text or has_parts):
        transcript.messages.append({"role": role, "content": content if has_parts else text})
    calls = list(_calls(message))
    if role == "assistant":
        transcript.steps.append(_model_call(transcript.model, message, text, calls))
    for call in calls:
        step = _step(call, by_user=role == "user")
        transcript.steps.append(step)
        transcript.pending.append((str(call.get("id") or ""), step))


def _calls(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return a message's tool calls; a lone `function_call` is how they were written first."""
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        yield from (call for call in calls if isinstance(call, Mapping))
    if isinstance(message.get("function_call"), Mapping):
        yield {"function": message["function_call"]}


def _model_call(
    model: str, message: Mapping[str, Any], text: str, calls: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    output: dict[str, Any] = {"text": text, "tool_calls": [_name(call) for call in calls]}
    output |= {name: message[name] for name in ("errors", "usage") if message.get(name)}
    if (cost := number(message.get("cost"))) is not None:
        output["cost_usd"] = cost
    return {"kind": "model_call", "name": model, "output": output}


def _step(call: Mapping[str, Any], *, by_user: bool) -> dict[str, Any]:
    name, arguments = _name(call), arguments_of(_function(call).get("arguments"))
    if by_user:
        return {"kind": "check", "name": name, "input": {"by": "user", "arguments": arguments}, "output": {}}
    kind = "handoff" if is_handoff_name(name) else "tool_call"
    return {"kind": kind, "name": name, "input": arguments, "output": {}}


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a call that names what was called: a function, a custom tool, or the call itself."""
    return next((call[part] for part in ("function", "custom") if isinstance(call.get(part), Mapping)), call)


def _name(call: Mapping[str, Any]) -> str:
    return str(_function(call).get("name") or "")[:_MAX_NAME]


def arguments_of(written: object) -> dict[str, Any]:
    """Return a call's arguments: JSON, else a Python literal; what is neither is kept as `unreadable`."""
    if isinstance(written, str):
        if not written.strip():
            return {}
        try:
            written = json.loads(written)
        except (ValueError, RecursionError):
            return _from_python(str(written))
    if written is None:
        return {}
    return written if isinstance(written, dict) else {"value": written}


def _from_python(written: str) -> dict[str, Any]:
    """Read what `str()` made of a dictionary. Only literals are read, and nothing is run."""
    try:
        if len(written) > _MAX_PYTHON_CHARACTERS:
            return {"unreadable": written}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in somebody's text are not the reader's to warn of
            value = ast.literal_eval(written.strip())
        plain = json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return {"unreadable": written}
    return plain if isinstance(plain, dict) else {"value": plain}


def _result(transcript: Transcript, message: Mapping[str, Any]) -> None:
    content = message.get("content")
    step = _called(transcript, message)
    text = words(content) if isinstance(content, str | list) else json.dumps(content) if content is not None else ""
    step["output"] = {"content": text or content}
    if message.get("error") is True or _says_error(text):
        step["status"], step["error"] = "error", text[:_MAX_ERROR] or "the tool reported an error"


def _says_error(text: str) -> bool:
    """Tell whether a result is an error: by its first word, or as an object with nothing but an error to tell."""
    assigned = _ASSIGNED.fullmatch(text) if text.startswith("#") else None
    told = assigned[1].lstrip("'\" ") if assigned else text
    if told.startswith("Error"):
        return True
    if not told.startswith("{"):
        return False
    try:
        value = json.loads(told)
    except (ValueError, RecursionError):
        return False
    return bool(value.get("error")) and len(value) <= 2


def _called(transcript: Transcript, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the step a result belongs to: by the call's id, else the oldest open call of that name, else the oldest."""
    wanted, name = str(message.get("tool_call_id") or message.get("id") or ""), message.get("name")
    keys: Sequence[tuple[str, dict[str, Any]]] = transcript.pending
    match = next((pair for pair in keys if wanted and pair[0] == wanted), None)
    match = match or next((pair for pair in keys if name and pair[1]["name"] == name), None)
    match = match or next(iter(keys if not name else ()), None)
    if match is None:
        step: dict[str, Any] = {
            "kind": "tool_call",
            "name": str(name or "unknown")[:_MAX_NAME],
            "input": {},
            "output": {},
        }
        transcript.steps.append(step)
        return step
    transcript.pending.remove(match)
    return match[1]
