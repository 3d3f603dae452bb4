"""Finds out what the user of a run said and what the agent answered. Pure."""

from collections.abc import Sequence
from typing import Any

from episodes.otlp.dialects.chat import Message, messages_of, text_of_value
from episodes.otlp.plain import loads_or_none
from episodes.otlp.trees import Node, Run

__all__ = ["answer_of", "opening_messages", "spoken"]

# Names under which functions and chains take or return the words of a conversation.
_SPOKEN_NAMES = (
    "input", "inputs", "question", "query", "prompt", "user_prompt", "user_input", "user_message", "message", "text",
    "content", "output", "answer", "result", "response", "kwargs", "args",
)  # fmt: skip


def opening_messages(run: Run, calls: Sequence[Node]) -> dict[str, Any]:
    """Return the episode's input: `{"messages"}`, without system instructions, ending with what the user said last.

    They are those of the first model call. The run's own span knows the user's words better than a prompt that was
    built around them; where neither speaks, whatever went into the run is kept as `value`.
    """
    given = next((node.reading.messages_in for node in calls if node.reading.messages_in), run.root.reading.messages_in)
    messages = [message for message in given if message["role"] != "system"]
    said = [index for index, message in enumerate(messages) if message["role"] == "user"]
    messages = messages[: said[-1] + 1] if said else messages
    root = run.root.reading
    own = _last(root.messages_in, "user") or spoken(root.given, "user") if run.root.is_run or not messages else ""
    if own and not any(message["role"] == "user" and message["content"] == own for message in messages):
        is_built_around = bool(said) and own in messages[-1]["content"]
        messages = [*(messages[:-1] if is_built_around else []), {"role": "user", "content": own}]
    if messages:
        return {"messages": messages}
    read = loads_or_none(root.given)
    return {} if root.given is None else {"messages": [], "value": root.given if read is None else read}


def answer_of(run: Run, calls: Sequence[Node]) -> dict[str, Any]:
    """Return the episode's output: `{"text"}`, the agent's last words.

    The run's own span knows them best; else they are those of the model call that ended last and said something. An
    answer that is an object is kept as `value` too.
    """
    root = run.root.reading
    result = loads_or_none(root.result)
    if run.root.is_run:
        text = _last(root.messages_out, "assistant") or spoken(root.result, "assistant")
        if text:
            return {"text": text}
        if isinstance(result, dict | list) and result:
            return {"text": text_of_value(result), "value": result}
    for node in sorted(calls, key=lambda node: (node.span.end_ns or node.span.start_ns, node.order), reverse=True):
        text = _last(node.reading.messages_out, "assistant")
        if text:
            return {"text": text}
    if root.result is None:
        return {"text": ""}
    text = spoken(root.result, "assistant") or text_of_value(root.result)
    return {"text": text, "value": result} if isinstance(result, dict | list) else {"text": text}


def spoken(value: Any, role: str, depth: int = 3) -> str:
    """Return the words in what a function took or returned: a text, the last message of `role`, a well-named member."""
    read = loads_or_none(value)
    if isinstance(value, str) and not isinstance(read, dict | list):
        return read if isinstance(read, str) else value
    if depth <= 0 or not isinstance(read, dict | list) or not read:
        return ""
    if isinstance(read, list) and len(read) == 1 and isinstance(read[0], str):
        return read[0]
    if isinstance(read, list) or any(name in read for name in ("messages", "role", "choices", "parts")):
        return _last([message for message in messages_of(read) if message["content"]], role)
    return next((said for name in _SPOKEN_NAMES if name in read and (said := spoken(read[name], role, depth - 1))), "")


def _last(messages: Sequence[Message], role: str) -> str:
    return next((str(one["content"]) for one in reversed(messages) if one["role"] == role and one["content"]), "")
