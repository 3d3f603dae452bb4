"""Say what a file of captured traces (OTLP JSON) or of episodes (JSON, a list, or a line each) lacks."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whetstone.attributes import CONVERSATION, HARNESS_DIGEST, SUBJECT

__all__ = ["Problem", "inspect_file"]

_EPISODE_FIELDS = frozenset(
    {
        "id", "conversation", "subject", "agent", "started_at", "ended_at", "input", "output", "workflow", "steps",
        "sources", "usage", "harness_digest", "release", "arm", "weight", "external_refs", "attributes",
    }
)  # fmt: skip
_WANTED_FIELDS = {
    "id": "Give each episode an id of your own: sending it twice is then harmless.",
    "conversation": "Name the conversation: how it ended belongs to it, not to one episode.",
    "subject": "Name the end user by an opaque id: releases are assigned by user.",
    "started_at": "Send the time in UTC (ISO 8601), or the time of arrival is taken.",
    "input": 'Send what the user said, e.g. {"messages": [{"role": "user", "content": "…"}]}.',
    "output": 'Send what the agent answered, e.g. {"text": "…"}.',
    "harness_digest": "Send harness.reference(): without it no release can be judged by this episode.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something missing or wrong, and what to do about it."""

    seen: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A fact spans should carry: any attribute whose name matches will do, on any span."""

    what: str
    names: re.Pattern[str]
    remedy: str


_WANTED_ATTRIBUTES = (
    _Wanted(
        f"{CONVERSATION} (or gen_ai.conversation.id)",
        re.compile(r"(session\.id|gen_ai\.conversation\.id|langfuse\.session\.id|traceloop\.association\.properties\.session_id)$"),
        f"Set {CONVERSATION} on the agent's span: without it every trace is a conversation of its own.",
    ),
    _Wanted(
        SUBJECT,
        re.compile(r"(user\.id|enduser\.id|langfuse\.user\.id|traceloop\.association\.properties\.user_id)$"),
        f"Set {SUBJECT} to an opaque id of the end user: releases are assigned by user.",
    ),
    _Wanted(
        HARNESS_DIGEST,
        re.compile(re.escape(HARNESS_DIGEST) + "$"),
        "Set harness.span_attributes() on the agent's span: without it no release can be judged by this trace.",
    ),
    _Wanted(
        "the model (gen_ai.request.model)",
        re.compile(r"(gen_ai\.(request|response)\.model|llm\.model_name|llm\.request\.model|embedding\.model_name|langfuse\.observation\.model\.name)$"),
        "Instrument the SDK that calls the model.",
    ),
    _Wanted(
        "the tokens (gen_ai.usage.input_tokens)",
        re.compile(r"(gen_ai\.usage\.|llm\.token_count\.|llm\.usage\.|langfuse\.observation\.usage_details)"),
        "Instrument the SDK that calls the model; for streams ask it to include usage.",
    ),
    _Wanted(
        "what was said (gen_ai.input.messages)",
        re.compile(
            r"(gen_ai\.(input|output)\.messages|gen_ai\.(prompt|completion)(\.|$)|gen_ai\.content|llm\.(input|output)_messages"
            r"|input\.value|output\.value|traceloop\.entity\.(input|output)|langfuse\.(observation|trace)\.(input|output)"
            r"|all_messages|pydantic_ai\.all_messages)"
        ),
        "Switch content capture on (OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only with "
        "OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental), or send the logs too.",
    ),
)  # fmt: skip


def inspect_file(path: Path) -> Iterator[Problem]:
    """Yield what is wrong; nothing for a file that lacks nothing."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        yield Problem(f"cannot be read as text ({error})", "Give a JSON file; protobuf is best checked by sending it.")
        return
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            yield Problem(f"is not JSON ({error})", "Give OTLP JSON, an episode, a list of them, or one a line.")
            return
    batches = value if isinstance(value, list) else [value]
    if not batches:
        yield Problem("is empty", "Give OTLP JSON, an episode, a list of them, or one a line.")
    elif all(isinstance(batch, dict) and ("resourceSpans" in batch or "resourceLogs" in batch) for batch in batches):
        yield from _otlp_problems(batches)
    elif any(isinstance(batch, dict) and "resource_spans" in batch for batch in batches):
        yield Problem("spells its names with underscores", "OTLP JSON has resourceSpans, traceId, startTimeUnixNano.")
    else:
        yield from _episode_problems(batches)


def _otlp_problems(batches: Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    records = [record for batch in batches for record in _records(batch)]
    if not records:
        yield Problem("holds no span and no log record", "Capture while the agent runs.")
        return
    for name, length in (("traceId", 32), ("spanId", 16)):
        wrong = [record for record in records if not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", record.get(name) or "")]
        if wrong:
            remedy = f"OTLP JSON writes {name} as {length} hexadecimal digits, not as base64 and not empty."
            yield Problem(f"{len(wrong)} of {len(records)} records have no proper {name}", remedy)
    names = {name for record in records for name in record["names"]}
    said_in_logs = any(record.get("body") for record in records)
    for wanted in _WANTED_ATTRIBUTES:
        is_said = said_in_logs and wanted is _WANTED_ATTRIBUTES[-1]
        if not is_said and not any(wanted.names.match(name) for name in names):
            yield Problem(f"no record has {wanted.what}", wanted.remedy)


def _records(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield spans and log records with `names`: their attributes', their events', and their resource's."""
    for resource_part, scope_part, part in (
        ("resourceSpans", "scopeSpans", "spans"),
        ("resourceLogs", "scopeLogs", "logRecords"),
    ):
        for resource in _objects(batch.get(resource_part)):
            shared = _names(resource.get("resource"))
            for scope in _objects(resource.get(scope_part)):
                for record in _objects(scope.get(part)):
                    events = {name for event in _objects(record.get("events")) for name in _names(event)}
                    yield dict(record) | {"names": shared | _names(record) | events}


def _names(holder: Any) -> set[str]:
    attributes = holder.get("attributes") if isinstance(holder, dict) else None
    return {str(attribute.get("key")) for attribute in _objects(attributes)}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _episode_problems(episodes: list[Any]) -> Iterator[Problem]:
    whole = [episode for episode in episodes if isinstance(episode, dict)]
    if len(whole) < len(episodes):
        yield Problem(f"{len(episodes) - len(whole)} of {len(episodes)} items are no objects", "Send objects.")
    for name, remedy in _WANTED_FIELDS.items():
        lacking = sum(not episode.get(name) for episode in whole)
        if lacking:
            yield Problem(f"{name!r} is missing in {lacking} of {len(whole)} episodes", remedy)
    unknown = sorted({str(name) for episode in whole for name in episode} - _EPISODE_FIELDS)
    if unknown:
        yield Problem(f"there is no field {', '.join(map(repr, unknown[:5]))}", "Put free facts under 'attributes'.")
