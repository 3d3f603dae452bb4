"""The harness of last resort: the last known good one on disk, and the one packaged with the agent."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whetstone.canonical import digest_of
from whetstone.frozen import freeze
from whetstone.harness import Served

__all__ = ["Kept", "packaged", "read", "write"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A harness and when the platform last confirmed it (Unix time; None: never)."""

    served: Served
    confirmed_at: float | None


def write(path: Path, kept: Kept) -> bool:
    """Save the harness whole or not at all; return whether it was. A full disk costs the fallback, not the turn."""
    facts = {name: getattr(kept.served, name) for name in Served.__dataclass_fields__}
    payload = json.dumps({"confirmed_at": kept.confirmed_at, "served": facts})
    checked = {"sha256": hashlib.sha256(payload.encode()).hexdigest(), "payload": payload}
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8"
        ) as file:
            temporary = file.name
            json.dump(checked, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        return False
    return True


def read(path: Path) -> Kept | None:
    """Return what an earlier process saved; None when there is none, or a byte of it or its document's digest differs."""
    try:
        checked = json.loads(path.read_text(encoding="utf-8"))
        payload = checked["payload"]
        if hashlib.sha256(payload.encode()).hexdigest() != checked["sha256"]:
            return None
        saved = json.loads(payload)
        served = Served(**saved["served"] | {"document": freeze(saved["served"]["document"])})
        if digest_of(served.document) != served.resolved_digest:
            return None
        return Kept(served, float(saved["confirmed_at"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def packaged(fallback: Mapping[str, Any] | Path | str) -> Kept:
    """Return the harness an agent ships with: a document, or a platform's answer with its `document`, or a file of one.

    Raises ValueError when it is neither, or when the digest beside the document is not the document's.
    """
    named = "The packaged harness" if isinstance(fallback, Mapping) else f"The packaged harness {str(fallback)!r}"
    try:
        facts = fallback if isinstance(fallback, Mapping) else json.loads(Path(fallback).read_text(encoding="utf-8"))
        document = facts.get("document", facts)
        found = digest_of(document)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{named} cannot be read: {error}. Ship the JSON document of one version.") from error
    told = facts.get("resolved_digest") or facts.get("digest") if document is not facts else None
    if told not in {None, found}:
        raise ValueError(f"{named} has the digest {found}, not {told}. Ship it as the platform serves it.")
    version = facts.get("version") if document is not facts else None
    return Kept(Served(freeze(document), version, found, found, reason="packaged with the agent"), None)
