"""The digest of a harness document, computed as the platform computes it: SHA-256 of the RFC 8785 bytes.

The platform refuses integers beyond 2^53 - 1 and writes 1.0 as 1; so does this.
"""

import hashlib
import json
import math
from decimal import Decimal
from typing import Any

__all__ = ["canonical_bytes", "digest_of"]

_MAX_INTEGER = 2**53 - 1
_SMALLEST_PLAIN = 1e-6  # ECMAScript writes smaller numbers with an exponent


def digest_of(document: Any) -> str:
    """Return 64 lower-case hexadecimal digits. Raises ValueError for what has no canonical form."""
    return hashlib.sha256(canonical_bytes(document)).hexdigest()


def canonical_bytes(value: Any) -> bytes:
    """Return the one byte form of a JSON value. Raises ValueError for what has none."""
    pieces: list[str] = []
    _write(value, pieces)
    return "".join(pieces).encode()


def _write(value: Any, pieces: list[str]) -> None:
    match value:
        case None | bool() | str():
            pieces.append(json.dumps(value, ensure_ascii=False))
        case int() | float():
            pieces.append(_number(value))
        case dict():
            pieces.append("{")
            # Names are ordered by their UTF-16 code units (RFC 8785 §3.2.3).
            for index, name in enumerate(sorted(value, key=_code_units)):
                pieces.append(f"{',' if index else ''}{json.dumps(name, ensure_ascii=False)}:")
                _write(value[name], pieces)
            pieces.append("}")
        case list() | tuple():
            pieces.append("[")
            for index, item in enumerate(value):
                if index:
                    pieces.append(",")
                _write(item, pieces)
            pieces.append("]")
        case _:
            raise ValueError(f"A {type(value).__name__} is not JSON.")


def _code_units(name: Any) -> bytes:
    if not isinstance(name, str):
        raise ValueError(f"The name {name!r} is not text.")  # noqa: TRY004 - one kind of error for every bad document
    return name.encode("utf-16-be")


def _number(number: int | float) -> str:  # noqa: PYI041 - an integer may be too large for a float
    if isinstance(number, int):
        number = int(number)
        if abs(number) > _MAX_INTEGER:
            raise ValueError("An integer lies beyond 2^53 - 1.")
        return str(number)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not JSON.")
    if number.is_integer():
        return _number(int(number))
    text = repr(number)
    if "e" not in text:
        return text
    if abs(number) >= _SMALLEST_PLAIN:
        return format(Decimal(text), "f")
    digits, _, exponent = text.partition("e")
    return f"{digits}e{int(exponent)}"
