"""Reads Langfuse observations as steps, and the free forms of inputs and outputs as messages and texts. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from episodes.detectors.handoff import is_handoff_name
from episodes.importing.entries import BadLineError, moment, number, short
from episodes.importing.transcripts import read_transcript, words

__all__ = ["at", "ended_at", "messages_of", "steps_of", "text_and_value", "usage_of"]

_KINDS = {
    "GENERATION": "model_call", "EMBEDDING": "model_call", "TOOL": "tool_call", "RETRIEVER": "retrieval",
    "EVALUATOR": "check", "GUARDRAIL": "check",
}  # fmt: skip
_CONTAINERS = frozenset({"SPAN", "AGENT", "CHAIN"})
_SAID = ("content", "text", "input", "query", "question", "message", "prompt", "output", "answer", "response", "result")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MAX_ERROR = 20_000


def at(row: Mapping[str, Any], name: str) -> Any:
    """Return a member by its name in the API, or as blob exports write it (`startTime`, `start_time`)."""
    return row[name] if name in row else row.get(_HUMP.sub("_", name).lower())


def _opened(value: object) -> Any:
    """Return the JSON inside a text, where there is some; tables export inputs and outputs as texts."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def messages_of(value: object) -> list[Any] | dict[str, Any]:
    """Return an input as messages; whatever is neither a text nor messages is kept as it is beside its text."""
    value = _opened(value)
    if isinstance(value, Mapping) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if (
        isinstance(value, list)
        and value
        and all(isinstance(m, Mapping) and isinstance(m.get("role"), str) for m in value)
    ):
        return read_transcript(value, model="", keeps_system=True).messages
    if value is None or value == "":
        return []
    text = words(value) if isinstance(value, str) else _said(value)
    said = [{"role": "user", "content": text}] if text else []
    return said if isinstance(value, str) else {"messages": said, "value": value}


def text_and_value(value: object) -> tuple[str, Any]:
    """Return an output's text, and the output itself where it is more than a text."""
    value = _opened(value)
    if value is None or isinstance(value, str):
        return (value or "").strip(), None
    return _said(value), value


def _said(value: object) -> str:
    """Return the words in an object: its content, the first choice's message, the last message, or a plain member."""
    if isinstance(value, list):
        return next((text for one in reversed(value) if (text := _said(one))), "")
    if not isinstance(value, Mapping):
        return value.strip() if isinstance(value, str) else ""
    for name in ("choices", "messages"):
        if isinstance(value.get(name), list):
            return _said(value[name])
    if isinstance(value.get("message"), Mapping):
        return _said(value["message"])
    return next((text for name in _SAID if (text := words(value.get(name)))), "")


def steps_of(observations: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the acts among observations, and the spans around them that did nothing of their own."""
    listed = list(observations)
    parents = {short(at(one, "parentObservationId")) for one in listed} - {""}
    steps, others = [], []
    for one in listed:
        kind = _kind(one, is_parent=short(one.get("id")) in parents)
        if kind:
            steps.append(_step(one, kind))
        else:
            told = {"name": one.get("name"), "type": one.get("type"), "error": _error(one)}
            others.append({key: value for key, value in told.items() if value})
    return steps, others


def _kind(one: Mapping[str, Any], *, is_parent: bool) -> str:
    kind = str(one.get("type") or "SPAN").upper()
    if is_handoff_name(str(one.get("name") or "")) and kind in _CONTAINERS | {"TOOL", "EVENT"}:
        return "handoff"
    # Tools were spans before there was a type for them; a span with others inside only holds them together.
    is_act = kind == "SPAN" and not is_parent and bool(at(one, "parentObservationId"))
    return _KINDS.get(kind, "tool_call" if is_act else "")


def _step(one: Mapping[str, Any], kind: str) -> dict[str, Any]:
    given, made, error = _opened(one.get("input")), _opened(one.get("output")), _error(one)
    model = str(at(one, "model") or at(one, "providedModelName") or "")
    usage = usage_of(one)
    output = (
        made
        if isinstance(made, dict)
        else {}
        if made is None
        else {"text": made}
        if isinstance(made, str)
        else {"value": made}
    )
    return {
        "kind": kind,
        "name": (model if kind == "model_call" and model else str(one.get("name") or ""))[:200],
        "input": given if isinstance(given, dict) else {} if given is None else {"value": given},
        "output": {**output, **({"usage": usage} if usage and "usage" not in output else {})},
        "status": "error" if error else "ok",
        "error": error,
        "latency_ms": _latency_ms(one),
    }


def _error(one: Mapping[str, Any]) -> str:
    if str(one.get("level")).upper() != "ERROR":
        return ""
    return str(at(one, "statusMessage") or "the observation has level ERROR")[:_MAX_ERROR]


def _latency_ms(one: Mapping[str, Any]) -> float | None:
    try:
        start, end = moment(at(one, "startTime")), moment(at(one, "endTime"))
    except BadLineError:
        return None
    if start is None or end is None:
        return None
    return max(0.0, 1_000 * (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def ended_at(started_at: str | None, root: Mapping[str, Any], observations: Iterable[Mapping[str, Any]]) -> str | None:
    """Return when the last observation ended, or when the trace's latency was over; never before the start."""
    ends = [end for one in observations if (end := moment(at(one, "endTime")))]
    seconds = number(root.get("latency"))
    if not ends and started_at and seconds is not None and 0 <= seconds <= timedelta(days=30).total_seconds():
        ends = [(datetime.fromisoformat(started_at) + timedelta(seconds=seconds)).isoformat()]
    last = max(ends, key=datetime.fromisoformat, default=None)
    is_after = last and started_at and datetime.fromisoformat(last) >= datetime.fromisoformat(started_at)
    return last if is_after else None


def usage_of(one: Mapping[str, Any]) -> dict[str, float]:
    """Return an observation's tokens and cost under our names, from any of the forms they had over time."""
    usage, details, costs = (
        part if isinstance(part, Mapping) else {}
        for part in (one.get("usage"), at(one, "usageDetails"), at(one, "costDetails"))
    )
    found = {
        "input_tokens": (details.get("input"), usage.get("input"), usage.get("promptTokens"), at(one, "promptTokens")),
        "output_tokens": (
            details.get("output"), usage.get("output"), usage.get("completionTokens"), at(one, "completionTokens"),
        ),
        "cost_usd": (costs.get("total"), at(one, "calculatedTotalCost"), at(one, "totalCost"), usage.get("totalCost")),
    }  # fmt: skip
    first = {
        name: next((n for value in values if (n := number(value)) is not None), None) for name, values in found.items()
    }
    return {name: value for name, value in first.items() if value}
