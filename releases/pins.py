"""Keep a conversation on the version it began with, by a signed token the client echoes.

A token is ``base64url(JSON) "." base64url(HMAC-SHA256)``: readable by anyone, made by the key's holder only. It needs no
row and no lookup, and every other spelling of it is refused.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from releases.bucketing import Arm

__all__ = ["Pin", "PinRefusal", "Refused", "read", "sign"]

# Parts the use of the key from every other use, and names the layout.
_CONTEXT = b"whetstone.pin.1\0"
_MAX_CHARS = 2048
_MIN_KEY_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a conversation was served first: enough to serve it again and to read its episodes' arm and weight.

    ``release`` is None outside a release, then ``arm`` and ``stage`` are None and ``weight`` is 0. ``digest`` is the
    judged version's; ``issued_at`` is in whole seconds since the epoch.
    """

    agent: str
    conversation: str
    version: int
    digest: str
    issued_at: int
    release: str | None = None
    arm: Arm | None = None
    weight: float = 0.0
    stage: int | None = None


class Refused(StrEnum):
    """Why a token was not honored."""

    MALFORMED = "malformed"
    SIGNATURE = "signature"
    FOREIGN = "foreign"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class PinRefusal:
    """A token that is not honored, with the sentence a client may be shown."""

    code: Refused
    sentence: str


def sign(pin: Pin, key: bytes) -> str:
    """Return the URL-safe token of ``pin``. Raises ValueError for a key shorter than 16 bytes."""
    payload = _encode(json.dumps(asdict(pin), separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode())
    return f"{payload}.{_seal(payload, key)}"


def read(
    token: str,
    key: bytes,
    *,
    agent: str | None = None,
    conversation: str | None = None,
    now: int | None = None,
    max_age_s: int | None = None,
) -> Pin | PinRefusal:
    """Return the pin ``token`` carries, or why it is refused; never raises for what a client sent.

    With ``agent`` or ``conversation`` given, a pin of another one is foreign. With ``now`` and ``max_age_s`` given, an
    older pin has expired. The signature is compared in constant time and before anything is parsed.
    """
    payload, dot, seal = token.partition(".")
    if not dot or len(token) > _MAX_CHARS or not token.isascii():
        return PinRefusal(Refused.MALFORMED, "The pin is not a token of this platform; fetch the harness without it.")
    if not hmac.compare_digest(_seal(payload, key).encode(), seal.encode()):
        return PinRefusal(Refused.SIGNATURE, "The pin's signature does not match; fetch the harness without it.")
    pin = _parse(payload)
    if pin is None:
        return PinRefusal(Refused.MALFORMED, "The pin was signed in another layout; fetch the harness without it.")
    if agent not in (None, pin.agent) or conversation not in (None, pin.conversation):
        return PinRefusal(Refused.FOREIGN, "The pin belongs to another agent or conversation; fetch a new one.")
    if now is not None and max_age_s is not None and now - pin.issued_at > max_age_s:
        return PinRefusal(Refused.EXPIRED, f"The pin is older than {max_age_s} s; fetch a new one.")
    return pin


def _parse(payload: str) -> Pin | None:
    try:
        fields: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        arm = fields.pop("arm")
        return Pin(arm=None if arm is None else Arm(arm), **fields)
    except (binascii.Error, ValueError, TypeError, KeyError, AttributeError):
        return None


def _seal(payload: str, key: bytes) -> str:
    if len(key) < _MIN_KEY_BYTES:
        message = f"Cannot sign a pin with a key of {len(key)} bytes: at least {_MIN_KEY_BYTES} are needed."
        raise ValueError(message)
    return _encode(hmac.new(key, _CONTEXT + payload.encode(), hashlib.sha256).digest())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
