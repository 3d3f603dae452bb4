"""Decide who is served which arm, from nothing but a salt, a unit and a weight.

Scheme ``hg1``: the first eight bytes of SHA-256("hg1" NUL salt NUL unit), read as a big-endian integer, shifted right
by 11 bits and divided by 2^53. The salt comes first and the hash avalanches fully, so two releases never share their
early users; the canary owns ``[0, weight)``, so raising a weight can only add users and lowering it removes the latest.
"""

import hashlib
import secrets
from enum import StrEnum

__all__ = ["SCHEME", "Arm", "arm", "bucket", "new_salt"]

SCHEME = "hg1"
# 53 bits are what a double holds exactly, so the bucket is the same number in every language.
_SHIFT = 11
_SCALE = float(1 << 53)


class Arm(StrEnum):
    """The two sides of a release: the version under trial and the stable one."""

    CANARY = "canary"
    CONTROL = "control"


def bucket(salt: str, unit: str) -> float:
    """Return the place of ``unit`` in ``[0, 1)`` under ``salt``.

    Text is hashed as UTF-8 without normalization: two spellings of one name are two units.
    Raises ValueError when either is empty, holds NUL (it parts the fields) or cannot be encoded.
    """
    digest = hashlib.sha256(b"\0".join((SCHEME.encode(), _field("salt", salt), _field("unit", unit)))).digest()
    return (int.from_bytes(digest[:8], "big") >> _SHIFT) / _SCALE


def arm(salt: str, unit: str, weight: float) -> Arm:
    """Return the arm ``unit`` is served while the canary's share is ``weight`` (0 nobody, 1 everybody)."""
    if not 0.0 <= weight <= 1.0:
        message = f"Cannot assign an arm at weight {weight!r}: a weight is a share between 0 and 1."
        raise ValueError(message)
    return Arm.CANARY if bucket(salt, unit) < weight else Arm.CONTROL


def new_salt() -> str:
    """Return a fresh random salt: 128 bits, so nobody can choose an id that lands in the canary."""
    return secrets.token_hex(16)


def _field(name: str, value: str) -> bytes:
    if not value or "\0" in value:
        message = f"Cannot bucket {name} {value!r}: it must be a non-empty text without NUL, which parts the fields."
        raise ValueError(message)
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        message = f"Cannot bucket {name} {value!r}: it holds a lone surrogate; send valid Unicode."
        raise ValueError(message) from error
