"""Reads a batch of episodes off the wire: one object, a list, or a line each; plain or gzip; bounded before it is read."""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from episodes.capture import refuse_too_many
from episodes.door import PlainItems, Refused
from episodes.exceptions import BatchTooLargeError, UnreadableBatchError
from harness.canonical import UnsureError, plain_each, plain_json

__all__ = ["MAX_BATCH_BYTES", "EpisodeJsonLinesParser", "EpisodeLinesParser", "EpisodesParser", "read_body"]

MAX_BATCH_BYTES = 16 * 1024 * 1024
_CHUNK = 256 * 1024
# Every integer of 20 digits is beyond 2^53 and refused item by item; turning thousands of digits into a number is not.
_MAX_DIGITS = 20


class EpisodesParser(BaseParser):
    """One episode or a list of them as JSON."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # DRF's signature
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = _body(stream, parser_context)
        try:
            value = plain_json(body)
        except UnsureError:
            pass
        else:
            return PlainItems(value if isinstance(value, list) else [value])
        try:
            value = _loads(body)
        except RecursionError as error:
            items = list(_each(_elements(body), "episode"))
            if not items:
                raise _unreadable(error) from error
            return items
        except ValueError as error:
            raise _unreadable(error) from error
        return value if isinstance(value, list) else [value]


class EpisodeLinesParser(BaseParser):
    """One episode a line; a line that is not JSON is refused by itself."""

    media_type = "application/x-ndjson"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # DRF's signature
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = _body(stream, parser_context)
        lines = [line for line in body.split(b"\n") if line.strip()]
        refuse_too_many(len(lines))
        try:
            return PlainItems(plain_each(lines))
        except UnsureError:
            items = list(_each(lines, "line"))
        if items and all(isinstance(item, Refused) for item in items):
            raise UnreadableBatchError(f"No line is JSON. The first: {items[0].reason}")
        return items


class EpisodeJsonLinesParser(EpisodeLinesParser):
    """The same under its other name."""

    media_type = "application/jsonl"


# A text, a run of brackets, or a comma.
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]+|[\]}]+|,', re.DOTALL)


def _elements(body: bytes) -> Iterator[bytes]:
    """Yield the elements of a list, cut at its own commas; nothing where the body is no whole list.

    What is too deep to be read at once is cut first: one element that is nested without end must not cost the others.
    """
    body = body.strip()
    depth, start, cuts = 0, 1, []
    for mark in _MARK.finditer(body):
        sign = mark.group()
        if sign == b"," and depth == 1:
            cuts.append(body[start : mark.start()])
            start = mark.end()
        elif sign[0] in b"[{":
            depth += len(sign)
        elif sign[0] in b"]}":
            depth -= len(sign)
            if depth <= 0:
                is_whole = depth == 0 and mark.end() == len(body) and body.startswith(b"[") and body.endswith(b"]")
                yield from (*cuts, body[start:-1]) if is_whole else ()
                return


def _each(texts: Iterable[bytes], what: str) -> Iterator[Any]:
    for text in texts:
        try:
            yield _loads(text)
        except RecursionError as error:
            yield Refused("too_deep", f"The {what} is not read: {_why(error)}. Flatten it.")
        except ValueError as error:
            yield Refused("not_json", f"The {what} is not JSON: {_why(error)}.")


def _loads(body: bytes) -> Any:
    return json.loads(body, parse_int=_integer, object_pairs_hook=_members)


def _integer(text: str) -> int:
    return int(text) if len(text) < _MAX_DIGITS else 10**_MAX_DIGITS


class RepeatedName:
    """Stands where a name occurs twice in one object: no JSON, so the door refuses that item and keeps the others."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        members |= {name: RepeatedName() for name in members if names.count(name) > 1}
    return members


def _unreadable(error: Exception) -> UnreadableBatchError:
    return UnreadableBatchError(f"The body is not JSON: {_why(error)}. Send one episode, a list, or NDJSON.")


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _body(stream: IO[bytes], context: Mapping[str, Any] | None) -> bytes:
    request = (context or {}).get("request")
    return read_body(stream, request.headers.get("Content-Encoding", "") if request is not None else "")


def read_body(stream: IO[bytes], encoding: str) -> bytes:
    """Return a request's body, unpacked where it is gzip; raise `BatchTooLargeError`, `UnreadableBatchError`."""
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return _bounded(iter(lambda: stream.read(_CHUNK), b""))
    if encoding not in {"gzip", "x-gzip"}:
        raise UnreadableBatchError(f"Content-Encoding {encoding!r} is not known here. Send gzip or nothing.")
    return _bounded(_unzipped(stream))


def _unzipped(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the unpacked body in bounded pieces, so that a small bomb never becomes large."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        while packed := stream.read(_CHUNK):
            while packed:
                yield unzip.decompress(packed, _CHUNK)
                packed = unzip.unconsumed_tail
                if unzip.eof and unzip.unused_data:
                    # A gzip body may have several members, one after the other.
                    packed, unzip = unzip.unused_data, zlib.decompressobj(wbits=31)
        yield unzip.flush()
    except zlib.error as error:
        raise UnreadableBatchError(f"The body is not gzip: {error}.") from error
    if not unzip.eof:
        raise UnreadableBatchError("The gzip body ends too early. Send it whole.")


def _bounded(pieces: Iterator[bytes]) -> bytes:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > MAX_BATCH_BYTES:
            raise BatchTooLargeError(
                f"The body is larger than {MAX_BATCH_BYTES:,} bytes unpacked. Send fewer episodes at once."
            )
    return bytes(body)
