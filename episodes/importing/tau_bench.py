"""Reads tau-bench trajectories: one run a line or a list of runs, the wiki as policy, the functions' schemas as tools."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from episodes.importing.entries import (
    BadLine,
    BadLineError,
    Ending,
    Entry,
    Line,
    Options,
    fingerprint,
    number,
    short,
    text_of,
)
from episodes.importing.framing import Record, records
from episodes.importing.harnesses import document_of, functions_of, json_beside
from episodes.importing.transcripts import Transcript, read_transcript

__all__ = ["endings_of", "read"]

# The trajectories carry no clock. The domain's policy says it is 2024-05-15; within that day each run has a fixed place.
_DAY = datetime(2024, 5, 15, tzinfo=UTC)
_NOT_THE_AGENT = frozenset({"rate_limit", "infra_provider"})
_DOMAINS = ("airline", "retail", "telecom")
_ROUNDING = 1e-6
_MAX_TRACEBACK = 20_000


def read(lines: Iterable[Line], options: Options) -> Iterator[Entry | BadLine]:
    """Return the recorded runs in `lines`."""
    for record in records(lines, lists=("results",)):
        if isinstance(record, BadLine):
            yield record
            continue
        try:
            yield _entry(record, options)
        except (BadLineError, RecursionError) as error:
            yield BadLine(record.file, record.number, str(error))


def _entry(record: Record, options: Options) -> Entry:
    row = _as_run(record) if "traj" in record.value else record.value
    name, domain, model = text_of(row, "id"), str(row.get("domain") or ""), str(row.get("agent_model") or "")
    if "traj" not in record.value:
        domain = text_of(row, "domain")
    transcript = _transcript(row, model)
    variant = str(row.get("variant") or "")
    started_at = _DAY + timedelta(seconds=int.from_bytes(hashlib.sha256(_bytes(name)).digest()[:4]) % 86_400)
    kept = ("trial", "reward", "termination", "crash_class", "injected_fault", "reward_checks")
    item = {
        "id": short(name),
        "conversation": short(name),
        "subject": short(row.get("user_id") or row.get("task_key")),
        "started_at": started_at.isoformat(),
        "input": {"messages": transcript.messages},
        "output": {"text": transcript.answer, "handoff": transcript.has_handed_off},
        "workflow": variant[:120],
        "steps": transcript.steps,
        "external_refs": {"task": short(row.get("task_key"))},
        "attributes": {
            "imported_from": str(row.get("source") or "tau-bench"),
            "clock": "assumed",
            **{key: row[key] for key in kept if row.get(key) is not None},
        },
    }
    document = _document(record.file, row, domain, model, variant, options)
    return Entry(
        record.file, record.number, item, fingerprint(record.value), domain, document, endings_of(row, options)
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _as_run(record: Record) -> dict[str, Any]:
    """Return a run as the benchmark itself writes it, with the domain that only the file's name tells."""
    row, file = record.value, PurePath(record.file)
    info = row["info"] if isinstance(row.get("info"), Mapping) else {}
    task = info["task"] if isinstance(info.get("task"), Mapping) else {}
    domain = next((name for name in _DOMAINS if name in file.name.lower()), "")
    key = f"{domain or 'task'}:{row.get('task_id')}"
    has_crashed = "traceback" in info or "error" in info
    return {
        "id": f"{file.name.split('.')[0]}:{key}:{row.get('trial')}:{fingerprint(row)[:8]}",
        "domain": domain,
        "task_key": key,
        "user_id": task.get("user_id"),
        "trial": row.get("trial"),
        "reward": row.get("reward"),
        "messages": row.get("traj"),
        "reward_checks": info.get("reward_info"),
        "termination": "harness_crash" if has_crashed else None,
        "crash_class": "crash" if has_crashed else None,
        "harness_error": info if has_crashed else None,
    }


def _transcript(row: Mapping[str, Any], model: str) -> Transcript:
    """Return the run's transcript; of a run that crashed before anything was written down, its traceback."""
    crash = row.get("harness_error")
    messages = row.get("messages")
    transcript = read_transcript([] if messages is None and crash else messages, model=model)
    if crash:
        told = crash if isinstance(crash, Mapping) else {"error": crash}
        text = str(told.get("traceback") or told.get("error") or "the run crashed")
        transcript.steps.append(
            {"kind": "model_call", "name": model[:200], "input": {}, "output": {"error": told.get("error")},
             "status": "error", "error": text[-_MAX_TRACEBACK:]}
        )  # fmt: skip
    return transcript


def endings_of(row: Mapping[str, Any], options: Options) -> tuple[Ending, ...]:
    """Return how the benchmark judged the run by its database; a provider's outage is no word on the agent.

    `success` is the benchmark's own reading of the reward; without it, only the full reward is a success.
    """
    crash, reward, success = row.get("crash_class"), number(row.get("reward")), row.get("success")
    if str(crash) in _NOT_THE_AGENT or (success is None and reward is None):
        return ()
    helped = bool(success) if success is not None else reward is not None and abs(reward - 1) <= _ROUNDING
    reason = f"crashed: {crash}" if crash else f"reward {reward:g}" if reward is not None else ""
    return (Ending("resolved" if helped else "failed", options.outcome_source or "customer", reason=reason[:300]),)


def _document(
    file: str, row: Mapping[str, Any], domain: str, model: str, variant: str, options: Options
) -> dict[str, Any]:
    reference = row.get("system_ref")
    policy = reference if isinstance(reference, str) and ".." not in reference else f"policies/{domain}_wiki.md"
    listed = json_beside(options.beside(file, f"tools/{domain}_tools.json"))
    return document_of(
        policy=options.beside(file, policy), tools=functions_of(listed), model=model, variant=variant or "recorded"
    )
