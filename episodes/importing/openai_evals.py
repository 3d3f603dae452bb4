"""Reads OpenAI Evals: output items of hosted runs, and the event logs of the open-source framework."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from episodes.importing import evals_logs
from episodes.importing.entries import (
    BadLine,
    BadLineError,
    Ending,
    Entry,
    Line,
    Note,
    Options,
    fingerprint,
    moment,
    number,
    outcome_name,
    reason_of,
    short,
)
from episodes.importing.framing import Record, records
from episodes.importing.openai_chat import document_of_chat, usage_of
from episodes.importing.transcripts import Transcript, read_transcript, words
from episodes.resolution import RESOLUTIONS

__all__ = ["read"]

# What people call the column with the user's words.
_ASKED = ("input", "question", "prompt", "query", "user_input", "message")
_UUID_TAIL = 36


def read(lines: Iterable[Line], options: Options) -> Iterator[Entry | BadLine | Note]:
    """Return one episode for each output item and for each sample of a log."""
    with evals_logs.Log() as log:
        for record in records(lines, lists=("data", "output_items")):
            if isinstance(record, BadLine):
                yield record
                continue
            try:
                if log.takes(record):
                    yield from log.add(record)
                else:
                    yield _entry(record, options)
            except (BadLineError, RecursionError) as error:
                yield BadLine(record.file, record.number, str(error))
        yield from log.entries(options)


def _entry(record: Record, options: Options) -> Entry:
    row = record.value
    asked = row.get("datasource_item")
    if not isinstance(asked, Mapping) and not isinstance(row.get("sample"), Mapping):
        raise BadLineError("it is neither an output item (no 'datasource_item', no 'sample') nor an event of a log")
    asked = asked if isinstance(asked, Mapping) else {}
    sample = row["sample"] if isinstance(row.get("sample"), Mapping) else {}
    model = str(sample.get("model") or "")
    transcript = _transcript(sample, asked, model)
    heard, answer = transcript.split()
    results = [result for result in _list(row.get("results")) if isinstance(result, Mapping)]
    name = fingerprint(row)
    own_id = short(row.get("id") or f"item-{name}")
    item = {
        "id": own_id,
        "conversation": own_id,
        "started_at": moment(row.get("created_at")),
        "input": {"messages": heard, "item": dict(asked)},
        "output": {"text": answer, "handoff": transcript.has_handed_off},
        "steps": transcript.steps + _failed(sample, model),
        "usage": usage_of(sample.get("usage")),
        "external_refs": {key: short(row[key]) for key in ("eval_id", "run_id", "datasource_item_id") if row.get(key)},
        "attributes": {
            "imported_from": "openai-evals",
            "status": row.get("status"),
            "results": results,
            **({"finish_reason": sample["finish_reason"]} if sample.get("finish_reason") else {}),
        },
    }
    document = document_of_chat(transcript, sample, model)
    domain = str(row.get("eval_id") or record.head.get("eval_id") or "")
    return Entry(record.file, record.number, item, name, domain, document, _endings(row, results, options))


def _transcript(sample: Mapping[str, Any], asked: Mapping[str, Any], model: str) -> Transcript:
    """Return what the sample says; where nothing was sampled, what the item itself asks and answers."""
    heard, said = _list(sample.get("input")) or _asked(asked), _list(sample.get("output"))
    if not said and words(sample.get("output_text")):
        said = [{"content": sample["output_text"]}]
    answers = [
        {"role": "assistant", **{k: v for k, v in m.items() if v is not None}} for m in said if isinstance(m, Mapping)
    ]
    return read_transcript([*heard, *answers], model=model, keeps_system=True)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _asked(asked: Mapping[str, Any]) -> list[Any]:
    for name in ("messages", *_ASKED):
        value = asked.get(name)
        if isinstance(value, list):
            return value
        if isinstance(value, str) and value.strip():
            return [{"role": "user", "content": value}]
    return []


def _failed(sample: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
    error = sample.get("error")
    if not error or (isinstance(error, Mapping) and not any(error.values())):
        return []
    text = str(error.get("message") or error.get("code")) if isinstance(error, Mapping) else str(error)
    return [{"kind": "model_call", "name": model[:200], "status": "error", "error": text[:2_000]}]


def _endings(row: Mapping[str, Any], results: list[Mapping[str, Any]], options: Options) -> tuple[Ending, ...]:
    """Return the graders' verdicts: together how it ended, each its score. A run that broke down says nothing."""
    source, at = options.outcome_source or "detector", moment(row.get("created_at"))
    verdicts = [result["passed"] for result in results if isinstance(result.get("passed"), bool)]
    status = {"pass": True, "passed": True, "fail": False, "failed": False}.get(str(row.get("status")).lower())
    if status is None and str(row.get("status")).lower() not in {"error", "errored"} and verdicts:
        status = all(verdicts)
    endings = []
    if status is not None:
        told = ", ".join(f"{_grader(r)} {'passed' if r['passed'] else 'failed'}" for r in results if "passed" in r)
        endings.append(Ending("resolved" if status else "failed", source, reason=reason_of(told), at=at))
    for result in results:
        score, name = number(result.get("score")), outcome_name(_grader(result))
        if score is not None and name and name not in RESOLUTIONS:
            endings.append(Ending(name, source, value=float(score), at=at))
    return tuple(endings)


def _grader(result: Mapping[str, Any]) -> str:
    """Return a grader's name without the id that the service appends to it."""
    name = str(result.get("name") or result.get("type") or "grader")
    head, tail = name[: -_UUID_TAIL - 1], name[-_UUID_TAIL:]
    return head if len(name) > _UUID_TAIL and tail.count("-") == 4 and name[-_UUID_TAIL - 1] == "-" else name
