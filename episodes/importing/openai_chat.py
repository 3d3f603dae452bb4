"""Reads chats in OpenAI's forms: fine-tuning lines, stored completions, requests with their responses, batch results."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from episodes.importing.entries import (
    BadLine,
    BadLineError,
    Ending,
    Entry,
    Line,
    Options,
    fingerprint,
    moment,
    number,
    outcome_name,
    short,
)
from episodes.importing.framing import Record, records
from episodes.importing.harnesses import document_of, functions_of
from episodes.importing.transcripts import Transcript, read_transcript, words
from episodes.resolution import RESOLUTIONS

__all__ = ["document_of_chat", "read", "usage_of"]

_IDS = ("conversation_id", "conversation", "session_id", "thread_id")
_SUBJECTS = ("user_id", "customer_id", "subject", "user")
_TIMES = ("created_at", "timestamp", "time")
_PARAMETERS = ("temperature", "top_p", "seed", "max_tokens", "max_completion_tokens", "reasoning_effort")
_OK = range(200, 300)


def read(lines: Iterable[Line], options: Options) -> Iterator[Entry | BadLine]:
    """Return the chats in `lines`: one episode for each, the last answer as its output."""
    for record in records(lines):
        if isinstance(record, BadLine):
            yield record
            continue
        try:
            yield _entry(record, options)
        except (BadLineError, RecursionError) as error:
            yield BadLine(record.file, record.number, str(error))


def _entry(record: Record, options: Options) -> Entry:
    row = record.value
    request, response = _request(row), _response(row)
    model = str(response.get("model") or request.get("model") or row.get("model") or "")
    transcript = _transcript(row, request, response, model)
    failure = _failure(row)
    if not transcript.messages and not transcript.steps and not failure:
        raise BadLineError("it has no messages and no answer")
    if failure:
        transcript.steps.append({"kind": "model_call", "name": model[:200], "status": "error", "error": failure})
    told = _metadata(row, request, response)
    name = fingerprint(row)
    own_id = short(row.get("id") or row.get("custom_id") or response.get("id") or told.get("id") or f"chat-{name}")
    heard, answer = transcript.split()
    item = {
        "id": own_id,
        "conversation": short(_first(told, _IDS)) or own_id,
        "subject": short(request.get("user") or row.get("input_user") or _first(told, _SUBJECTS)),
        "started_at": moment(response.get("created") or row.get("created") or _first(told, _TIMES)),
        "input": {"messages": heard},
        "output": {"text": answer, "handoff": transcript.has_handed_off},
        "steps": transcript.steps,
        "usage": usage_of(response.get("usage") or row.get("usage")),
        "attributes": {"imported_from": "openai-chat", **({"metadata": told} if told else {})},
    }
    document = document_of_chat(transcript, {**row, **request}, model)
    return Entry(record.file, record.number, item, name, "", document, _endings(told, options))


def _request(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what was sent: the part that says so, the body of a batch line, or the row itself."""
    for name in ("request", "body"):
        if isinstance(part := row.get(name), Mapping):
            return part["body"] if isinstance(part.get("body"), Mapping) else part
    return row


def _response(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what came back: the part that says so, the body of a batch result, or the row itself."""
    part = row.get("response")
    if isinstance(part, Mapping):
        return part["body"] if isinstance(part.get("body"), Mapping) else part
    return row if "choices" in row else {}


def _transcript(
    row: Mapping[str, Any], request: Mapping[str, Any], response: Mapping[str, Any], model: str
) -> Transcript:
    sent = next((part["messages"] for part in (request, row) if "messages" in part), None)
    answers = _answers(response)
    if sent is None and not answers and "response" not in row:
        raise BadLineError("it has neither 'messages', nor 'request' and 'response', nor 'choices'")
    if sent is not None and not isinstance(sent, list):
        raise BadLineError("'messages' is no list")
    return read_transcript([*(sent or []), *answers], model=model, keeps_system=True)


def _answers(response: Mapping[str, Any]) -> list[Any]:
    """Return the message of the first choice; further choices were never said to anyone."""
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    if isinstance(message, Mapping):
        return [{"role": "assistant", **{key: value for key, value in message.items() if value is not None}}]
    text = words(first.get("text")) if isinstance(first, Mapping) else ""
    return [{"role": "assistant", "content": text}] if text else []


def _failure(row: Mapping[str, Any]) -> str:
    """Return why a batch request got no answer; empty when it got one."""
    part = row.get("response")
    status = number(part.get("status_code")) if isinstance(part, Mapping) else None
    told = row.get("error") or (part.get("error") if isinstance(part, Mapping) else None)
    if status is not None and int(status) not in _OK and not told:
        body = part.get("body") if isinstance(part, Mapping) else None
        told = (body.get("error") if isinstance(body, Mapping) else None) or f"status {status:g}"
    if not told:
        return ""
    return str(told.get("message") or told if isinstance(told, Mapping) else told)[:2_000]


def _metadata(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that the parts say in `metadata`; the first word counts."""
    told: dict[str, Any] = {}
    for part in reversed(parts):
        if isinstance(part.get("metadata"), Mapping):
            told |= part["metadata"]
    return told


def _first(told: Mapping[str, Any], names: Iterable[str]) -> object:
    return next((told[name] for name in names if told.get(name)), None)


def usage_of(usage: object) -> dict[str, float]:
    """Return token counts under our names."""
    counts = usage if isinstance(usage, Mapping) else {}
    named = {
        "input_tokens": number(counts.get("prompt_tokens", counts.get("input_tokens"))),
        "output_tokens": number(counts.get("completion_tokens", counts.get("output_tokens"))),
    }
    return {name: count for name, count in named.items() if count is not None}


def document_of_chat(transcript: Transcript, sent: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Return the harness a chat tells of: what the model was told, the tools it was given, its parameters."""
    parameters = {name: sent[name] for name in _PARAMETERS if sent.get(name) is not None}
    tools = functions_of(sent.get("tools")) or functions_of(sent.get("functions"))
    return document_of(policy=transcript.system, tools=tools, model=model, parameters=parameters)


def _endings(told: Mapping[str, Any], options: Options) -> tuple[Ending, ...]:
    """Return the end that the metadata names; the agent's own program wrote it there."""
    said = told.get("outcome")
    name = outcome_name(options.outcomes.get(str(said), str(said))) if said else ""
    return (Ending(name, options.outcome_source or "agent"),) if name in RESOLUTIONS else ()
