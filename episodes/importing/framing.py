"""Finds the JSON objects in files of lines, of one list, or of a list inside an object; one in memory at a time. Pure."""

import codecs
import json
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, groupby
from typing import Any, NamedTuple

from episodes.importing.entries import BadLine, Line

__all__ = ["MAX_RECORD_BYTES", "Record", "records"]

MAX_RECORD_BYTES = 16 * 1024 * 1024
_TOKEN = re.compile(rb'"(?:[^"\\\n]++|\\.)*+"|["{}\[\]]')
_CLOSES = {b"}": b"{", b"]": b"["}


class Record(NamedTuple):
    """One JSON object of a file; `head` holds what an object around its list said before the list began."""

    file: str
    number: int
    value: dict[str, Any]
    head: dict[str, Any]


def records(lines: Iterable[Line], *, lists: Collection[str] = ("data",)) -> Iterator[Record | BadLine]:
    """Return the objects in `lines`; `lists` names the members whose list holds the objects of an export.

    A file of lines holds one value a line, so that a broken line costs only itself. Any other file is walked bracket
    by bracket; broken brackets cost its rest, which is said.
    """
    for file, own in groupby(lines, key=lambda line: line.file):
        yield from _of_file(file, own, lists)


def _of_file(file: str, lines: Iterator[Line], lists: Collection[str]) -> Iterator[Record | BadLine]:
    for first in lines:
        data = first.data.removeprefix(codecs.BOM_UTF8).lstrip()
        if not data:
            continue
        rest = chain([Line(file, first.number, data)], lines)
        if data.startswith(b"["):
            yield from _Walk(file, lists).read(rest)
            return
        whole = _whole(rest)
        begin = next(whole)
        if _goes_on(begin.data.rstrip()):
            yield from _Walk(file, lists).read(chain([begin], whole))
        else:
            yield from _of_lines(chain([begin], whole), lists)
        return


def _whole(lines: Iterable[Line]) -> Iterator[Line]:
    """Return pieces joined to lines, as far as a record may be long; what is longer still comes in several."""
    held: Line | None = None
    for line in lines:
        held = line if held is None else Line(line.file, held.number, held.data + line.data)
        if held.data.endswith(b"\n") or len(held.data) > MAX_RECORD_BYTES:
            yield held
            held = None
    if held is not None:
        yield held


def _goes_on(data: bytes) -> bool:
    """Tell whether a file's first line begins an object that is written over many lines, or is too long for one."""
    return data.startswith(b"{") and (data.endswith((b"{", b"[", b",")) or len(data) > MAX_RECORD_BYTES)


def _of_lines(lines: Iterable[Line], lists: Collection[str]) -> Iterator[Record | BadLine]:
    is_rest = False
    for line in lines:
        was_cut, is_rest = is_rest, not line.data.endswith(b"\n")
        if was_cut or not line.data.strip():
            continue
        if len(line.data) > MAX_RECORD_BYTES:
            yield BadLine(line.file, line.number, f"the line is longer than {MAX_RECORD_BYTES:,} bytes")
        else:
            yield from _expanded(_parsed(line.file, line.number, line.data), lists)


def _parsed(file: str, number: int, data: bytes, head: dict[str, Any] | None = None) -> Record | BadLine:
    try:
        value = json.loads(data)
    except RecursionError:
        return BadLine(file, number, "it is nested too deeply")
    except UnicodeDecodeError as error:
        return BadLine(file, number, f"it is not UTF-8 text: {error.reason} at byte {error.start + 1}")
    except ValueError as error:
        return BadLine(file, number, f"it is not JSON: {error}")
    if not isinstance(value, dict):
        return BadLine(file, number, "it is no JSON object")
    return Record(file, number, value, head or {})


def _expanded(record: Record | BadLine, lists: Collection[str]) -> Iterator[Record | BadLine]:
    """Return the objects of a page of an API that was written as one line; any other record as it is."""
    name = _list_in(record.value, lists) if isinstance(record, Record) else ""
    if isinstance(record, BadLine) or not name:
        yield record
        return
    head = {key: value for key, value in record.value.items() if key != name}
    for value in record.value[name]:
        if isinstance(value, dict):
            yield Record(record.file, record.number, value, head)
        else:
            yield BadLine(record.file, record.number, f"{name!r} holds something that is no JSON object")


def _list_in(value: dict[str, Any], lists: Collection[str]) -> str:
    return next((name for name in lists if isinstance(value.get(name), list) and _may_hold(name, value)), "")


def _may_hold(name: str, around: dict[str, Any]) -> bool:
    """An object that has an id or messages is a record of its own, whatever it keeps under `data`."""
    return name != "data" or not around.keys() & {"id", "messages"}


class _BrokenError(Exception):
    pass


class _Walk:
    """One pass over a file that is one value, bracket by bracket, holding no more than the object it is in."""

    def __init__(self, file: str, lists: Collection[str]) -> None:
        self.file, self.lists = file, lists
        self.held = b""
        self.at = 0  # how far in `held` the walk has come
        self.begin = 0  # where in `held` the current record begins, or what lies between two
        self.number, self.counted = 1, 0  # the line of the place `counted` in `held`
        self.open: list[bytes] = []  # the brackets around the current place
        self.record_level, self.record_number = -1, 1  # how many brackets stand around the current record; -1: none is
        self.list_level = -1  # how many brackets are open directly inside the list of records; -1: outside of it
        self.key = b""
        self.head: dict[str, Any] = {}
        self.is_too_long = False

    def read(self, lines: Iterable[Line]) -> Iterator[Record | BadLine]:
        try:
            for line in lines:
                if not self.held:
                    self.number = line.number
                self.held += line.data
                yield from self._walk()
                self._forget()
            if self.open or self.at < len(self.held):
                raise _BrokenError("the file ends inside of it")
            yield from self._stray(len(self.held))
        except _BrokenError as error:
            begin = self.record_number if self.record_level >= 0 else self._line_of(self.begin)
            yield BadLine(self.file, begin, f"{error}; nothing from here on can be read")

    def _walk(self) -> Iterator[Record | BadLine]:
        for token in _TOKEN.finditer(self.held, self.at):
            sign, place = token[0], token.start()
            if sign == b'"':
                if b"\n" in self.held[place:]:
                    raise _BrokenError("a text in quotation marks is not closed on its line")
                self.at = place  # the text goes on in the next piece
                return
            if sign in (b"{", b"["):
                yield from self._opened(sign, place)
            elif sign in _CLOSES:
                yield from self._closed(sign, place)
            elif self.open == [b"{"]:
                self.key = sign
        self.at = len(self.held)

    def _opened(self, sign: bytes, place: int) -> Iterator[Record | BadLine]:
        depth = len(self.open)
        if self.record_level < 0 and sign == b"{" and depth in (0, self.list_level):
            yield from self._stray(place)
            self.begin, self.record_level, self.record_number = place, depth, self._line_of(place)
        elif sign == b"[" and (depth == 0 or (self.open == [b"{"] and self._begins_list(place))):
            yield from self._stray(place)
            self.begin, self.record_level, self.list_level = place + 1, -1, depth + 1
        self.open.append(sign)

    def _begins_list(self, place: int) -> bool:
        """Tell whether the list at `place` holds the records; if so, keep what the object said before it."""
        try:
            name = json.loads(self.key or b'""')
        except ValueError:
            return False
        if name not in self.lists:
            return False
        if self.record_level < 0:
            return True  # a further list of an object whose first was read
        before = _parsed(self.file, self.record_number, self.held[self.begin : place] + b"null}")
        if isinstance(before, BadLine) or self.is_too_long or not _may_hold(name, before.value):
            return False
        self.head = before.value
        return True

    def _closed(self, sign: bytes, place: int) -> Iterator[Record | BadLine]:
        if not self.open or self.open.pop() != _CLOSES[sign]:
            raise _BrokenError(f"{sign.decode()!r} closes what was never opened")
        depth = len(self.open)
        if depth == self.record_level:
            if self.is_too_long:
                yield BadLine(self.file, self.record_number, f"it is longer than {MAX_RECORD_BYTES:,} bytes")
            else:
                yield _parsed(self.file, self.record_number, self.held[self.begin : place + 1], self.head)
            self.begin, self.record_level, self.is_too_long = place + 1, -1, False
        elif depth == self.list_level - 1:
            yield from self._stray(place)
            self.begin, self.list_level = place + 1, -1
        elif not depth:
            self.begin = place + 1  # the end of an object around a list

    def _stray(self, place: int) -> Iterator[BadLine]:
        """Report what stands between records and is none."""
        is_between = self.record_level < 0 and (self.list_level >= 0 or not self.open)
        if is_between and self.held[self.begin : place].strip(b" \t\r\n,"):
            yield BadLine(self.file, self._line_of(self.begin), "it is no JSON object")

    def _line_of(self, place: int) -> int:
        if place > self.counted:
            self.number += self.held.count(b"\n", self.counted, place)
            self.counted = place
        return self.number

    def _forget(self) -> None:
        """Let go of what is done with: all before the current record, or all of one that is too long to be kept."""
        if self.record_level >= 0 and self.at - self.begin > MAX_RECORD_BYTES:
            self.is_too_long = True
        if self.is_too_long or (self.record_level < 0 and self.open and self.list_level < 0):
            self.begin = self.at
        if len(self.held) - self.begin > 2 * MAX_RECORD_BYTES:
            raise _BrokenError(f"no object ends within {MAX_RECORD_BYTES:,} bytes")
        self._line_of(self.begin)
        self.held, self.at, self.counted = self.held[self.begin :], self.at - self.begin, self.counted - self.begin
        self.begin = 0
