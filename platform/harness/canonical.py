"""The one byte form of a JSON document (RFC 8785), its digest, and the door that refuses what has no such form.

Every document that is stored, compared or signed passes `clean_json` or `parse_json` once; everything behind that door
may assume plain, bounded, exactly representable JSON.
"""

import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import re2
import rfc8785

from accounts.exceptions import DomainError

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_INTEGER",
    "DocumentError",
    "Json",
    "JsonObject",
    "UnsureError",
    "canonical_bytes",
    "clean_json",
    "digest_of",
    "is_same",
    "parse_json",
    "plain_each",
    "plain_json",
    "pointer",
    "quick_canonical_bytes",
    "sha256_hex",
]

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None
type JsonObject = dict[str, Json]

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_INTEGER = 2**53 - 1  # the largest integer every JSON reader keeps exactly (RFC 7493 §2.2)

_SURROGATE = re.compile("[\ud800-\udfff]")


# Where orjson's sorted bytes could differ from RFC 8785: integral floats, exponents, names with characters beyond the
# basic plane (they are ordered by UTF-16). The same marks inside a text only cost the slower way.
_UNLIKE_RFC8785 = re2.compile(
    r"(?:^|[:,\[])-?[0-9]+(?:\.0(?:[,\]}]|$)|(?:\.[0-9]+)?e)"
    r'|[\x{10000}-\x{10ffff}](?:[^"\\]|\\.)*":'
)
# What a quick reader leaves to the strict one: NUL, numbers that may lie beyond 2^53 (sixteen digits, or an exponent
# that makes them larger), and whatever would spoil the count of names: blanks before a colon, quotes and colons in
# disguise.
_FOR_THE_STRICT = re2.compile(
    r"\\u00(?:00|22|3[aA])|(?:^|[:,\[])[ \t\r\n]*-?(?:[0-9]{16}|[0-9]+(?:\.[0-9]+)?[eE]\+?[0-9])"
    r'|(?:[^\\]|\\\\)"[ \t\r\n]+:'
)
_SURELY_DEEP = b"\n" + b" " * (2 * (MAX_DEPTH - 4))


class UnsureError(Exception):
    """A quick look cannot say whether this text is clean JSON; `clean_json` can."""


class DocumentError(DomainError):
    """A document that cannot be accepted. `code` says which rule, `path` (a JSON Pointer) says where."""

    http_status = 400

    def __init__(self, code: str, sentence: str, path: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.path = path


def pointer(parts: Iterable[str]) -> str:
    """Return the JSON Pointer (RFC 6901) of unescaped parts; the whole document is ''."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def clean_json(
    value: object,
    *,
    max_depth: int = MAX_DEPTH,
    max_bytes: int = MAX_BYTES,
    allow_big_integers: bool = False,
) -> Json:
    """Return a copy of `value` made of plain JSON only, with integral floats as integers.

    `max_depth` counts nested containers, `max_bytes` the characters and marks of the text. Integers beyond 2^53 - 1 are
    refused, because a JSON reader elsewhere would silently change them; `allow_big_integers` lets them through for
    records that are never canonicalized. Raise `DocumentError` for NUL, lone surrogates, NaN, infinities, names that
    are not text, and anything that is not JSON.
    """
    return _Cleaner(max_depth=max_depth, max_bytes=max_bytes, allow_big_integers=allow_big_integers).clean(value, ())


def parse_json(text: str | bytes, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES) -> Json:
    """Read JSON text as strictly as `clean_json`, refusing repeated names too (the last would silently win)."""
    if len(text) > max_bytes:
        raise _too_large(max_bytes)
    try:
        value = json.loads(text, object_pairs_hook=_unique_members)
    except RecursionError as error:
        raise _too_deep(max_depth, ()) from error
    except ValueError as error:
        sentence = f"The text is not JSON: {error}. Send one JSON value in UTF-8."
        raise DocumentError("not_json", sentence) from error
    return clean_json(value, max_depth=max_depth, max_bytes=max_bytes)


def canonical_bytes(value: Json) -> bytes:
    """Return the RFC 8785 bytes of clean JSON: equal documents have equal bytes, whatever the order of their names."""
    body = quick_canonical_bytes(value)
    return rfc8785.dumps(value) if body is None else body


def quick_canonical_bytes(value: Json) -> bytes | None:
    """Return the canonical bytes where no walk over the value is needed for them, else `None`."""
    try:
        body = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    return None if _UNLIKE_RFC8785.search(body) else body


def plain_json(text: bytes) -> Any:
    """Read JSON text that a few scans in C show to be clean, without a walk over it; else raise `UnsureError`.

    The scans look for what `clean_json` and `parse_json` refuse but size, and are wrong only on the safe side: what
    `_FOR_THE_STRICT` finds, repeated names (fewer are left than came), and nesting near `MAX_DEPTH`. Half surrogates,
    infinities and what is no JSON orjson refuses itself.
    """
    if _FOR_THE_STRICT.search(text):
        raise UnsureError
    try:
        value = orjson.loads(text)
        spread = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    except (ValueError, TypeError, RecursionError) as error:
        raise UnsureError from error
    # A text may hold the mark of a name too, but it does so in both.
    if text.count(b'":') != spread.count(b'":') or _SURELY_DEEP in spread:
        raise UnsureError
    return value


def plain_each(texts: Sequence[bytes]) -> list[Any]:
    """Read several JSON texts as `plain_json` reads one, with one look at all; else raise `UnsureError`.

    They are read as one list with a word between them that none of them can know. Where every such word is found at
    its place in that list, each text is one value: what a text leaves open would swallow the word behind it.
    """
    word = secrets.token_hex()
    values = plain_json(b"[" + f',"{word}",'.encode().join(texts) + b"]")
    if len(values) != max(2 * len(texts) - 1, 0) or any(between != word for between in values[1::2]):
        raise UnsureError
    return values[::2]  # type: ignore[no-any-return]  # a list of what JSON holds


def sha256_hex(body: bytes) -> str:
    """Return the digest of stored bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def digest_of(value: Json) -> str:
    """Return the digest that names clean JSON: SHA-256 of its canonical bytes."""
    return sha256_hex(canonical_bytes(value))


def is_same(left: Json, right: Json) -> bool:
    """Tell whether two clean values are the same JSON (Python's `==` would take `true` for 1)."""
    return left == right and canonical_bytes(left) == canonical_bytes(right)


class _Cleaner:
    """One walk over a value, counting what it has seen so that it can stop early."""

    def __init__(self, *, max_depth: int, max_bytes: int, allow_big_integers: bool) -> None:
        self.max_depth = max_depth
        self.max_bytes = max_bytes
        self.allow_big_integers = allow_big_integers
        self.seen = 0

    def clean(self, value: Any, path: tuple[str, ...]) -> Json:
        match value:
            case None | bool():
                self._count(4)
                return value
            case str():
                return self._text(value, path)
            case int():
                return self._integer(value, path)
            case float():
                return self._float(value, path)
            case dict():
                self._descend(path)
                return {self._name(name, path): self.clean(item, (*path, str(name))) for name, item in value.items()}
            case list() | tuple():
                self._descend(path)
                return [self.clean(item, (*path, str(index))) for index, item in enumerate(value)]
        sentence = f"{_at(path)} is a {type(value).__name__}, which is not JSON. Use text, numbers, lists, objects."
        raise DocumentError("not_json", sentence, pointer(path))

    def _count(self, weight: int) -> None:
        self.seen += weight
        if self.seen > self.max_bytes:
            raise _too_large(self.max_bytes)

    def _descend(self, path: tuple[str, ...]) -> None:
        self._count(2)
        if len(path) >= self.max_depth:
            raise _too_deep(self.max_depth, path)

    def _name(self, name: Any, path: tuple[str, ...]) -> str:
        if not isinstance(name, str):
            sentence = f"{_at(path)} has the name {name!r}, which is not text. JSON names are text."
            raise DocumentError("not_json", sentence, pointer(path))
        return self._text(name, path)

    def _text(self, text: str, path: tuple[str, ...]) -> str:
        self._count(len(text) + 2)
        if "\x00" in text:
            sentence = f"{_at(path)} holds a NUL character, which PostgreSQL cannot store. Remove it."
            raise DocumentError("nul", sentence, pointer(path))
        if not text.isascii() and _SURROGATE.search(text):
            sentence = f"{_at(path)} holds half of a surrogate pair, which is not a character. Remove it."
            raise DocumentError("lone_surrogate", sentence, pointer(path))
        return text

    def _integer(self, number: int, path: tuple[str, ...]) -> int:
        self._count(number.bit_length() // 3 + 1)
        if abs(number) > MAX_INTEGER and not self.allow_big_integers:
            raise _too_big(path)
        return number

    def _float(self, number: float, path: tuple[str, ...]) -> int | float:
        self._count(8)
        if not math.isfinite(number):
            sentence = f"{_at(path)} is {number}, which JSON cannot hold. Use a finite number or null."
            raise DocumentError("not_finite", sentence, pointer(path))
        # RFC 8785 writes 1.0 as 1, so it must not differ from 1 anywhere else either.
        if not number.is_integer():
            return number
        return self._integer(int(number), path)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        sentence = f"The name {repeated!r} occurs twice in one object. Keep one of them."
        raise DocumentError("repeated_name", sentence)
    return members


def _at(path: tuple[str, ...]) -> str:
    return repr(pointer(path)) if path else "The document"


def _too_big(path: tuple[str, ...]) -> DocumentError:
    sentence = f"{_at(path)} is an integer beyond 2^53 - 1, which other JSON readers would change. Write it as text."
    return DocumentError("big_integer", sentence, pointer(path))


def _too_deep(max_depth: int, path: tuple[str, ...]) -> DocumentError:
    sentence = f"The document is nested deeper than {max_depth} levels. Flatten it."
    return DocumentError("too_deep", sentence, pointer(path))


def _too_large(max_bytes: int) -> DocumentError:
    return DocumentError("too_large", f"The document is larger than {max_bytes:,} bytes. Send less at once.")
