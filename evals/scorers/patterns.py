"""Regular expressions in linear time: RE2, which has no way back and so no pattern that takes for ever."""

from functools import lru_cache
from typing import Any

import re2

__all__ = ["MAX_PATTERN", "found_in", "problem_of"]

MAX_PATTERN = 1_000
_MEMORY = 1024 * 1024  # what one pattern may hold; a cache of them multiplies it


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    return re2.compile(pattern, options)


def problem_of(pattern: str) -> str:
    """Return why RE2 cannot read a pattern, or nothing."""
    if len(pattern) > MAX_PATTERN:
        return f"the pattern has {len(pattern):,} characters, and {MAX_PATTERN:,} are allowed"
    try:
        _compiled(pattern)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error.args[0]
        return f"{pattern[:80]!r} is no pattern that RE2 reads ({reason}); it has no look-around and no back-references"
    return ""


def found_in(pattern: str, text: str) -> bool:
    """Tell whether the pattern occurs in a text; half surrogates are read as question marks."""
    readable = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return _compiled(pattern).search(readable) is not None
