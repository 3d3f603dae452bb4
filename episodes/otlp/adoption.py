"""Reconstructs the harness an agent ran on from its captured spans, as a draft that a person accepts or corrects. Pure."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from episodes.otlp.plain import loads_or_none, plain
from episodes.otlp.spans import Log, Span
from episodes.otlp.steps import calls_of
from episodes.otlp.trees import Node, Run, nodes_of, runs_of, traces_of
from harness.canonical import DocumentError
from harness.documents import Layer, validate_document

__all__ = ["Adopted", "Variant", "adopt"]

# Together these stay below the size one document may have.
_MAX_TEXT = 100_000
_MAX_NODE_TEXT = 20_000
_MAX_DESCRIPTION = 5_000
_MAX_SCHEMA = 20_000
_MAX_TOOLS = 100
_MAX_VARIANTS = 20
_MAX_NODES = 50
_NOT_AN_ID = re.compile(r"[\s/~]+")
_NUMBERS = re.compile(r"\d+")
# How a call was made, not what was asked of the model.
_TRANSPORT = frozenset({"stream", "stream_options", "encoding_format", "encoding_formats", "extra_headers", "timeout"})
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Variant:
    """One value a layer was seen with, in `count` runs, which are the `share` of all runs that show the layer."""

    layer: Layer
    value: Any
    share: float
    count: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """A valid harness document made of what was seen most, every variant, and what a person should look at."""

    document: dict[str, Any]
    variants: list[Variant]
    notes: list[str]


@dataclass
class _Seen:
    """What one run showed."""

    prompt: str = ""
    other_prompts: set[str] = field(default_factory=set)
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    arguments: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    num_retrievals: int = 0


def adopt(spans: Iterable[Span], logs: Iterable[Log] = ()) -> Adopted:
    """Return the first harness document of the agent whose spans these are. Order and repetition make no difference.

    Prompt, tools and model are each what most runs showed. Prompts that differ only in numbers (a date, an id) count
    as one. Agents that act inside a run become nodes of the workflow.
    """
    seen = [
        _seen(run)
        for trace_id, (own, told) in sorted(traces_of(spans, logs).items())
        for run in runs_of(trace_id, nodes_of(own, told))
    ]
    notes: list[str] = []
    prompts = _ranked([one.prompt for one in seen if one.prompt], key=lambda text: _NUMBERS.sub("0", text))
    models = _ranked([one.model for one in seen if one.model])
    toolsets = _ranked([one.tools for one in seen if one.tools])
    document: dict[str, Any] = {
        "prompt": {"system": prompts[0][0] if prompts else "", "rules": {}, "examples": {}},
        "tools": _tools(seen, notes),
        "model": models[0][0] if models else {"name": None, "parameters": {}},
    }
    nodes = _nodes(seen)
    if nodes:
        document["workflow"] = {"nodes": nodes}
    shown: dict[Layer, list[tuple[Any, int]]] = {"prompt": prompts, "tools": toolsets, "model": models}
    variants = [
        Variant(layer, plain(value), round(count / sum(number for _, number in ranked), 4), count)
        for layer, ranked in shown.items()
        for value, count in ranked[:_MAX_VARIANTS]
    ]
    _note_what_is_doubtful(seen, prompts, models, notes)
    valid = validate_document(plain(document))
    assert isinstance(valid, dict)
    return Adopted(dict(valid), variants, notes)


def _seen(run: Run) -> _Seen:
    seen = _Seen()
    prompts: Counter[str] = Counter()
    models: Counter[str] = Counter()
    inner: dict[str, Counter[tuple[str, tuple[str, ...]]]] = {}
    for node in calls_of(run.nodes):
        if node.is_judging:
            continue
        reading = node.reading
        prompt = _prompt(node)
        for tool in reading.tools[:_MAX_TOOLS]:
            seen.tools.setdefault(_item_id(tool["name"]), _tool(tool))
        agent = _agent_around(node, run)
        if agent:
            names = tuple(sorted(_item_id(tool["name"]) for tool in reading.tools))
            inner.setdefault(_item_id(agent), Counter())[prompt, names] += 1
        elif prompt:
            prompts[prompt] += 1
        models[json.dumps(_model(node), sort_keys=True)] += 1
    seen.prompt = _most(prompts) or ""
    seen.other_prompts = set(prompts) - {seen.prompt}
    chosen = _most(models)
    seen.model = json.loads(chosen) if chosen else {}
    seen.nodes = {agent: found for agent, counted in inner.items() if (found := _most(counted)) is not None}
    for node in run.nodes:
        if node.reading.kind == "tool_call" and node.reading.name:
            given = loads_or_none(node.reading.given)
            called = seen.arguments.setdefault(_item_id(node.reading.name), [])
            called.append(given if isinstance(given, dict) else {})
        seen.num_retrievals += node.reading.kind == "retrieval"
    return seen


def _prompt(node: Node) -> str:
    said = [message["content"] for message in node.reading.messages_in if message["role"] == "system"]
    return "\n\n".join(filter(None, said))[:_MAX_TEXT]


def _model(node: Node) -> dict[str, Any]:
    reading = node.reading
    parameters = {name: plain(value) for name, value in reading.parameters.items() if name not in _TRANSPORT}
    return {"name": reading.asked_model or reading.model or None, "parameters": parameters}


def _agent_around(node: Node, run: Run) -> str:
    """Return the name of the agent inside the run that made the call; empty when the run's own agent did."""
    caller = node.caller
    while caller is not None and caller.reading.kind != "agent":
        caller = caller.caller
    return caller.reading.agent if caller is not None and caller is not run.root else ""


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": str(tool["description"])[:_MAX_DESCRIPTION],
        "parameters": plain(tool["parameters"]),
        "settings": {},
        "enabled": True,
    }


def _item_id(name: str) -> str:
    return _NOT_AN_ID.sub("_", str(plain(name)).strip())[:120] or "unnamed"


def _most[Value](counted: Counter[Value]) -> Value | None:
    """Return the value counted most; of equals the one whose text comes first, so that order plays no part."""
    return min(counted, key=lambda value: (-counted[value], repr(value))) if counted else None


def _ranked(values: Sequence[Any], key: Any = None) -> list[tuple[Any, int]]:
    """Return distinct values with how often each was seen, the most frequent first; `key` says which count as one."""
    groups: dict[str, Counter[str]] = {}
    for value in values:
        written = json.dumps(value, sort_keys=True)
        groups.setdefault(key(value) if key else written, Counter())[written] += 1
    ranked = [(str(_most(counted)), counted.total()) for counted in groups.values()]
    return [(json.loads(written), count) for written, count in sorted(ranked, key=lambda pair: (-pair[1], pair[0]))]


def _tools(seen: Sequence[_Seen], notes: list[str]) -> dict[str, Any]:
    """Return every tool that was offered, as most runs defined it, and those that were called without being shown."""
    offered: dict[str, list[dict[str, Any]]] = {}
    called: dict[str, list[Mapping[str, Any]]] = {}
    for one in seen:
        for name, tool in one.tools.items():
            offered.setdefault(name, []).append(tool)
        for name, arguments in one.arguments.items():
            called.setdefault(name, []).extend(arguments)
    tools = {name: _ranked(definitions)[0][0] for name, definitions in sorted(offered.items())}
    showing = sum(bool(one.tools) for one in seen)
    for name, definitions in sorted(offered.items()):
        if len(definitions) * 2 < showing:
            notes.append(f"Tool {name!r} was offered in {len(definitions)} of {showing} runs only.")
    for name, arguments in sorted(called.items()):
        if name not in tools:
            tools[name] = _tool({"description": "", "parameters": _guessed(arguments)})
            notes.append(
                f"Tool {name!r} was called but never described; its parameters were read off {len(arguments)} call(s)."
            )
    if len(tools) > _MAX_TOOLS:
        notes.append(f"{len(tools) - _MAX_TOOLS} tools beyond the {_MAX_TOOLS}th were left out.")
    return {name: _valid_tool(name, tool, notes) for name, tool in list(tools.items())[:_MAX_TOOLS]}


def _guessed(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for arguments in calls:
        for name, value in arguments.items():
            kind = _TYPES.get(type(value))
            properties.setdefault(str(name), {"type": kind} if kind else {})
    return {"type": "object", "properties": dict(sorted(properties.items()))}


def _valid_tool(name: str, tool: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    if len(json.dumps(tool["parameters"])) > _MAX_SCHEMA:
        notes.append(f"The parameters of tool {name!r} are longer than {_MAX_SCHEMA} characters and were left out.")
        return {**tool, "parameters": {}}
    try:
        validate_document({"tools": {name: plain(tool)}})
    except DocumentError as error:
        notes.append(f"The parameters of tool {name!r} cannot be kept: {error}")
        return {**tool, "parameters": {}}
    return tool


def _nodes(seen: Sequence[_Seen]) -> dict[str, Any]:
    found: dict[str, Counter[tuple[str, tuple[str, ...]]]] = {}
    for one in seen:
        for agent, shown in one.nodes.items():
            found.setdefault(agent, Counter())[shown] += 1
    nodes = {}
    for agent, counted in sorted(found.items())[:_MAX_NODES]:
        prompt, tools = _most(counted) or ("", ())
        nodes[agent] = {
            "role": agent,
            "prompt": prompt[:_MAX_NODE_TEXT],
            "tools": list(tools),
            "next": [],
            "parallel": None,
        }
    return nodes


def _note_what_is_doubtful(
    seen: Sequence[_Seen], prompts: Sequence[tuple[Any, int]], models: Sequence[tuple[Any, int]], notes: list[str]
) -> None:
    runs = len(seen)
    if not runs:
        notes.append("No run of an agent was found in these spans.")
        return
    if not prompts:
        notes.append("No system prompt was captured. Turn on the capture of message content, or write the prompt here.")
    elif prompts[0][1] * 2 <= sum(count for _, count in prompts):
        notes.append(
            f"The system prompt differs from run to run: {len(prompts)} variants, the most frequent in "
            f"{prompts[0][1]} run(s). Parts that change belong into the conversation, not into the harness."
        )
    others = sum(bool(one.other_prompts) for one in seen)
    if others:
        notes.append(f"{others} of {runs} run(s) also used other system prompts; only the main one was taken over.")
    if not models:
        notes.append("No model was captured.")
    if sum(one.num_retrievals for one in seen):
        notes.append("The agent retrieves documents; spans do not hold the knowledge itself. Add it under context.")
