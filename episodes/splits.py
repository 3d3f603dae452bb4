"""Which split a conversation falls into: a keyed hash, so that nobody outside can aim at one. Pure."""

import hashlib
import hmac
from functools import lru_cache
from uuid import UUID

from episodes.turns import fingerprint, say_something

__all__ = ["DEV_SHARE", "VERIFY_SHARE", "split_of", "unit_hash"]

DEV_SHARE = 0.5
VERIFY_SHARE = 0.3
"""The rest, .2, is hold-out."""


def unit_hash(secret: str, purpose: str, *parts: str) -> float:
    """Return a number in [0, 1) that `parts` determine and only the holder of `secret` can compute."""
    digest = hmac.digest(_key(secret, purpose), "\x1f".join(parts).encode(), "sha256")
    return int.from_bytes(digest[:8]) / 2**64


@lru_cache(8)
def _key(secret: str, purpose: str) -> bytes:
    return hashlib.sha256(f"whetstone:{purpose}:{secret}".encode()).digest()


def split_of(secret: str, agent_id: UUID, conversation: str, opening: str) -> str:
    """Return `dev`, `verify` or `holdout` for a new conversation of an agent.

    The hash is over the normal form of the opening, so that equal openings fall together whoever comes first and
    however many arrive at once. An opening too short to compare leaves the conversation's own id.
    """
    named = fingerprint(opening) if say_something(opening) else f"id:{conversation}"
    place = unit_hash(secret, "split", str(agent_id), named)
    if place < DEV_SHARE:
        return "dev"
    return "verify" if place < DEV_SHARE + VERIFY_SHARE else "holdout"
