"""What readers are given and what they make of it: lines in, entries, bad lines and notes out. Pure."""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

__all__ = [
    "BadLine",
    "BadLineError",
    "Ending",
    "Entry",
    "Line",
    "Note",
    "Options",
    "Reader",
    "fingerprint",
    "moment",
    "number",
    "outcome_name",
    "reason_of",
    "short",
    "text_of",
]

_MAX_ID = 200
_MAX_REASON = 300
_NO_NAME = re.compile(r"[^a-z0-9]+")
_SECONDS_ARE_BELOW = 1e11  # as seconds the year 5138, as milliseconds March 1973: later stamps are milliseconds


class Line(NamedTuple):
    """A piece of a file's bytes that begins on line `number`; without a newline at its end, the line goes on."""

    file: str
    number: int
    data: bytes


class BadLine(NamedTuple):
    """Something that was skipped: where, and why."""

    file: str
    number: int
    reason: str


class Note(NamedTuple):
    """Something a person should know about a file that was read all the same."""

    file: str
    sentence: str


class BadLineError(Exception):
    """What was read is no entry of its format; the sentence says what is missing."""


@dataclass(frozen=True)
class Ending:
    """How a conversation ended by somebody's word; without `at`, when the episode ended."""

    name: str
    source: str
    value: float = 1.0
    reason: str = ""
    at: str | None = None


@dataclass(frozen=True)
class Entry:
    """One recorded run, ready to be captured.

    `domain` tells agents of one format apart; `document` is the harness it ran on, as far as the record says;
    `fingerprint` names the content in the source, so that a second import knows it without comparing texts.
    """

    file: str
    number: int
    item: dict[str, Any]
    fingerprint: str
    domain: str = ""
    document: dict[str, Any] | None = None
    endings: tuple[Ending, ...] = ()


def _no_text(file: str, relative: str) -> str:
    return ""


@dataclass(frozen=True)
class Options:
    """What a person may say about a file.

    `columns` maps input, output, outcome, … to headers; `outcomes` maps words to outcome names; `success_score` names
    the score that says whether the user was helped, from `success_at` on; `outcome_source` says whose word the
    outcomes are; `beside(file, relative)` returns the text of a file that lies near a data file, empty for none.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)
    outcome_source: str = ""
    success_score: str = ""
    success_at: float = 0.5
    time_format: str = ""
    beside: Callable[[str, str], str] = _no_text


type Reader = Callable[[Iterable[Line], Options], Iterator[Entry | BadLine | Note]]


def fingerprint(value: Any) -> str:
    """Return a name for JSON content, whatever its order and spacing.

    It is written in letters: digits of a hexadecimal digest could pass for a card number and be redacted.
    """
    body = json.dumps(value, sort_keys=True, default=str).encode()
    return "".join(chr(ord("a") + int(digit, 16)) for digit in hashlib.sha256(body).hexdigest()[:32])


def text_of(row: Mapping[str, Any], name: str) -> str:
    """Return a text the row must have; raise `BadLineError` when it has none."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadLineError(f"{name!r} is missing or no text")
    return value.strip()


def short(value: object) -> str:
    """Return an id of at most 200 characters; a longer one keeps its head and the digest of the whole."""
    text = "" if value is None or isinstance(value, dict | list) else str(value).strip()
    if len(text) <= _MAX_ID:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:170].rstrip()}…{digest[:24]}"


def number(value: object) -> float | None:
    """Return a number that is one, or `None`; truth values are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(float(value)) else None
    except OverflowError:
        return None


def moment(value: object) -> str | None:
    """Return an ISO 8601 text in UTC of an ISO text or a Unix stamp in seconds or milliseconds; `None` for nothing.

    Raises `BadLineError` for what is no time.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    stamp = number(value)
    try:
        if stamp is not None:
            seconds = stamp if abs(stamp) < _SECONDS_ARE_BELOW else stamp / 1_000
            return datetime.fromtimestamp(seconds, UTC).isoformat()
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
            parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
            return parsed.isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    raise BadLineError(f"{str(value)[:60]!r} is no time; ISO 8601 is read, as in 2025-03-01T12:00:00Z")


def outcome_name(text: object) -> str:
    """Return a text as an outcome's name: small letters, digits and _, beginning with a letter; empty for none."""
    plain = unicodedata.normalize("NFKD", str(text)).encode("ascii", "ignore").decode().lower()
    name = _NO_NAME.sub("_", plain).strip("_")
    return (name if name[:1].isalpha() or not name else f"score_{name}")[:60].strip("_")


def reason_of(value: object) -> str:
    """Return a text as an outcome's reason: one line of at most 300 characters."""
    return " ".join(str(value).split())[:_MAX_REASON] if value is not None else ""
