"""Turn what an agent hands over into one line of JSON the platform takes, whatever it was."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["encoded", "plain"]

_MAX_DEPTH = 48  # the platform takes 64 levels, some of which are its own
_MAX_INTEGER = 2**53 - 1
_EXPORTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model_dump", {"mode": "json", "warnings": False}),
    ("to_dict", {}),
    ("_asdict", {}),
)
_NUL = "\\u0000"
# What may be a number beyond 2^53 - 1, or a text that looks like one; looking twice is harmless.
_MAYBE_BIG = re.compile(r"[0-9](?:[0-9]{15}|e\+)")


def encoded(record: Mapping[str, Any]) -> bytes:
    """Return the record as one line of UTF-8 JSON with its newline.

    What is plain JSON goes as it is. Other things are written as well as they can be: models and dataclasses as
    objects, NaN, infinities and integers beyond 2^53 - 1 as text, the rest as `str` says it. Raises TypeError for what
    is no mapping.
    """
    if not isinstance(record, Mapping):
        raise TypeError(f"a record is a mapping, not a {type(record).__name__}")
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if _NUL not in text and not _MAYBE_BIG.search(text):
            return text.encode() + b"\n"
    except (TypeError, ValueError, RecursionError):
        pass
    text = json.dumps(plain(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value as JSON that the platform's door lets through."""
    if depth > _MAX_DEPTH:
        return _text(repr(value)[:1000])
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int():
            return int(value) if abs(value) <= _MAX_INTEGER else str(int(value))
        case float():
            is_exact = math.isfinite(value) and (abs(value) <= _MAX_INTEGER or not value.is_integer())
            return float(value) if is_exact else str(value)
        case bytes() | bytearray():
            return f"<{len(value)} bytes>"
        case Mapping():
            return {_text(str(name)): plain(item, depth + 1) for name, item in value.items()}
    return _thing(value, depth)


def _thing(value: Any, depth: int) -> Any:
    """Return an object that is no JSON itself: by its own word, by its fields, by its items, or by its text."""
    for export, options in _EXPORTS:
        method = None if isinstance(value, type) else getattr(value, export, None)
        if callable(method):
            return plain(method(**options), depth + 1)
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields:
        return {name: plain(getattr(value, name, None), depth + 1) for name in fields}
    if isinstance(value, Iterable) and not isinstance(value, type) and hasattr(value, "__len__"):
        return [plain(item, depth + 1) for item in value]
    return _text(str(value))


def _text(text: str) -> str:
    """Return the text without what no database keeps: NUL and lone surrogates."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
