"""Time-ordered identifiers that we make ourselves."""

import secrets
import time
import uuid

__all__ = ["uuid7"]


def uuid7() -> uuid.UUID:
    """Return a UUID version 7 (RFC 9562 §5.7) whose sub-millisecond bits keep ids of one process in order.

    The 12 bits after the version hold the fraction of the millisecond (RFC 9562 §6.2, method 3); 62 bits are random.
    """
    nanoseconds = time.time_ns()
    milliseconds, remainder = divmod(nanoseconds, 1_000_000)
    fraction = (remainder << 12) // 1_000_000
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76
    value |= fraction << 64
    value |= 0b10 << 62
    value |= secrets.randbits(62)
    return uuid.UUID(int=value)
