"""What a dialect makes of one span: which act of an agent it is, and what went in and out. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from episodes.otlp.dialects.chat import Message
from episodes.otlp.plain import loads_or_none, whole

__all__ = ["RUN_KINDS", "Kind", "Reading", "first", "nested", "number", "text", "usage_of"]

type Kind = Literal[
    "", "agent", "workflow", "model_call", "embedding", "tool_call", "retrieval", "handoff", "check"
]  # fmt: skip

RUN_KINDS: frozenset[Kind] = frozenset({"agent", "workflow"})

_MERGED = frozenset({"parameters", "usage", "verdict"})
_MAX_PARTS = 16
_MAX_INDEX_DIGITS = 6


@dataclass(slots=True)
class Reading:
    """One span as an act. What the span does not say is empty.

    `given` and `result` are what went in and out where it is no list of messages. `usage` has the names
    `input_tokens output_tokens total_tokens cached_tokens reasoning_tokens cost_usd`. `verdict` is a check's.
    `model` is the one that answered, `asked_model` the name it was asked for by, often an alias.
    """

    kind: Kind = ""
    name: str = ""
    messages_in: list[Message] = field(default_factory=list)
    messages_out: list[Message] = field(default_factory=list)
    given: Any = None
    result: Any = None
    model: str = ""
    asked_model: str = ""
    provider: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, float] = field(default_factory=dict)
    call_id: str = ""
    documents: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] = field(default_factory=dict)
    finish: str = ""
    error: str = ""
    agent: str = ""
    workflow: str = ""
    dialects: tuple[str, ...] = ()

    def fill(self, other: "Reading") -> None:
        """Take from a less specific reading what this one does not say."""
        for name in _NAMES:
            own, theirs = getattr(self, name), getattr(other, name)
            if name == "dialects":
                self.dialects = (*own, *theirs)
            elif name in _MERGED:
                setattr(self, name, {**theirs, **own})
            elif own is None or (own != 0 and not own):
                setattr(self, name, theirs)


_NAMES = tuple(one.name for one in fields(Reading))


def text(value: Any) -> str:
    """Return a value that is a text or a number as text, anything else as ''."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def first(attributes: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the value of the first attribute that says anything; `None` when none does."""
    for name in names:
        value = attributes.get(name)
        if value is not None and value != "":
            return value
    return None


def number(value: Any) -> float | None:
    """Return an amount that came as number or text; `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        return None
    return amount if 0 <= amount < 1e15 else None


def nested(attributes: Mapping[str, Any], prefix: str) -> Any:
    """Return what flattened attributes under `prefix` stand for: `a.0.b` becomes `[{"b": …}]`; `None` for none."""
    tree: dict[str, Any] = {}
    start = prefix + "."
    for name, value in attributes.items():
        if not name.startswith(start):
            continue
        node = tree
        *path, last = name[len(start) :].split(".", _MAX_PARTS)
        for part in path:
            inner = node.get(part)
            if not isinstance(inner, dict):
                inner = node[part] = {}
            node = inner
        if not isinstance(node.get(last), dict):
            node[last] = value
    return _listed(tree) if tree else None


def _listed(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(name.isascii() and name.isdigit() and len(name) <= _MAX_INDEX_DIGITS for name in node):
        return [_listed(node[name]) for name in sorted(node, key=int)]
    return {name: _listed(part) for name, part in node.items()}


_USAGE_NAMES = {
    "input_tokens": ("input_tokens", "prompt_tokens", "promptTokens", "inputTokens", "input", "prompt"),
    "output_tokens": ("output_tokens", "completion_tokens", "completionTokens", "outputTokens", "output", "completion"),
    "total_tokens": ("total_tokens", "totalTokens", "total"),
    "cached_tokens": ("cache_read.input_tokens", "cache_read_input_tokens", "cached_tokens", "cachedInputTokens"),
    "reasoning_tokens": ("reasoning.output_tokens", "reasoning_tokens", "reasoningTokens"),
}
_USAGE_DETAILS = {
    "input_tokens_details": "cached_tokens",
    "prompt_tokens_details": "cached_tokens",
    "output_tokens_details": "reasoning_tokens",
    "completion_tokens_details": "reasoning_tokens",
}


def usage_of(value: Any) -> dict[str, float]:
    """Return the counts of tokens in a usage object, or JSON text of one, under the names of `Reading.usage`."""
    listed = loads_or_none(value)
    if not isinstance(listed, dict):
        return {}
    found: dict[str, float] = {}
    for name, known in _USAGE_NAMES.items():
        for key in known:
            if key in listed and (count := whole(listed[key])) is not None:
                found[name] = count
                break
    for part, name in _USAGE_DETAILS.items():
        details = listed.get(part)
        if isinstance(details, dict) and (count := whole(details.get(name))) is not None:
            found.setdefault(name, count)
    return found
