"""The document that steers an agent: its shape, its JSON Schema, its validation, and a user's overlay on it.

A missing layer means an empty one, names the models do not know are kept inside a layer and refused beside the layers.
Validation never rewrites a document: what was sent is what is stored.
"""

import datetime as dt
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import jsonschema
import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from harness.canonical import DocumentError, Json, JsonObject, clean_json, digest_of, pointer

__all__ = [
    "LAYERS",
    "MAX_OVERLAY_BYTES",
    "Document",
    "Layer",
    "document_schema",
    "overlay_document",
    "resolved_digest",
    "validate_document",
    "validate_overlay",
]

type Layer = Literal["prompt", "tools", "workflow", "context", "memory", "guardrails", "evals", "model"]

LAYERS: tuple[Layer, ...] = get_args(Layer.__value__)
MAX_OVERLAY_BYTES = 64 * 1024
MAX_PATTERN_LENGTH = 200
_MAX_PROBLEMS_NAMED = 5


def _iso_date(text: str) -> str:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not an ISO 8601 date such as 2027-01-31"
        raise ValueError(message) from error
    return text


type ItemId = Annotated[
    str,
    StringConstraints(pattern=r"^[^\s/~]{1,120}$"),
    Field(description="Stable name of an item; no spaces, '/' or '~', so that patches and overlays can address it."),
]
type IsoDate = Annotated[str, AfterValidator(_iso_date)]
type Position = int | float


class _Part(BaseModel):
    """A piece of a layer: known members are checked without coercion, unknown ones kept."""

    model_config = ConfigDict(extra="allow", strict=True)


class Rule(_Part):
    """One instruction; rules are read in the order of `position`."""

    text: str
    position: Position = 0


class Example(_Part):
    """One worked example shown to the model."""

    position: Position = 0


class Prompt(_Part):
    """What the model is told. `preferences` is the part a user's overlay may write."""

    system: str = ""
    rules: dict[ItemId, Rule] = {}
    examples: dict[ItemId, Example] = {}
    preferences: dict[ItemId, Any] = {}


class Tool(_Part):
    """A tool the model may call. `parameters` is a JSON Schema (Draft 2020-12); `code` comes with its `tests`."""

    description: str = ""
    parameters: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    enabled: bool = True
    code: str | None = None
    tests: str | None = None


class Node(_Part):
    """One step of the workflow: who acts, with which tools, and what may come next."""

    role: str = ""
    prompt: str = ""
    tools: list[str] = []
    next: list[str] = []
    parallel: Any = None


class Workflow(_Part):
    """How the agent proceeds: settings, nodes, routes between them."""

    settings: dict[str, Any] = {}
    nodes: dict[ItemId, Node] = {}
    routes: dict[ItemId, Any] = {}


class KnowledgeDocument(_Part):
    """A text the agent may retrieve and answer with."""

    title: str = ""
    text: str
    tags: list[str] = []
    source: str | None = None
    owner: str | None = None
    valid_until: IsoDate | None = None


class Context(_Part):
    """What the agent can look up, and how it looks."""

    documents: dict[ItemId, KnowledgeDocument] = {}
    retrieval: dict[str, Any] = {}


class Memory(_Part):
    """What the agent remembers. `user` is the part a user's overlay may write."""

    rules: dict[ItemId, Any] = {}
    user: dict[ItemId, Any] = {}


class GuardrailRule(_Part):
    """When something is said or done, what must happen."""

    when: str
    then: str


class Guardrails(_Part):
    """What the agent must never do, and what it must hand to a person. No machine writes here."""

    rules: dict[ItemId, GuardrailRule] = {}


class Checks(_Part):
    """Checks the agent runs on itself; the exam it is judged by lives in its policy."""

    checks: dict[ItemId, Any] = {}


class Model(_Part):
    """Which model answers, with which parameters."""

    name: str | None = None
    parameters: dict[str, Any] = {}


class Document(BaseModel):
    """Everything that steers an agent outside the model's weights, in eight layers."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    prompt: Prompt = Prompt()
    tools: dict[ItemId, Tool] = {}
    workflow: Workflow = Workflow()
    context: Context = Context()
    memory: Memory = Memory()
    guardrails: Guardrails = Guardrails()
    evals: Checks = Checks()
    model: Model = Model()


def document_schema() -> dict[str, Any]:
    """Return the published JSON Schema (Draft 2020-12) of the document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}


def validate_document(value: object) -> JsonObject:
    """Return a clean copy of a valid document, or raise `DocumentError` naming what is wrong and where.

    Nothing is added or dropped, so the digest is that of what was sent.
    """
    document = clean_json(value)
    if not isinstance(document, dict):
        message = f"A document is a JSON object of layers, not a {type(document).__name__}. Send {{}} for an empty one."
        raise DocumentError("invalid_document", message)
    try:
        Document.model_validate(document)
    except pydantic.ValidationError as error:
        raise _invalid(error) from error
    for name, tool in _members(document.get("tools")):
        parameters = dict(_members(tool)).get("parameters")
        if isinstance(parameters, dict):
            _check_parameters(parameters, ("tools", name, "parameters"))
    return document


def validate_overlay(value: object) -> JsonObject:
    """Return a clean copy of a user's overlay, which may write only `memory.user.*` and `prompt.preferences.*`."""
    overlay = clean_json(value, max_bytes=MAX_OVERLAY_BYTES)
    if not isinstance(overlay, dict):
        raise _outside_overlay("")
    for layer, content in overlay.items():
        space = _OVERLAY_SPACES.get(layer)
        if space is None or not isinstance(content, dict):
            raise _outside_overlay(pointer([layer]))
        for name, items in content.items():
            if name != space or not isinstance(items, dict):
                raise _outside_overlay(pointer([layer, name]))
    try:
        Document.model_validate(overlay)
    except pydantic.ValidationError as error:
        raise _invalid(error) from error
    return overlay


def overlay_document(document: JsonObject, overlay: JsonObject) -> JsonObject:
    """Return the document one user gets: each item of a valid overlay stands over the released item of that name.

    Neither argument is changed. An empty overlay returns the same document, hence the same digest.
    """
    resolved = dict(document)
    for layer, space in _OVERLAY_SPACES.items():
        items = dict(_members(dict(_members(overlay.get(layer))).get(space)))
        if items:
            released = dict(_members(resolved.get(layer)))
            resolved[layer] = {**released, space: {**dict(_members(released.get(space))), **items}}
    return resolved


def resolved_digest(document: JsonObject, overlay: JsonObject) -> str:
    """Return the digest of version and overlay together; without an overlay it is the version's own."""
    return digest_of(overlay_document(document, overlay))


_OVERLAY_SPACES = {"memory": "user", "prompt": "preferences"}
_SCHEMA = jsonschema.Draft202012Validator


def _members(value: Json) -> Iterator[tuple[str, Json]]:
    return iter(value.items()) if isinstance(value, dict) else iter(())


def _outside_overlay(path: str) -> DocumentError:
    sentence = (
        f"A user's overlay may not write {path or '/'}: it holds objects under memory.user and prompt.preferences. "
        "Propose the rest as a change of the harness."
    )
    return DocumentError("outside_overlay", sentence, path)


def _invalid(error: pydantic.ValidationError) -> DocumentError:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    paths = [pointer(str(part) for part in problem["loc"] if part != "[key]") for problem in problems]
    named = [
        f"{path or '/'}: {_reason(problem)}"
        for path, problem in zip(paths[:_MAX_PROBLEMS_NAMED], problems, strict=False)
    ]
    more = len(problems) - len(named)
    sentence = "The document is not valid. " + "; ".join(named) + (f"; and {more} more" if more else "") + "."
    return DocumentError("invalid_document", sentence, paths[0])


def _reason(problem: Any) -> str:
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        return f"not a layer; the layers are {', '.join(LAYERS)}"
    if "[key]" in problem["loc"]:
        return "a name has 1 to 120 characters without spaces, '/' and '~'"
    return str(problem["msg"])


def _check_parameters(schema: JsonObject, path: tuple[str, ...]) -> None:
    """Refuse a tool's parameters that are no JSON Schema, fetch anything remote, or carry an unusable pattern."""
    # Patterns first: the meta-schema's own check of them lets an OverflowError through.
    _check_keywords(schema, path)
    try:
        _SCHEMA.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = pointer([*path, *(str(part) for part in error.absolute_path)])
        sentence = f"{where} is not valid JSON Schema (Draft 2020-12): {error.message[:300]}. Correct the schema."
        raise DocumentError("invalid_tool_schema", sentence, where) from error


def _check_keywords(schema: Json, path: tuple[str, ...]) -> None:
    # Walks every object, also those under "enum" or "properties": a property that is itself named "pattern" holds
    # a schema, not text, and is therefore passed over.
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            _check_keywords(item, (*path, str(index)))
    if not isinstance(schema, dict):
        return
    for name, item in schema.items():
        here = (*path, name)
        if name in {"$ref", "$dynamicRef"} and isinstance(item, str) and not item.startswith("#"):
            sentence = f"{pointer(here)} refers to {item!r}, outside this schema. Copy the definition under $defs."
            raise DocumentError("remote_reference", sentence, pointer(here))
        if name == "pattern" and isinstance(item, str):
            _check_pattern(item, here)
        if name == "patternProperties" and isinstance(item, dict):
            for pattern in item:
                _check_pattern(pattern, here)
        _check_keywords(item, here)


def _check_pattern(pattern: str, path: tuple[str, ...]) -> None:
    if len(pattern) > MAX_PATTERN_LENGTH:
        sentence = (
            f"{pointer(path)} is {len(pattern)} characters long; at most {MAX_PATTERN_LENGTH} are allowed. Shorten it."
        )
        raise DocumentError("invalid_pattern", sentence, pointer(path))
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        sentence = f"{pointer(path)} is not a regular expression Python can read: {error}. Correct {pattern!r}."
        raise DocumentError("invalid_pattern", sentence, pointer(path)) from error
