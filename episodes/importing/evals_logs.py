"""Reads the event logs of the open-source evals framework: a spec, events by sample, a final report."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Self

from episodes.importing.entries import (
    BadLine,
    BadLineError,
    Ending,
    Entry,
    Note,
    Options,
    fingerprint,
    moment,
    number,
    outcome_name,
    short,
)
from episodes.importing.framing import Record
from episodes.importing.grouping import Groups, Part
from episodes.importing.harnesses import document_of
from episodes.importing.transcripts import Transcript, read_transcript, words
from episodes.resolution import RESOLUTIONS

__all__ = ["Log"]

_MAX_NOTE = 500


class Log:
    """The events of any number of logs, gathered by sample. Use it as a context."""

    def __enter__(self) -> Self:
        self._groups = Groups().__enter__()
        self._specs: dict[str, Mapping[str, Any]] = {}
        return self

    def __exit__(self, *args: object) -> None:
        self._groups.__exit__(*args)

    def takes(self, record: Record) -> bool:
        """Tell whether a record is a line of such a log."""
        row = record.value
        return "spec" in row or "final_report" in row or ("type" in row and "sample_id" in row)

    def add(self, record: Record) -> Iterator[Note]:
        """Take a line in; raise `BadLineError` for an event that belongs to no sample."""
        row = record.value
        if isinstance(row.get("spec"), Mapping):
            self._specs[str(row["spec"].get("run_id"))] = row["spec"]
            return
        if "final_report" in row:
            yield Note(record.file, f"final report: {json.dumps(row['final_report'])[:_MAX_NOTE]}")
            return
        if not isinstance(row.get("data"), Mapping):
            raise BadLineError("the event has no 'data'")
        if row.get("sample_id") is None:
            raise BadLineError("the event belongs to no sample")
        self._groups.add(f"{row.get('run_id')}:{row['sample_id']}", str(row.get("type")), record, row)

    def entries(self, options: Options) -> Iterator[Entry | BadLine]:
        """Return an episode for each sample."""
        for key, parts in self._groups:
            try:
                yield self._entry(key, parts, options)
            except (BadLineError, RecursionError) as error:
                yield BadLine(parts[0].file, parts[0].number, str(error))

    def _entry(self, key: str, parts: list[Part], options: Options) -> Entry:
        spec = self._specs.get(str(parts[0].value.get("run_id")), {})
        model = _model(spec)
        asked = [part.value["data"] for part in parts if part.kind == "sampling"]
        if not asked and not any(part.kind == "match" for part in parts):
            raise BadLineError(f"sample {key!r} has neither a sampling nor a match event")
        # A model that grades records its own samplings after the first.
        graded_from = 1 if "modelgraded" in json.dumps(spec.get("run_config")) else len(asked)
        transcript = _transcript(asked[:graded_from], parts, model)
        heard, answer = transcript.split()
        started_at = moment(parts[0].value.get("created_at"))
        checks = [
            {"kind": "check", "name": "model grader", "input": {"prompt": one.get("prompt")}, "output": {"text": _said(one)}}
            for one in asked[graded_from:]
        ]  # fmt: skip
        item = {
            "id": short(key),
            "conversation": short(key),
            "started_at": started_at,
            "ended_at": moment(parts[-1].value.get("created_at")),
            "input": {"messages": heard},
            "output": {"text": answer},
            "steps": transcript.steps + checks + _errors(parts, model),
            "external_refs": {"run": short(spec.get("run_id")), "eval": short(spec.get("eval_name"))},
            "attributes": {
                "imported_from": "openai-evals",
                "events": [{"type": p.kind, "data": p.value["data"]} for p in parts if p.kind != "sampling"],
            },
        }
        document = document_of(policy=transcript.system, tools={}, model=model)
        return Entry(
            parts[0].file, parts[0].number, item, fingerprint([part.value for part in parts]),
            str(spec.get("eval_name") or ""), document, _endings(parts, options),
        )  # fmt: skip


def _model(spec: Mapping[str, Any]) -> str:
    functions = spec.get("completion_fns")
    return str(functions[0]) if isinstance(functions, list) and functions else str(spec.get("model_name") or "")


def _transcript(samplings: list[Mapping[str, Any]], parts: list[Part], model: str) -> Transcript:
    """Return the dialogue: the last prompt holds what was said before, and every sampling is a call of the model."""
    prompt = samplings[-1].get("prompt") if samplings else _of_match(parts, "prompt")
    heard = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}] if words(prompt) else []
    transcript = read_transcript(heard, model=model, keeps_system=True)
    transcript.steps.clear()  # what a prompt recounts was not done in this run
    said = [_said(one) for one in samplings] or [
        words(_of_match(parts, "sampled")) or words(_of_match(parts, "picked"))
    ]
    for text in said:
        transcript.steps.append({"kind": "model_call", "name": transcript.model, "output": {"text": text}})
    if said[-1]:
        transcript.messages.append({"role": "assistant", "content": said[-1]})
    return transcript


def _said(sampling: Mapping[str, Any]) -> str:
    return words(sampling.get("sampled"))


def _of_match(parts: list[Part], name: str) -> object:
    return next((part.value["data"].get(name) for part in parts if part.kind == "match"), None)


def _errors(parts: list[Part], model: str) -> list[dict[str, Any]]:
    return [
        {"kind": "model_call", "name": model[:200], "status": "error",
         "error": str(part.value["data"].get("message") or part.value["data"].get("type") or "error")[:2_000]}
        for part in parts if part.kind == "error"
    ]  # fmt: skip


def _endings(parts: list[Part], options: Options) -> tuple[Ending, ...]:
    source, at = options.outcome_source or "detector", moment(parts[-1].value.get("created_at"))
    matches = [
        p.value["data"]["correct"]
        for p in parts
        if p.kind == "match" and isinstance(p.value["data"].get("correct"), bool)
    ]
    endings = []
    if matches:
        reason = f"{sum(matches)} of {len(matches)} matched"
        endings.append(Ending("resolved" if all(matches) else "failed", source, reason=reason, at=at))
    for part in parts:
        for name, value in part.value["data"].items() if part.kind == "metrics" else ():
            score, named = number(value), outcome_name(name)
            if score is not None and named and named not in RESOLUTIONS:
                endings.append(Ending(named, source, value=float(score), at=at))
    return tuple(endings)
