"""What of an episode its digest names: the content as it is stored, so that anyone can compute it again from the row."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.canonical import Json, JsonObject, canonical_each, sha256_hex

__all__ = ["CONTENT", "as_json", "digest_of_content", "digest_of_parts", "names_content", "parts_of"]

CONTENT = (
    "external_id", "conversation", "input", "output", "steps", "workflow", "sources", "usage", "external_refs",
    "attributes", "harness_digest", "release_ref", "arm", "weight", "started_at", "ended_at",
)  # fmt: skip
# As RFC 8785 orders names, each with what comes before its value.
_IN_ORDER = [(name, f'{"," if place else "{"}"{name}":'.encode()) for place, name in enumerate(sorted(CONTENT))]
_JSON_TYPES = frozenset({str, int, float, bool, list, dict, type(None)})


def digest_of_content(content: Mapping[str, Any]) -> tuple[str, int]:
    """Return the SHA-256 of the canonical form of `CONTENT`, and that form's size in bytes."""
    return digest_of_parts(parts_of(content))


def parts_of(content: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the canonical form of each part of the content."""
    return canonical_each(as_json(content))


def digest_of_parts(parts: Mapping[str, bytes]) -> tuple[str, int]:
    """Return what `digest_of_content` returns, of parts that have their canonical form already."""
    text = b"".join([piece for name, head in _IN_ORDER for piece in (head, parts[name])]) + b"}"
    return sha256_hex(text), len(text)


def as_json(content: Mapping[str, Any]) -> JsonObject:
    """Return the content as plain JSON: times in UTC, ids as text."""
    return {name: _plain(content[name]) for name in CONTENT}


def names_content(digest: str, content: Mapping[str, Any]) -> bool:
    """Tell whether stored content is what the digest names. A start that nobody reported is not part of it."""
    return any(digest_of_content({**content, **missing})[0] == digest for missing in ({}, {"started_at": None}))


def _plain(value: Any) -> Json:
    if type(value) in _JSON_TYPES:
        return value  # type: ignore[no-any-return]  # one of them
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else str(value)
