"""Turns the nodes of a run into an episode's steps. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from episodes.otlp.dialects.chat import Message, text_of_value
from episodes.otlp.dialects.reading import Reading
from episodes.otlp.plain import clean_text, loads_or_none
from episodes.otlp.trees import Node, Run

__all__ = ["calls_of", "steps_of"]

type Step = dict[str, Any]

_MAX_NAME = 200
_MAX_ERROR = 20_000
_SPEECH = frozenset({"text", "messages", "tool_calls"})
_DOCUMENT_NAMES = {
    "content": "text",
    "page_content": "text",
    "pageContent": "text",
    "document_id": "id",
}


def calls_of(nodes: Iterable[Node]) -> list[Node]:
    """Return the model calls of a run, in order. Of two that wrap each other the one that shows its messages counts.

    A framework and the provider's client under it often record the same call; counting both would double its cost.
    """
    calls = [node for node in nodes if node.reading.kind == "model_call"]
    dropped = set()
    for node in calls:
        outer = node.caller
        if outer is not None and outer.reading.kind == "model_call":
            is_inner_mute = outer.reading.messages_out and not node.reading.messages_out
            dropped.add(node.span.span_id if is_inner_mute else outer.span.span_id)
    return [node for node in calls if node.span.span_id not in dropped]


def steps_of(run: Run, calls: Sequence[Node]) -> list[Step]:
    """Return the acts of a run in order of time; a tool call that only messages tell of follows the call that made it."""
    counted = {node.span.span_id for node in calls}
    heard = _Heard(run.nodes, calls)
    checks: Counter[tuple[str, str]] = Counter()
    steps: list[Step] = []
    for node in run.nodes:
        kind = node.reading.kind
        if node is run.root and node.is_run:
            continue
        if kind in _MAKERS and (kind != "model_call" or node.span.span_id in counted):
            step = _step(node)
            if step["kind"] == "check" and node.attempt is None:
                # The same check under the same span once more is another attempt.
                key = node.span.parent_id, step["name"]
                checks[key] += 1
                step["attempt"] = checks[key]
            steps.append(step)
        if kind == "model_call" and node.span.span_id in counted:
            steps.extend(heard.unseen_calls(node))
        if kind != "check" and node.reading.verdict.get("name"):
            steps.append(_verdict_step(node))
    return steps


def _step(node: Node) -> Step:
    reading, span = node.reading, node.span
    step = _MAKERS[reading.kind](reading)
    step["name"] = clean_text(step["name"] or span.name)[:_MAX_NAME]
    if node.attempt is not None:
        step["attempt"] = node.attempt
    error = _error(node)
    if error:
        step["status"], step["error"] = "error", error
    if node.has_arrived and span.duration_ms is not None:
        step["latency_ms"] = span.duration_ms
    return step


def _error(node: Node) -> str:
    """Return what went wrong: the recorded exceptions, else the status' own words; empty when the span is no failure."""
    if node.span.status != 2 and not node.reading.error:
        return ""
    raised = []
    for event in node.span.events:
        if event["name"] == "exception":
            said = [text_of_value(event["attributes"].get(f"exception.{part}")) for part in ("type", "message")]
            raised.append(": ".join(filter(None, said)))
    kind = text_of_value(node.span.attributes.get("error.type"))
    words = "; ".join(dict.fromkeys(filter(None, raised)))
    return clean_text(words or node.span.status_message or node.reading.error or kind or "error")[:_MAX_ERROR]


def _model_call(reading: Reading) -> Step:
    given = {
        "messages": reading.messages_in,
        "model": reading.model,
        "provider": reading.provider,
        "parameters": reading.parameters,
        "tools": [tool["name"] for tool in reading.tools],
    }
    said = [message["content"] for message in reading.messages_out if message["role"] == "assistant"]
    made = {
        "text": "\n".join(filter(None, said)),
        "messages": reading.messages_out,
        "tool_calls": [call["function"]["name"] for call in _tool_calls(reading.messages_out)],
        "finish": reading.finish,
        "usage": reading.usage,
    }
    return {
        "kind": "model_call",
        "name": reading.model,
        "input": {name: value for name, value in given.items() if value or name == "messages"},
        "output": {name: value for name, value in made.items() if value or name in _SPEECH},
    }


def _embedding(reading: Reading) -> Step:
    given = {"operation": "embedding", "model": reading.model, "parameters": reading.parameters}
    return {
        "kind": "model_call",
        "name": reading.model,
        "input": {name: value for name, value in given.items() if value},
        "output": {"usage": reading.usage} if reading.usage else {},
    }


def _tool_call(reading: Reading) -> Step:
    output: dict[str, Any] = {} if reading.result is None else {"content": text_of_value(reading.result)}
    if reading.call_id:
        output["call_id"] = reading.call_id
    return {"kind": "tool_call", "name": reading.name, "input": _arguments(reading.given), "output": output}


def _retrieval(reading: Reading) -> Step:
    documents = [
        {_DOCUMENT_NAMES.get(name, name): value for name, value in document.items()} for document in reading.documents
    ]
    output: dict[str, Any] = {"documents": documents}
    if reading.result is not None and not documents:
        output = {"value": loads_or_none(reading.result) or reading.result}
    given = loads_or_none(reading.given)
    query = given if isinstance(given, dict) else {"query": reading.given}
    return {"kind": "retrieval", "name": reading.name, "input": query, "output": output}


def _check(reading: Reading) -> Step:
    output = {name: value for name, value in reading.verdict.items() if name != "name"}
    label = str(output.get("label", "")).lower()
    if "passed" not in output and label in _LABELS:
        output["passed"] = _LABELS[label]
    if "passed" in output:
        output["fired"] = not output["passed"]
    if reading.result is not None:
        output["result"] = _value(reading.result)
    given = {} if reading.given is None else {"value": _value(reading.given)}
    return {"kind": "check", "name": reading.name, "input": given, "output": output}


def _handoff(reading: Reading) -> Step:
    """Return the step of another agent's turn inside this run; `to` tells it from a hand-off to a person."""
    given: dict[str, Any] = {"to": "agent", "agent": reading.agent}
    if reading.given is not None:
        given["value"] = _value(reading.given)
    output = {} if reading.result is None else {"value": _value(reading.result)}
    return {"kind": "handoff", "name": reading.agent, "input": given, "output": output}


_MAKERS = {
    "model_call": _model_call, "embedding": _embedding, "tool_call": _tool_call, "retrieval": _retrieval,
    "check": _check, "handoff": _handoff, "agent": _handoff,
}  # fmt: skip
_LABELS = {"pass": True, "passed": True, "true": True, "fail": False, "failed": False, "false": False}


def _verdict_step(node: Node) -> Step:
    """Return the check whose result was written onto the span it judged."""
    step = _check(Reading(verdict=node.reading.verdict))
    return {**step, "name": clean_text(str(node.reading.verdict["name"]))[:_MAX_NAME]}


def _value(value: Any) -> Any:
    read = loads_or_none(value)
    return value if read is None else read


def _arguments(given: Any) -> dict[str, Any]:
    read = loads_or_none(given)
    if isinstance(read, dict):
        return read
    if given in (None, ""):
        return {}
    return {"unreadable": given} if read is None else {"value": read}


def _tool_calls(messages: Iterable[Message]) -> Iterator[Mapping[str, Any]]:
    for message in messages:
        yield from message.get("tool_calls", ())


class _Heard:
    """The tool calls of a run that no span recorded: asked for in one model call, answered in a later one's messages."""

    def __init__(self, nodes: Sequence[Node], calls: Sequence[Node]) -> None:
        tools = [node.reading for node in nodes if node.reading.kind in {"tool_call", "handoff"}]
        self.recorded = {reading.call_id for reading in tools if reading.call_id}
        self.recorded_names = Counter(reading.name for reading in tools if not reading.call_id)
        self.place = {node.span.span_id: index for index, node in enumerate(calls)}
        self.results: dict[str, list[tuple[int, str]]] = {}
        for index, node in enumerate(calls):
            for message in node.reading.messages_in:
                if message["role"] == "tool" and message.get("tool_call_id"):
                    self.results.setdefault(message["tool_call_id"], []).append((index, message["content"]))

    def unseen_calls(self, node: Node) -> Iterator[Step]:
        for call in _tool_calls(node.reading.messages_out):
            name, call_id = call["function"]["name"], call["id"]
            if call_id and call_id in self.recorded:
                continue
            if self.recorded_names[name] > 0:
                self.recorded_names[name] -= 1
                continue
            step = _tool_call(Reading(name=name, given=call["function"]["arguments"], call_id=call_id))
            step["name"] = clean_text(name)[:_MAX_NAME]
            answered = self.results.get(call_id, ())
            content = next((said for index, said in answered if index > self.place[node.span.span_id]), None)
            if content is not None:
                step["output"]["content"] = content
                if content.startswith("Error"):
                    step["status"], step["error"] = "error", content[:_MAX_ERROR]
            yield step
