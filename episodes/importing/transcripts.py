"""Turns a chat transcript with tool calls into messages and steps. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from episodes.detectors.handoff import is_handoff_name
from episodes.importing.runs import BadLineError

__all__ = ["Transcript", "read_transcript"]

_MAX_NAME = 200
_MAX_ERROR = 2_000


@dataclass
class Transcript:
    """What was said, what was done, in order. `pending` holds calls whose result has not come yet."""

    model: str
    messages: list[dict[str, str]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    pending: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def answer(self) -> str:
        """Return the agent's last words."""
        return next((m["content"] for m in reversed(self.messages) if m["role"] == "assistant"), "")

    @property
    def has_handed_off(self) -> bool:
        return any(step["kind"] == "handoff" for step in self.steps)


def read_transcript(messages: object, *, model: str) -> Transcript:
    """Return the transcript of OpenAI-style messages; raise `BadLineError` for what is none.

    A tool's result is a failure when it says so or begins with "Error". What a user does on their own device at the
    agent's request is a check, not a call of the agent's.
    """
    if not isinstance(messages, list):
        raise BadLineError("'messages' is missing or no list")
    transcript = Transcript(model=model[:_MAX_NAME])
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise BadLineError(f"message {index} is no object with a role")
        _read(transcript, message)
    return transcript


def _read(transcript: Transcript, message: Mapping[str, Any]) -> None:
    role, content = message["role"], message.get("content")
    text = content.strip() if isinstance(content, str) else ""
    if role == "tool":
        _result(transcript, message, text)
        return
    calls = [call for call in message.get("tool_calls") or [] if isinstance(call, Mapping)]
    if role in {"user", "assistant"} and text:
        transcript.messages.append({"role": role, "content": text})
    if role == "assistant":
        output: dict[str, Any] = {"text": text, "tool_calls": [_name(call) for call in calls]}
        if message.get("errors"):
            output["errors"] = message["errors"]
        transcript.steps.append({"kind": "model_call", "name": transcript.model, "output": output})
    for call in calls:
        step = _step(call, by_user=role == "user")
        transcript.steps.append(step)
        transcript.pending.append((str(call.get("id") or ""), step))


def _step(call: Mapping[str, Any], *, by_user: bool) -> dict[str, Any]:
    name = _name(call)
    if by_user:
        return {"kind": "check", "name": name, "input": {"by": "user", "arguments": _arguments(call)}, "output": {}}
    kind = "handoff" if is_handoff_name(name) else "tool_call"
    return {"kind": kind, "name": name, "input": _arguments(call), "output": {}}


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function")
    return function if isinstance(function, Mapping) else call


def _name(call: Mapping[str, Any]) -> str:
    return str(_function(call).get("name") or "")[:_MAX_NAME]


def _arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = _function(call).get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return {"unreadable": arguments}
    if arguments is None:
        return {}
    return arguments if isinstance(arguments, dict) else {"value": arguments}


def _result(transcript: Transcript, message: Mapping[str, Any], text: str) -> None:
    step = _called(transcript, message)
    step["output"] = {"content": text}
    if message.get("error") is True or text.startswith("Error"):
        step["status"], step["error"] = "error", text[:_MAX_ERROR] or "the tool reported an error"


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
