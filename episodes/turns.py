"""What users said, read out of episodes' messages: openings, their normal form, adjacent turns. Pure."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["Turn", "fingerprint", "last_text", "opening_of", "say_something", "turns_of"]

MAX_OPENING_CHARACTERS = 2_000
_MIN_WORDS = 3
_DIGITS = re.compile(r"\d+")
_NO_WORD = re.compile(r"[\W_]+")
_BLANK_NO_WORD = {code: " " for code in range(128) if _NO_WORD.fullmatch(chr(code))}


@dataclass(frozen=True)
class Turn:
    """One thing that was said: by `user` or `assistant`."""

    role: str
    text: str


def turns_of(messages: object) -> list[Turn]:
    """Return the spoken turns of a message list; tool results, empty texts and malformed entries are passed over."""
    if not isinstance(messages, list):
        return []
    # The roles as a tuple: a malformed one may be a list or an object, which cannot be looked up in a set.
    return [
        Turn(str(message["role"]), text)
        for message in messages
        if isinstance(message, Mapping) and message.get("role") in ("user", "assistant") and (text := _text_of(message))
    ]


def _text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message whose content is a string or a list of typed parts."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return " ".join(part for part in parts if isinstance(part, str)).strip()
    return content.strip() if isinstance(content, str) else ""


def opening_of(turns: Iterable[Turn]) -> str:
    """Return the first words of the user that say something (three words or more), else the first at all."""
    said = [turn.text for turn in turns if turn.role == "user"]
    chosen = next((text for text in said if say_something(text[:MAX_OPENING_CHARACTERS])), said[0] if said else "")
    return chosen[:MAX_OPENING_CHARACTERS]


def say_something(text: str) -> bool:
    """Tell whether a text has enough words to compare it by: a bare greeting is nobody's duplicate."""
    return len(_normal(text).split()) >= _MIN_WORDS


def fingerprint(text: str) -> str:
    """Return the digest of a text's normal form: case, punctuation, spacing and numbers make no difference."""
    return hashlib.sha256(_normal(text).encode()).hexdigest()


@lru_cache(64)  # an opening is asked for its words, its split and its likes within one request
def _normal(text: str) -> str:
    if text.isascii():  # the same in a fifth of the time
        return " ".join(_DIGITS.sub("0", text.lower()).translate(_BLANK_NO_WORD).split())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NO_WORD.sub(" ", _DIGITS.sub("0", folded)).strip()


def last_text(turns: Sequence[Turn], role: str) -> str:
    """Return what `role` said last; empty when it never spoke."""
    return next((turn.text for turn in reversed(turns) if turn.role == role), "")
