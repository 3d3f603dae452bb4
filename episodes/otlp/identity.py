"""Finds out whose run it was: conversation, subject, harness, arm, references, a blocked end. Pure.

Facts are looked for on the run's own span, then on its other spans in order, then in W3C baggage that was copied to
an attribute, then on the resources. A value that its field cannot take is kept aside with a note, never lost.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from episodes.otlp.dialects.reading import number, text
from episodes.otlp.plain import clean_text, plain
from episodes.otlp.trees import Node

__all__ = ["Identity", "identity_of"]

_CONVERSATION = (
    "whetstone.conversation", "session.id", "langfuse.session.id", "traceloop.association.properties.session_id",
    "traceloop.association.properties.conversation_id", "traceloop.association.properties.thread_id",
    "ai.telemetry.metadata.sessionId", "gen_ai.conversation.id",
)  # fmt: skip
_SUBJECT = (
    "whetstone.subject", "user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id",
    "ai.telemetry.metadata.userId",
)  # fmt: skip
_BAGGAGE = ("baggage", "http.request.header.baggage")
_REFERENCE = "whetstone.ref."
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_ARM = 10
_MAX_ID = 200
_MAX_REFERENCES = 50
_MAX_REASON = 300  # what an outcome keeps


@dataclass
class Identity:
    """What is known about a run beside its steps. `fields` are the item's own, `invalid` what they could not take."""

    conversation: str = ""
    subject: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    invalid: dict[str, Any] = field(default_factory=dict)
    references: dict[str, Any] = field(default_factory=dict)
    blocked: str | None = None


def identity_of(root: Node, nodes: Sequence[Node]) -> Identity:
    """Return the facts of a run."""
    layers = list(_layers(root, nodes))
    identity = Identity(_name(layers, _CONVERSATION), _name(layers, _SUBJECT))
    for name, (attribute, read) in _FIELDS.items():
        said = _said(layers, (attribute,))
        if said is None:
            continue
        value = read(said)
        if value is None:
            identity.invalid[attribute] = _shown(said)
        else:
            identity.fields[name] = value
    for layer in reversed(layers):
        for name, value in layer.items():
            if name.startswith(_REFERENCE) and text(value) and len(identity.references) < _MAX_REFERENCES:
                identity.references[name[len(_REFERENCE) :][:_MAX_ID]] = text(value)[:_MAX_ID]
    if text(_said(layers, ("whetstone.outcome",))).lower() == "blocked":
        reason = clean_text(text(_said(layers, ("whetstone.outcome.reason", "whetstone.blocked.reason"))))
        identity.blocked = reason if len(reason) <= _MAX_REASON else f"{reason[: _MAX_REASON - 1]}…"
    return identity


def _shown(value: Any) -> Any:
    """Return a value as it came, or the beginning of its text when it is no short one."""
    said = plain(value)
    return said if isinstance(said, bool | int | float) else str(said)[:_MAX_ID]


def _layers(root: Node, nodes: Sequence[Node]) -> Iterator[Mapping[str, Any]]:
    spans = [root.span, *(node.span for node in nodes if node is not root)]
    yield from (span.attributes for span in spans)
    for span in spans:
        for name in _BAGGAGE:
            if name in span.attributes:
                yield _baggage(span.attributes[name])
    resources = {id(span.resource): span.resource for span in spans}
    yield from resources.values()


def _baggage(header: Any) -> dict[str, str]:
    """Return the members of a W3C baggage header; properties after `;` are dropped."""
    line = ",".join(part for part in header if isinstance(part, str)) if isinstance(header, list) else text(header)
    pairs = (member.partition(";")[0].partition("=") for member in line.split(","))
    return {key.strip(): clean_text(unquote(value.strip())) for key, mark, value in pairs if mark and key.strip()}


def _said(layers: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    """Return the first value, by rank of name and then of layer; `None` when nobody says anything."""
    return next((layer[name] for name in names for layer in layers if layer.get(name) not in (None, "")), None)


def _name(layers: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return an id without edges and breaks; one too long keeps its head and the digest of the whole."""
    said = " ".join(clean_text(text(_said(layers, names))).split())
    return said if len(said) <= _MAX_ID else f"{said[:170].rstrip()}…{hashlib.sha256(said.encode()).hexdigest()[:24]}"


def _digest(value: Any) -> str | None:
    said = text(value).strip().lower().removeprefix("sha256:")
    return said if _DIGEST.fullmatch(said) else None


def _release(value: Any) -> str | None:
    try:
        return str(UUID(text(value).strip()))
    except ValueError:
        return None


def _arm(value: Any) -> str | None:
    said = text(value).strip()
    return said if said and len(said) <= _MAX_ARM else None


def _weight(value: Any) -> float | None:
    said = number(value)
    return said if said is not None and said <= 1 else None


_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "harness_digest": ("whetstone.harness.digest", _digest),
    "release": ("whetstone.release", _release),
    "arm": ("whetstone.arm", _arm),
    "weight": ("whetstone.weight", _weight),
}
