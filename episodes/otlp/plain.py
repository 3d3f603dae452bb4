"""Makes foreign values plain JSON that may be stored and canonicalized: bounded, exact, without NUL. Pure."""

import json
import math
import re
from typing import Any

import orjson

from harness.canonical import MAX_INTEGER

__all__ = ["MAX_DEPTH", "TOO_DEEP", "clean_text", "loads_or_none", "plain", "whole"]

MAX_DEPTH = 32
TOO_DEEP = "…nested too deeply to be kept"

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced: neither can be stored."""
    if "\x00" in text:
        text = text.replace("\x00", _REPLACEMENT)
    if text.isascii():
        return text
    return _SURROGATE.sub(_REPLACEMENT, text) if _SURROGATE.search(text) else text


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a copy of JSON-like `value` that every door of the house takes.

    Integers beyond 2^53 - 1 and numbers that are not finite become text, what is nested deeper than `depth` containers
    becomes a remark. Nothing raises.
    """
    # By exact type and the most frequent first: this walks every value of every episode.
    kind = type(value)
    if kind is str:
        return clean_text(value)
    if kind is dict:
        if depth <= 0:
            return TOO_DEEP
        return {clean_text(str(name)): plain(part, depth - 1) for name, part in value.items()}
    if kind is list or kind is tuple:
        return TOO_DEEP if depth <= 0 else [plain(part, depth - 1) for part in value]
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if abs(value) <= MAX_INTEGER else hex(value)
    if kind is float:
        return value if math.isfinite(value) and abs(value) <= MAX_INTEGER else repr(value)
    return clean_text(str(value))


def loads_or_none(value: Any) -> Any:
    """Return what a JSON text says; a value that is no text as it is; `None` for text that is not JSON."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        pass
    # The patient reader takes what Python and JavaScript write beside the standard: NaN, Infinity, lone surrogates.
    try:
        return json.loads(value, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def whole(value: Any) -> int | None:
    """Return a count that came as number or text; `None` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        count = int(value)
    except (ValueError, OverflowError):
        return None
    return count if 0 <= count <= MAX_INTEGER else None
