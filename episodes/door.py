"""Reads one reported episode strictly: plain JSON, redacted, of the known shape, or a reason why not. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Required, TypedDict
from uuid import UUID

import orjson
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, with_config

from episodes.content import JSON_PARTS, as_json
from harness.canonical import DocumentError, Json, canonical_bytes, clean_json, quick_canonical_bytes, sha256_hex
from harness.sensitive import json_may_hold, redact

__all__ = [
    "MAX_EPISODE_BYTES",
    "MAX_STEPS",
    "PlainItems",
    "Read",
    "Refused",
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


def _object_around(value: Any) -> dict[str, Any]:
    """Return the value as an object: agents also report bare texts and lists as a step's input or output."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


type ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]
type Moment = Annotated[datetime, AfterValidator(_in_utc)]
type Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]
type Name = Annotated[str, StringConstraints(max_length=200)]
type Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]


# Null says what leaving out says. As mappings, for reading them takes a third less time than reading into objects.
@with_config(ConfigDict(extra="forbid"))
class _Step(TypedDict, total=False):
    """One act inside an episode."""

    kind: Required[Literal["model_call", "tool_call", "retrieval", "handoff", "check"]]
    name: Name | None
    attempt: Annotated[int, Field(ge=1, le=32_000)]
    input: Any
    output: Any
    status: Literal["ok", "error"]
    error: Annotated[str, StringConstraints(max_length=20_000)] | None
    latency_ms: Finite | None


@with_config(ConfigDict(extra="forbid"))
class _Item(TypedDict, total=False):
    """One episode as agents report it. `id` is the agent's own; unknown names belong under `attributes`."""

    id: Required[ExternalId]
    conversation: ExternalId | None
    subject: Name | None
    agent: str | None
    started_at: Moment | None
    ended_at: Moment | None
    input: Any
    output: Any
    workflow: Annotated[str, StringConstraints(max_length=120)] | None
    steps: Annotated[list[_Step], Field(max_length=MAX_STEPS)]
    sources: list[Any]
    usage: dict[str, Any] | None
    harness_digest: Digest | None
    release: UUID | None
    arm: Annotated[str, StringConstraints(max_length=10)] | None
    weight: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None
    external_refs: dict[str, Any] | None
    attributes: dict[str, Any] | None


_ITEM = TypeAdapter(_Item)


@dataclass(frozen=True)
class Read:
    """A readable item: whose it is, the content that is kept of it, and the digest of that."""

    subject: str
    content: dict[str, Any]
    digest: str

    @property
    def id(self) -> str:
        return self.content["external_id"]  # type: ignore[no-any-return]  # a text

    @property
    def conversation(self) -> str:
        """The conversation's external id; an episode that names none is a conversation of its own."""
        return self.content["conversation"]  # type: ignore[no-any-return]  # a text

    @property
    def began_at(self) -> datetime | None:
        """When it began or, where that was not reported, when it ended."""
        return self.content["started_at"] or self.content["ended_at"]  # type: ignore[no-any-return]  # moments


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
        item = _ITEM.validate_python(body)
        content = _content(item)
        text = _canonical_form(content)
    except DocumentError as error:
        return Refused(error.code, str(error), named)
    except ValidationError as error:
        return Refused("invalid", _sentence(error), named)
    if item.get("agent") not in (None, agent_slug):
        return Refused("other_agent", f"This key reports for agent {agent_slug!r}, not for {item['agent']!r}.", named)
    if content["started_at"] and content["ended_at"] and content["ended_at"] < content["started_at"]:
        return Refused("invalid", "/ended_at lies before /started_at. Send both in UTC.", named)
    if len(text) > MAX_EPISODE_BYTES:
        return Refused("too_large", f"The episode is larger than {MAX_EPISODE_BYTES:,} bytes. Send less in one.", named)
    return Read(item.get("subject") or "", content, sha256_hex(text))


def _canonical_form(content: dict[str, Any]) -> bytes:
    """Return what the digest names, and let the content be kept as it stands there: 1.0 as 1."""
    text = quick_canonical_bytes(as_json(content))
    if text is None:
        content |= {name: clean_json(content[name], max_bytes=_MAX_WALKED) for name in JSON_PARTS}
        text = canonical_bytes(as_json(content))
    return text


def _content(item: _Item) -> dict[str, Any]:
    """Return what an episode stores of the item."""
    get = item.get
    return {
        "external_id": item["id"], "conversation": get("conversation") or item["id"],
        "input": _object_around(get("input")), "output": _object_around(get("output")),
        "steps": [_stored_step(step) for step in item.get("steps", ())], "workflow": get("workflow") or "",
        "sources": get("sources", []), "usage": get("usage") or {}, "external_refs": get("external_refs") or {},
        "attributes": get("attributes") or {}, "harness_digest": get("harness_digest") or "",
        "release_ref": get("release"), "arm": get("arm") or "", "weight": get("weight"),
        "started_at": get("started_at"), "ended_at": get("ended_at"),
    }  # fmt: skip


def _stored_step(step: _Step) -> dict[str, Any]:
    """Return the step as it is stored: what is left out is `StepReading`'s default."""
    stored: dict[str, Any] = {"kind": step["kind"]}
    if name := step.get("name"):
        stored["name"] = name
    if (attempt := step.get("attempt", 1)) != 1:
        stored["attempt"] = attempt
    for part in ("input", "output"):
        if value := _object_around(step.get(part)):
            stored[part] = value
    error = step.get("error") or ""
    if error or step.get("status", "ok") != "ok":
        # A step that names its error has failed, whatever its status says.
        stored |= {"status": "error", "error": error}
    if (latency_ms := step.get("latency_ms")) is not None:
        # Whole numbers are written as such: the one byte form of JSON knows no other, and making it is slower.
        stored["latency_ms"] = int(latency_ms) if latency_ms.is_integer() else latency_ms
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
