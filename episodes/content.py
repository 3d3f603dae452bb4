"""What of an episode its digest names: the content as it is stored, so that anyone can compute it again from the row."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.canonical import JsonObject, canonical_bytes, sha256_hex

__all__ = ["CONTENT", "JSON_PARTS", "as_json", "digest_of_content", "names_content"]

CONTENT = (
    "external_id", "conversation", "input", "output", "steps", "workflow", "sources", "usage", "external_refs",
    "attributes", "harness_digest", "release_ref", "arm", "weight", "started_at", "ended_at",
)  # fmt: skip

JSON_PARTS = frozenset({"input", "output", "steps", "sources", "usage", "external_refs", "attributes"})


def digest_of_content(content: Mapping[str, Any]) -> tuple[str, int]:
    """Return the SHA-256 of the canonical form of `CONTENT`, and that form's size in bytes."""
    text = canonical_bytes(as_json(content))
    return sha256_hex(text), len(text)


def as_json(content: Mapping[str, Any]) -> JsonObject:
    """Return the content as plain JSON: times in UTC, ids as text."""
    plain = {name: content[name] for name in CONTENT}
    for name in ("started_at", "ended_at"):
        plain[name] = _in_utc(plain[name])
    weight = plain["weight"]
    plain["weight"] = int(weight) if isinstance(weight, float) and weight.is_integer() else weight
    for name in ("conversation", "release_ref"):
        plain[name] = None if plain[name] is None else str(plain[name])
    return plain


def names_content(digest: str, content: Mapping[str, Any]) -> bool:
    """Tell whether stored content is what the digest names. A start that nobody reported is not part of it."""
    return any(digest_of_content({**content, **missing})[0] == digest for missing in ({}, {"started_at": None}))


def _in_utc(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
