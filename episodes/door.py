"""Reads one reported episode strictly: plain JSON, redacted, of the known shape, or a reason why not. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from episodes.content import digest_of_parts, parts_of
from harness.canonical import DocumentError, Json, clean_json
from harness.sensitive import json_may_hold, redact

__all__ = [
    "MAX_EPISODE_BYTES",
    "MAX_STEPS",
    "EpisodeItem",
    "PlainItems",
    "Read",
    "Refused",
    "StepItem",
    "read_item",
    "redacted",
]

MAX_EPISODE_BYTES = 2 * 1024 * 1024
MAX_STEPS = 2_000
# Ends a walk that leads nowhere; how much an episode may be is decided by what is stored of it, whoever came with it.
_MAX_WALKED = 16 * MAX_EPISODE_BYTES
_MAX_AHEAD = timedelta(days=1)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_PROBLEMS_NAMED = 3


@dataclass(frozen=True)
class Refused:
    """Why an item was not taken: a stable code and a sentence."""

    code: str
    reason: str
    id: str = ""


def _in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC; one without a zone is taken to be in UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    # Compared before it is converted: near the ends of the calendar a zone leads out of it.
    if not _EARLIEST <= moment <= datetime.now(UTC) + _MAX_AHEAD:
        message = f"{moment.isoformat()} is before 2000 or more than a day ahead; send the time in UTC (ISO 8601)"
        raise ValueError(message)
    return moment.astimezone(UTC)


def _nothing_for_null(value: Any) -> Any:
    return {} if value is None else value


def _text_for_null(value: Any) -> Any:
    return "" if value is None else value


def _object_around(value: Any) -> Any:
    """Return the value as an object: agents also report bare texts and lists as a step's input or output."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


type ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]
type Moment = Annotated[datetime, AfterValidator(_in_utc)]
type JsonObject = Annotated[dict[str, Any], BeforeValidator(_nothing_for_null)]
type Wrapped = Annotated[dict[str, Any], BeforeValidator(_object_around)]
type Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


type Name = Annotated[str, BeforeValidator(_text_for_null), StringConstraints(max_length=200)]
type Digest = Annotated[str, BeforeValidator(_text_for_null), StringConstraints(pattern=r"^([0-9a-f]{64})?$")]


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StepItem(_Item):
    """One act inside an episode."""

    kind: Literal["model_call", "tool_call", "retrieval", "handoff", "check"]
    name: Name = ""
    attempt: Annotated[int, Field(ge=1, le=32_000)] = 1
    input: Wrapped = {}
    output: Wrapped = {}
    status: Literal["ok", "error"] = "ok"
    error: Annotated[str, BeforeValidator(_text_for_null), StringConstraints(max_length=20_000)] = ""
    latency_ms: Finite | None = None


class EpisodeItem(_Item):
    """One episode as agents report it. `id` is the agent's own; unknown names belong under `attributes`."""

    id: ExternalId
    conversation: ExternalId | None = None
    subject: Name = ""
    agent: str | None = None
    started_at: Moment | None = None
    ended_at: Moment | None = None
    input: Wrapped = {}
    output: Wrapped = {}
    workflow: Annotated[Name, StringConstraints(max_length=120)] = ""
    steps: Annotated[list[StepItem], Field(max_length=MAX_STEPS)] = []
    sources: list[Any] = []
    usage: JsonObject = {}
    harness_digest: Digest = ""
    release: UUID | None = None
    arm: Annotated[Name, StringConstraints(max_length=10)] = ""
    weight: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    external_refs: JsonObject = {}
    attributes: JsonObject = {}


@dataclass(frozen=True)
class Read:
    """A readable item, the content that is kept of it, each part of that as canonical JSON, and the digest of them."""

    item: EpisodeItem
    content: dict[str, Any]
    parts: dict[str, bytes]
    digest: str


class PlainItems(list[Any]):
    """Items that the reader of the wire has seen to be clean JSON (`harness.canonical.plain_json`)."""


def read_item(
    raw: object, *, agent_slug: str, redacted_kinds: Collection[str], is_plain: bool = False
) -> Read | Refused:
    """Return the item behind the door, or the reason why it stays outside.

    Findings of `redacted_kinds` are cut before anything is kept, so the digest names the text that is stored. An item
    that `is_plain` is known to be clean JSON and is not walked over again.
    """
    named = _id_of(raw)
    if not isinstance(raw, dict):
        return Refused("invalid", f"An episode is a JSON object, not a {type(raw).__name__}.", named)
    try:
        clean = raw if is_plain else clean_json(raw, max_bytes=_MAX_WALKED)
        body = _redacted_item(clean, redacted_kinds) if isinstance(clean, dict) else clean
        item = EpisodeItem.model_validate(body)
    except DocumentError as error:
        return Refused(error.code, str(error), named)
    except ValidationError as error:
        return Refused("invalid", _sentence(error), named)
    if item.agent is not None and item.agent != agent_slug:
        return Refused("other_agent", f"This key reports for agent {agent_slug!r}, not for {item.agent!r}.", named)
    if item.started_at and item.ended_at and item.ended_at < item.started_at:
        return Refused("invalid", "/ended_at lies before /started_at. Send both in UTC.", named)
    content = _content(item)
    parts = parts_of(content)
    digest, size = digest_of_parts(parts)
    if size > MAX_EPISODE_BYTES:
        return Refused("too_large", f"The episode is larger than {MAX_EPISODE_BYTES:,} bytes. Send less in one.", named)
    return Read(item, content, parts, digest)


def _content(item: EpisodeItem) -> dict[str, Any]:
    """Return what an episode stores of the item."""
    return {
        "external_id": item.id, "conversation": item.conversation or item.id, "input": item.input, "output": item.output,
        "steps": [_stored_step(step) for step in item.steps], "workflow": item.workflow, "sources": item.sources,
        "usage": item.usage, "external_refs": item.external_refs, "attributes": item.attributes,
        "harness_digest": item.harness_digest, "release_ref": item.release, "arm": item.arm, "weight": item.weight,
        "started_at": item.started_at, "ended_at": item.ended_at,
    }  # fmt: skip


def _stored_step(step: StepItem) -> dict[str, Any]:
    """Return the step as it is stored: what is left out is `StepReading`'s default."""
    stored: dict[str, Any] = {"kind": step.kind}
    if step.name:
        stored["name"] = step.name
    if step.attempt != 1:
        stored["attempt"] = step.attempt
    if step.input:
        stored["input"] = step.input
    if step.output:
        stored["output"] = step.output
    if step.error or step.status != "ok":
        # A step that names its error has failed, whatever its status says.
        stored |= {"status": "error", "error": step.error}
    if step.latency_ms is not None:
        # Whole numbers are written as such: the one byte form of JSON knows no other, and making it is slower.
        stored["latency_ms"] = int(step.latency_ms) if step.latency_ms.is_integer() else step.latency_ms
    return stored


def _id_of(raw: object) -> str:
    """Return the item's id for the answer, made harmless: it may be the very thing that was refused."""
    named = raw.get("id") if isinstance(raw, dict) else None
    if not isinstance(named, str):
        return ""
    return named[:200].encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


# Ids and references are compared, never read: cutting them would make strangers one user.
_FREE_TEXT = frozenset({"input", "output", "steps", "sources", "attributes"})


def _redacted_item(body: dict[str, Json], kinds: Collection[str]) -> dict[str, Json]:
    if not may_need_cuts([body[name] for name in _FREE_TEXT & body.keys()], kinds):
        return body
    return {name: redacted(value, kinds) if name in _FREE_TEXT else value for name, value in body.items()}


def may_need_cuts(value: Any, kinds: Collection[str]) -> bool:
    """Tell quickly whether `redacted` could change the value; False is certain."""
    return json_may_hold(orjson.dumps(value), kinds)


def redacted(value: Any, kinds: Collection[str]) -> Any:
    """Return the value with findings cut from every text; names of members are left alone."""
    match value:
        case str():
            return redact(value, kinds)
        case list():
            return [redacted(part, kinds) for part in value]
        case dict():
            return {name: redacted(part, kinds) for name, part in value.items()}
        case _:
            return value


def _sentence(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    named = [
        "/" + "/".join(map(str, problem["loc"])) + ": " + _reason(problem) for problem in problems[:_MAX_PROBLEMS_NAMED]
    ]
    more = len(problems) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more else "") + "."


def _reason(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "no such field; put free facts under /attributes"
    return str(problem["msg"]).removeprefix("Value error, ")
