"""Time-ordered identifiers that we make ourselves."""

import secrets
import time
import uuid
from datetime import datetime

__all__ = ["first_uuid7_at", "uuid7"]


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


def first_uuid7_at(moment: datetime) -> uuid.UUID:
    """Return the id that lies before every id made at `moment` or later and after every earlier one."""
    return uuid.UUID(int=(int(moment.timestamp() * 1000) & 0xFFFF_FFFF_FFFF) << 80)
