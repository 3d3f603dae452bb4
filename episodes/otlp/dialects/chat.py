"""Brings every provider's and emitter's messages into one chat shape. Pure.

The shape is OpenAI's: `{"role", "content", "tool_calls", "tool_call_id"}`, content as one text, a call's arguments as
JSON text. Read are OpenAI chat and Responses items, the parts of the GenAI semantic conventions, Anthropic's blocks,
the AI SDK's parts, and the plain text some emitters write. Pictures and files leave their kind in brackets; the
model's private reasoning is left out.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from episodes.otlp.plain import loads_or_none

__all__ = ["Message", "arguments_text", "definitions_of", "messages_of", "system_messages", "text_of_value"]

type Message = dict[str, Any]

_ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "bot": "assistant", "developer": "system",
    "function": "tool", "AIMessageChunk": "assistant",
}  # fmt: skip
_CALLS = frozenset({"tool_call", "tool_use", "tool-call", "function_call", "server_tool_use", "custom_tool_call"})
_RESULTS = frozenset({
    "tool_call_response", "tool_result", "tool-result", "function_call_output", "custom_tool_call_output",
})  # fmt: skip
_PRIVATE = frozenset({"reasoning", "thinking", "redacted_thinking"})
_NAMES_OF_CONTENT = ("messages", "choices", "message", "output", "input", "prompt")


def messages_of(value: Any, *, role: str = "user") -> list[Message]:
    """Return the messages a value holds, oldest first; a bare text is one message of `role`, a stranger none."""
    return list(_messages(_opened(value), role, 0))


def system_messages(value: Any) -> list[Message]:
    """Return system instructions, given as text or as parts, as at most one message."""
    opened = _opened(value)
    text = "\n".join(filter(None, (_part_text(part) for part in opened))) if isinstance(opened, list) else opened
    return [{"role": "system", "content": text}] if isinstance(text, str) and text else []


def definitions_of(value: Any) -> list[dict[str, Any]]:
    """Return tool definitions as `{"name", "description", "parameters"}`, whatever their provider's shape."""
    opened = _opened(value)
    listed = opened if isinstance(opened, list) else [opened]
    found = []
    for entry in listed:
        tool = _opened(entry)
        tool = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str) or not tool["name"]:
            continue
        names = ("parameters", "parameters_json_schema", "input_schema", "inputSchema")
        schema: Any = next((_opened(tool[name]) for name in names if tool.get(name)), {})
        found.append({
            "name": tool["name"],
            "description": tool["description"] if isinstance(tool.get("description"), str) else "",
            "parameters": schema if isinstance(schema, dict) else {},
        })  # fmt: skip
    return found


def arguments_text(arguments: Any) -> str:
    """Return a call's arguments as JSON text; text is taken to be JSON already."""
    if isinstance(arguments, str):
        return arguments
    return "{}" if arguments is None else json.dumps(arguments, ensure_ascii=False, sort_keys=True, default=str)


def text_of_value(value: Any) -> str:
    """Return a value as text: itself, the text of its parts, or its JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case list() if value and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
            return "\n".join(part["text"] for part in value)
        case {"type": "text" | "json" | "error-text", "value": inner}:
            return text_of_value(inner)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _opened(value: Any) -> Any:
    """Return what JSON text of an array or object says; any other text as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"}:
        read = loads_or_none(value)
        return value if read is None else read
    return value


def _messages(value: Any, role: str, depth: int) -> Iterator[Message]:
    if depth > 4:
        return
    if isinstance(value, str):
        if value:
            yield {"role": role, "content": value}
    elif isinstance(value, list):
        for entry in value:
            # A text within a list is one of several inputs, as embeddings have them.
            yield from _messages(entry, role, depth + 1)
    elif isinstance(value, dict):
        yield from _of_object(value, role, depth)


def _of_object(raw: Mapping[str, Any], role: str, depth: int) -> Iterator[Message]:
    kind = _kind(raw)
    if kind in _CALLS or kind in _RESULTS or "parts" in raw or "content" in raw:
        yield from _said([raw] if "parts" not in raw and "content" not in raw else raw, raw, role)
        return
    if raw.get("tool_calls") or ("role" in raw and not any(name in raw for name in _NAMES_OF_CONTENT)):
        yield from _said(raw, raw, role)
        return
    yield from system_messages(raw.get("system") or raw.get("instructions"))
    name = next((name for name in _NAMES_OF_CONTENT if raw.get(name)), None)
    if name is not None:
        inner = "assistant" if name in {"choices", "output"} else role
        yield from _messages(_opened(raw[name]), inner, depth + 1)


def _said(source: Any, raw: Mapping[str, Any], role: str) -> Iterator[Message]:
    """Yield what one entry says: its text with its calls, then each tool's result as a message of its own."""
    named = raw.get("role")
    role = _ROLES.get(named, named) if isinstance(named, str) and named else role
    if _kind(raw) in _CALLS:
        role = "assistant"
    body = source if isinstance(source, list) else raw.get("parts") or raw.get("content")
    body = _opened(body) if isinstance(body, str) and role == "assistant" and _is_parts(_opened(body)) else body
    parts = body if isinstance(body, list) else [body]
    texts = [text for text in map(_part_text, parts) if text]
    calls = [*_calls(raw.get("tool_calls")), *_calls(part for part in parts if _kind(part) in _CALLS)]
    results: list[Any] = [part for part in parts if _kind(part) in _RESULTS]
    if role == "tool" and not results:
        yield _result(raw, "\n".join(texts))
        return
    if texts or calls or not results:
        message: Message = {"role": role, "content": "\n".join(texts)}
        if calls:
            message["tool_calls"] = calls
        if texts or calls:
            yield message
    for part in results:
        found = next((part[name] for name in ("response", "result", "output", "content") if name in part), None)
        yield _result(part, text_of_value(found))


def _is_parts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(_kind(part), str) for part in value)


def _kind(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else None


def _part_text(part: Any) -> str:
    """Return the words of a part; other kinds of content leave their name in brackets."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return "" if part is None else text_of_value(part)
    kind = _kind(part)
    if kind in _CALLS or kind in _RESULTS or kind in _PRIVATE:
        return ""
    found = next((part[name] for name in ("text", "content", "refusal") if isinstance(part.get(name), str)), None)
    if found is not None and kind not in {"blob", "image", "image_url", "file"}:
        return str(found)
    return f"[{kind}]" if kind else text_of_value(part)


def _result(raw: Mapping[str, Any], text: str) -> Message:
    names = ("tool_call_id", "call_id", "tool_use_id", "toolCallId", "id")
    call_id = next((str(raw[name]) for name in names if raw.get(name)), "")
    return {"role": "tool", "content": text, "tool_call_id": call_id}


def _calls(listed: Any) -> Iterator[dict[str, Any]]:
    if isinstance(listed, dict) or not isinstance(listed, Iterable) or isinstance(listed, str):
        return
    for call in listed:
        if not isinstance(call, dict):
            continue
        function = call["function"] if isinstance(call.get("function"), dict) else call
        name = function.get("name") or function.get("toolName")
        given = next((function[key] for key in ("arguments", "input", "args") if function.get(key) is not None), None)
        call_id = call.get("id") or call.get("call_id") or call.get("toolCallId") or ""
        if call.get("type") == "function_call" and call.get("call_id"):
            call_id = call["call_id"]
        yield {
            "id": str(call_id),
            "type": "function",
            "function": {"name": str(name or ""), "arguments": arguments_text(given)},
        }
