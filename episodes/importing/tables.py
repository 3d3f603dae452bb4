"""Reads tables of conversations: CSV with any usual delimiter and encoding, columns by option or by their header."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from episodes.importing.decoding import Decoder
from episodes.importing.entries import (
    BadLine,
    BadLineError,
    Ending,
    Entry,
    Line,
    Note,
    Options,
    fingerprint,
    moment,
    outcome_name,
    short,
)
from episodes.resolution import RESOLUTIONS

__all__ = ["ROLES", "read"]

ROLES: Mapping[str, tuple[str, ...]] = {
    "input": ("input", "question", "prompt", "query", "user message", "user input", "request", "message", "user text"),
    "output": (
        "output",
        "answer",
        "response",
        "completion",
        "reply",
        "assistant message",
        "bot message",
        "agent message",
    ),
    "outcome": ("outcome", "result", "resolution", "resolved", "success"),
    "id": ("id", "episode id", "message id", "record id", "external id"),
    "conversation": ("conversation", "conversation id", "session", "session id", "thread id", "chat id", "ticket id"),
    "subject": ("subject", "user id", "customer id", "user", "customer"),
    "time": ("time", "timestamp", "date", "datetime", "created at", "started at"),
}
"""What a column may hold, with the headers it is recognized by."""

_WORDS = {
    **dict.fromkeys(("resolved", "true", "yes", "y", "success", "successful", "solved", "passed", "pass", "ok", "good"), "resolved"),
    **dict.fromkeys(("failed", "false", "no", "n", "failure", "unresolved", "fail", "wrong", "bad"), "failed"),
    **dict.fromkeys(("escalated", "handoff", "handed_off", "transferred", "human"), "escalated"),
    **dict.fromkeys(("abandoned", "dropped", "left"), "abandoned"),
    "blocked": "blocked",
}  # fmt: skip
_DELIMITERS = ",;\t|"
_MAX_FIELD = 2 * 1024 * 1024
_MAX_ROW_LINES = 20_000


def read(lines: Iterable[Line], options: Options) -> Iterator[Entry | BadLine | Note]:
    """Return one episode for each row of each table."""
    for file, own in groupby(lines, key=lambda line: line.file):
        yield from _of_file(file, own, options)


def _of_file(file: str, lines: Iterable[Line], options: Options) -> Iterator[Entry | BadLine | Note]:
    decoder = Decoder()
    feed = _Feed(decoder.lines(lines))
    cut, delimiter = _header(feed)
    if not cut:
        return
    header = _named(cut)
    try:
        roles = _roles(header, options)
    except BadLineError as error:
        yield BadLine(file, feed.number, f"{error} Nothing of the file was read.")
        return
    is_noted = False
    for first, row in _rows(feed, delimiter):
        if decoder.note and not is_noted:
            is_noted = True
            yield Note(file, decoder.note)
        try:
            yield _entry(file, first, _cells(header, row), roles, options)
        except BadLineError as error:
            yield BadLine(file, first, str(error))


class _Feed:
    """Decoded lines with their numbers; lines can be put back when a row that swallowed them turns out to be broken."""

    def __init__(self, lines: Iterator[tuple[int, str, str]]) -> None:
        self._lines = lines
        self._back: deque[tuple[int, str, str]] = deque()
        self.taken: list[tuple[int, str, str]] = []
        self.number = 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.taken.append(line)
        if len(self.taken) == 1:
            self.number = line[0]
        if len(self.taken) > _MAX_ROW_LINES:
            raise csv.Error(f"a row of more than {_MAX_ROW_LINES:,} lines")
        return line[1]

    def done(self) -> str:
        """Forget the lines of a finished row; return what was wrong with them, empty for nothing."""
        problem = next((line[2] for line in self.taken if line[2]), "")
        self.taken.clear()
        return problem

    def put_back(self) -> None:
        """Give all but the first line of a broken row back, so that it costs no other."""
        self._back.extendleft(reversed(self.taken[1:]))
        self.taken.clear()


def _rows(feed: _Feed, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Return rows with the number of their first line; a text instead of a row says what is wrong with it."""
    csv.field_size_limit(_MAX_FIELD)  # the module has one limit for all; the default cuts off long conversations
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
            if row is None:
                return
            number, problem = feed.number, feed.done()
            if any(cell.strip() for cell in row):
                yield number, problem or row
        except csv.Error as error:
            number = feed.number
            feed.put_back()
            yield number, f"it is no row: {error}"


def _header(feed: _Feed) -> tuple[list[str], str]:
    """Return the header and the delimiter: the one that spreadsheets announce, else the one that cuts it most."""
    for text in feed:
        feed.done()
        announced = text.strip().lower()
        if announced.startswith("sep=") and len(announced) == len("sep=") + 1:
            return _cut(next(feed, ""), announced[-1]), announced[-1]
        if text.strip():
            best = max(_DELIMITERS, key=lambda sign: len(_cut(text, sign)))
            return _cut(text, best), best
    return [], ","


def _named(header: list[str]) -> list[str]:
    """Return the header with a name of its own for each column, so that no cell hides behind another."""
    named: list[str] = []
    for place, name in enumerate(header, start=1):
        named.append(name if name and name not in named else f"{name or 'column'} ({place})")
    return named


def _cut(text: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _plain(header: str) -> str:
    return " ".join(header.lower().replace("_", " ").replace("-", " ").split())


def _roles(header: list[str], options: Options) -> dict[str, str]:
    """Return which header holds what; raise `BadLineError` where a named one is missing or none holds the input."""
    listed = ", ".join(map(repr, header))
    for role, name in options.columns.items():
        if name not in header:
            raise BadLineError(f"There is no column {name!r} for the {role}; the columns are {listed}.")
    known = {_plain(name): name for name in reversed(header)}
    roles = dict(options.columns)
    for role, names in ROLES.items():
        found = next((known[name] for name in names if name in known and known[name] not in roles.values()), None)
        if role not in roles and found is not None:
            roles[role] = found
    if "input" not in roles:
        raise BadLineError(f"No column holds the input; the columns are {listed}. Name one with --column input=HEADER.")
    return roles


def _cells(header: list[str], row: list[str] | str) -> dict[str, str]:
    if isinstance(row, str):
        raise BadLineError(row)
    while len(row) > len(header) and not row[-1].strip():
        row.pop()  # spreadsheets end rows with empty cells
    if len(row) > len(header) or (len(row) < len(header) and len(header) > 1 and len(row) == 1):
        raise BadLineError(f"it has {len(row)} cells where the header has {len(header)}")
    return dict(zip(header, row + [""] * (len(header) - len(row)), strict=True))


def _entry(file: str, line: int, cells: dict[str, str], roles: Mapping[str, str], options: Options) -> Entry:
    held = {role: cells[name].strip() for role, name in roles.items()}
    asked, answer = held["input"], held.get("output", "")
    if not asked and not answer:
        raise BadLineError("it has neither an input nor an output")
    name = fingerprint(cells)
    own_id = short(held.get("id")) or f"row-{name}"
    others = {key: text for key, text in cells.items() if key not in roles.values() and text.strip()}
    item: dict[str, Any] = {
        "id": own_id,
        "conversation": short(held.get("conversation")) or own_id,
        "subject": short(held.get("subject")),
        "started_at": _time(held.get("time", ""), options),
        "input": {"messages": [{"role": "user", "content": asked}] if asked else []},
        "output": {"text": answer},
        "attributes": {"imported_from": "csv", **({"columns": others} if others else {})},
    }
    return Entry(file, line, item, name, endings=_endings(held.get("outcome", ""), options))


def _time(text: str, options: Options) -> str | None:
    if not text or not options.time_format:
        return moment(
            float(text) if text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit() else text
        )
    try:
        parsed = datetime.strptime(text, options.time_format)  # noqa: DTZ007  # the zone is added below where it is none
    except ValueError as error:
        raise BadLineError(f"{text[:60]!r} is no time of the form {options.time_format!r}") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).isoformat()


def _endings(said: str, options: Options) -> tuple[Ending, ...]:
    """Return the end that a cell names: a known word, a word mapped by option, or a share from 0 to 1."""
    if not said:
        return ()
    source = options.outcome_source or "customer"
    word = options.outcomes.get(said, said)
    name = _WORDS.get(outcome_name(word), "")
    if name in RESOLUTIONS:
        return (Ending(name, source, reason="" if name == said else f"{said[:280]!r}"),)
    try:
        value = float(word.replace(",", "."))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadLineError(
            f"the outcome {said[:60]!r} is none we know; say what it means with --outcome '{said[:60]}=failed'"
        )
    return (Ending("resolved" if value >= options.success_at else "failed", source, reason=f"value {value:g}"),)
