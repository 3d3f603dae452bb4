"""Assembles episodes from whatever spans and log records of their traces have arrived. Pure.

The result is a function of the set of records alone: shuffled, repeated, split over batches or delayed, the same
records give the same items. See `trees.runs_of` for how runs and their ids are found.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from episodes.otlp.dialects.registry import NORMALIZER_VERSION
from episodes.otlp.fitting import fit
from episodes.otlp.identity import Identity, identity_of
from episodes.otlp.plain import loads_or_none, plain
from episodes.otlp.spans import Log, Span
from episodes.otlp.speech import answer_of, opening_messages
from episodes.otlp.steps import calls_of, steps_of
from episodes.otlp.trees import Node, Run, is_root_present, nodes_of, runs_of, traces_of

__all__ = ["Assembled", "Outcome", "episodes_of", "is_root_present"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_NS = 946_684_800 * 10**9  # 2000-01-01, before which the door takes no time for true
_DAY_NS = 86_400 * 10**9
_MAX_WORKFLOW = 120
_MAX_SOURCES = 50
_MAX_MODELS = 50
_MAX_NAME = 200
_COUNTS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "cost_usd")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run says it ended."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Assembled:
    """One episode. `item` is what the door takes; `is_closed` says that the run's own span has ended and stands alone.

    `span_ids` are the spans it was made of, those that say nothing about the agent included.
    """

    item: dict[str, Any]
    is_closed: bool
    span_ids: frozenset[str]
    outcome: Outcome | None


def episodes_of(spans: Iterable[Span], logs: Iterable[Log], *, now_ns: int | None = None) -> list[Assembled]:
    """Return the episodes of the spans' and records' traces, ordered by id.

    A trace in which no dialect recognizes anything of an agent gives none. Times that the door would refuse, before
    2000 or more than a day after `now_ns` (default: the clock), are left out with a note.
    """
    latest = (time.time_ns() if now_ns is None else now_ns) + _DAY_NS // 2
    found = [
        _assembled(run, latest)
        for trace_id, (own, told) in traces_of(spans, logs).items()
        for run in runs_of(trace_id, nodes_of(own, told))
    ]
    return sorted(found, key=lambda episode: str(episode.item["id"]))


def _assembled(run: Run, latest_ns: int) -> Assembled:
    identity = identity_of(run.root, run.nodes)
    calls = calls_of(run.nodes)
    heard = [node for node in calls if not node.is_judging] or calls
    notes: list[str] = []
    item: dict[str, Any] = {
        "id": run.id,
        **_times(run, latest_ns, notes),
        "input": opening_messages(run, heard),
        "output": answer_of(run, heard),
        "workflow": _workflow(run),
        "steps": steps_of(run, calls),
        "sources": _sources(run.nodes),
        "usage": _usage(run, calls, heard),
        **identity.fields,
        "external_refs": {"trace": run.root.span.trace_id, **identity.references},
        "attributes": _attributes(run, identity, notes),
    }
    if identity.conversation:
        item["conversation"] = identity.conversation
    if identity.subject:
        item["subject"] = identity.subject
    ids = frozenset(node.span.span_id for node in run.nodes if node.has_arrived)
    outcome = None if identity.blocked is None else Outcome("blocked", identity.blocked)
    return Assembled(fit(plain(item)), run.is_closed, ids, outcome)


def _times(run: Run, latest_ns: int, notes: list[str]) -> dict[str, str]:
    root = run.root.span
    is_whole = run.root.has_arrived and (run.root.is_run or not root.parent_id)
    starts = [root.start_ns] if is_whole else [node.span.start_ns for node in run.nodes]
    ends = [root.end_ns] if run.is_closed else [node.span.end_ns for node in run.nodes]
    started = min((ns for ns in starts if _EARLIEST_NS <= ns <= latest_ns), default=0)
    ended = max((ns for ns in ends if max(started, _EARLIEST_NS) <= ns <= latest_ns), default=0)
    if not started or (run.is_closed and not ended):
        notes.append("a span's times lie before 2000, in the future or in the wrong order; check the sender's clock")
    found = {"started_at": started, "ended_at": ended}
    return {name: _iso(ns) for name, ns in found.items() if ns}


def _iso(ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=ns // 1_000)).isoformat()


def _workflow(run: Run) -> str:
    named = [run.root.reading.workflow, *(node.reading.workflow for node in run.nodes), run.root.reading.agent]
    return next((" ".join(name.split())[:_MAX_WORKFLOW] for name in named if name.strip()), "")


def _sources(nodes: Sequence[Node]) -> list[str]:
    """Return the names of what was retrieved, each once, in order of first appearance."""
    names: dict[str, None] = {}
    for node in nodes:
        for document in node.reading.documents:
            metadata = loads_or_none(document.get("metadata"))
            metadata = metadata if isinstance(metadata, dict) else {}
            listed = (document.get("id"), document.get("title"), metadata.get("title"), metadata.get("source"))
            name = next((str(name)[:200] for name in listed if isinstance(name, str | int) and str(name).strip()), "")
            if name:
                names[name] = None
    return list(names)[:_MAX_SOURCES]


def _usage(run: Run, calls: Sequence[Node], heard: Sequence[Node]) -> dict[str, Any]:
    """Return tokens and cost summed over every model call; where no call was recorded, what the run's span says."""
    counted = [*calls, *(node for node in run.nodes if node.reading.kind == "embedding")] or [run.root]
    usage: dict[str, Any] = {}
    for node in counted:
        own = dict(node.reading.usage)
        if "total_tokens" not in own and ("input_tokens" in own or "output_tokens" in own):
            own["total_tokens"] = own.get("input_tokens", 0) + own.get("output_tokens", 0)
        for name in _COUNTS:
            if name in own:
                usage[name] = usage.get(name, 0) + own[name]
    if "cost_usd" in usage:
        usage["cost_usd"] = round(usage["cost_usd"], 9)
    models = Counter(node.reading.model[:_MAX_NAME] for node in heard if node.reading.model)
    if models:
        # Most used first; equals by name, so that order of arrival plays no part.
        usage["model"] = min(models, key=lambda name: (-models[name], name))
        usage["models"] = sorted(models)[:_MAX_MODELS]
    elif run.root.reading.model:
        usage["model"] = run.root.reading.model[:_MAX_NAME]
    if calls:
        usage["model_calls"] = len(calls)
    span = run.root.span
    if run.root.has_arrived and span.duration_ms is not None:
        usage["latency_ms"] = span.duration_ms
    return usage


def _attributes(run: Run, identity: Identity, notes: list[str]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "captured_by": "otlp",
        "normalizer_version": NORMALIZER_VERSION,
        "dialects": sorted({name for node in run.nodes for name in node.reading.dialects}),
        "root_span": run.root.span.span_id,
    }
    service = run.root.span.resource.get("service.name")
    if isinstance(service, str) and service:
        attributes["service"] = service[:_MAX_NAME]
    if run.root.reading.agent:
        attributes["agent_name"] = run.root.reading.agent[:_MAX_NAME]
    if identity.invalid:
        attributes["invalid"] = identity.invalid
        notes.extend(f"{name} has a value its field cannot take" for name in sorted(identity.invalid))
    if notes:
        attributes["notes"] = notes
    return attributes
