"""What of an episode its digest names: the content as it is stored, so that anyone can compute it again from the row."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.canonical import Json, JsonObject, canonical_bytes, sha256_hex

if TYPE_CHECKING:
    from episodes.models import Episode

__all__ = ["CONTENT", "as_json", "content_of", "digest_of_content", "has_its_digest"]

CONTENT = (
    "external_id", "conversation", "input", "output", "steps", "workflow", "sources", "usage", "external_refs",
    "attributes", "harness_digest", "release_ref", "arm", "weight", "started_at", "ended_at",
)  # fmt: skip


def digest_of_content(content: Mapping[str, Any]) -> tuple[str, int]:
    """Return the SHA-256 of the canonical form of `CONTENT`, and that form's size in bytes."""
    text = canonical_bytes(as_json(content))
    return sha256_hex(text), len(text)


def as_json(content: Mapping[str, Any]) -> JsonObject:
    """Return the content as plain JSON: times in UTC, ids as text."""
    return {name: _plain(content[name]) for name in CONTENT}


def content_of(episode: "Episode") -> dict[str, Any]:
    """Return a stored episode's content; its conversation must be loaded."""
    own = {name: getattr(episode, name) for name in CONTENT if name != "conversation"}
    return own | {"conversation": episode.conversation.external_id}


def has_its_digest(episode: "Episode") -> bool:
    """Tell whether a stored episode is what its digest names. A start that nobody reported is not part of it."""
    content = content_of(episode)
    return any(digest_of_content(content | missing)[0] == episode.body_digest for missing in ({}, {"started_at": None}))


def _plain(value: Any) -> Json:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if value is None or isinstance(value, str | int | float | list | dict):
        return value
    return str(value)
