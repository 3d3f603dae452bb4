"""Reads Langfuse exports: traces, observations and scores, from files in any order, put together by trace."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from episodes.importing.entries import (
    BadLine,
    BadLineError,
    Entry,
    Line,
    Options,
    fingerprint,
    moment,
    number,
    short,
)
from episodes.importing.framing import Record, records
from episodes.importing.grouping import Groups, Part
from episodes.importing.langfuse_scores import endings_of, flattened_scores
from episodes.importing.langfuse_steps import at, ended_at, messages_of, steps_of, text_and_value, usage_of

__all__ = ["read"]

_KEPT = ("metadata", "tags", "environment", "release", "version", "level")


def read(lines: Iterable[Line], options: Options) -> Iterator[Entry | BadLine]:
    """Return one episode for each trace; its session is the conversation, its user the subject.

    Nothing is returned before the last file was read: an observation may lie anywhere.
    """
    with Groups() as groups:
        for record in records(lines, lists=("data", "traces")):
            if isinstance(record, BadLine):
                yield record
                continue
            try:
                _sort(record, groups)
            except (BadLineError, RecursionError) as error:
                yield BadLine(record.file, record.number, str(error))
        for trace_id, parts in groups:
            try:
                yield _entry(trace_id, parts, options)
            except (BadLineError, RecursionError) as error:
                yield BadLine(parts[0].file, parts[0].number, str(error))


def _sort(record: Record, groups: Groups) -> None:
    """Put a record, and what is nested in it, to its trace."""
    row = record.value
    trace = row["trace"] if isinstance(row.get("trace"), Mapping) else row
    trace_id = at(row, "traceId") if trace is row else None
    if trace_id and "name" in row and _is_score(row):
        groups.add(_id(trace_id), "score", record, row)
    elif trace_id and (at(row, "startTime") or "type" in row):
        groups.add(_id(trace_id), "observation", record, row)
    elif _is_score(row):
        raise BadLineError("it scores a session, not a trace; only a trace's scores become outcomes")
    elif trace.get("id") and trace.get("timestamp") and not trace_id:
        own_id = _id(trace["id"])
        groups.add(own_id, "trace", record, {k: v for k, v in trace.items() if k not in {"observations", "scores"}})
        for kind, name in (("observation", "observations"), ("score", "scores")):
            for part in (row, trace) if row is not trace else (row,):
                listed = part.get(name)
                # Lists of traces name the ids only; the parts themselves come in exports of their own.
                for nested in listed if isinstance(listed, list) else []:
                    if isinstance(nested, dict):
                        groups.add(own_id, kind, record, nested)
    else:
        raise BadLineError("it is neither a trace (id, timestamp), nor an observation, nor a score (traceId)")


def _is_score(row: Mapping[str, Any]) -> bool:
    has_value = "value" in row or at(row, "stringValue") is not None
    return has_value and ("source" in row or at(row, "dataType") is not None)


def _id(value: object) -> str:
    if not (name := short(value)):
        raise BadLineError("the id of its trace is no text")
    return name


def _entry(trace_id: str, parts: list[Part], options: Options) -> Entry:
    trace = next((part.value for part in reversed(parts) if part.kind == "trace"), None)
    own = {str(part.value.get("id") or part.number): part.value for part in parts if part.kind == "observation"}
    observations = sorted(own.values(), key=lambda one: str(at(one, "startTime") or ""))
    if trace is None and not observations:
        raise BadLineError(f"it scores trace {trace_id!r}, which is in none of the files")
    root = trace if trace is not None else _root(observations)
    started_at = moment(root.get("timestamp") or at(root, "startTime"))
    heard = messages_of(root.get("input"))
    if not heard and (first := next((one for one in observations if one.get("input")), None)):
        heard = messages_of(first["input"])
    text, value = text_and_value(root.get("output"))
    steps, others = steps_of(observations)
    name = str(root.get("name") or "")
    item = {
        "id": trace_id,
        "conversation": short(at(root, "sessionId")) or trace_id,
        "subject": short(at(root, "userId")),
        "started_at": started_at,
        "ended_at": ended_at(started_at, root, observations),
        "input": heard if isinstance(heard, dict) else {"messages": heard},
        "output": {"text": text, **({} if value is None else {"value": value})},
        "workflow": name[:120],
        "steps": steps,
        "usage": _usage(root, observations),
        "attributes": {
            "imported_from": "langfuse",
            **{key: root[key] for key in _KEPT if root.get(key)},
            **({"spans": others} if others else {}),
        },
    }
    scores = [part.value for part in parts if part.kind == "score"] or flattened_scores(root if trace else {})
    return Entry(parts[0].file, parts[0].number, item, fingerprint(item), endings=tuple(endings_of(scores, options)))


def _root(observations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the observation that stands for a trace which has no row of its own: the first without a parent."""
    ids = {short(one.get("id")) for one in observations} - {""}
    return next((one for one in observations if short(at(one, "parentObservationId")) not in ids), observations[0])


def _usage(root: Mapping[str, Any], observations: list[dict[str, Any]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for one in observations:
        for name, count in usage_of(one).items():
            sums[name] = sums.get(name, 0) + count
    cost, seconds = number(at(root, "totalCost")), number(root.get("latency"))
    if cost is not None:
        sums["cost_usd"] = cost
    if seconds is not None and "timestamp" in root:
        sums["latency_ms"] = 1_000 * seconds
    return sums
