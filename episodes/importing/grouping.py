"""Gathers parts that belong together from anywhere in large files, on disk instead of in memory."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple, Self

from episodes.importing.entries import Line

__all__ = ["Groups", "Part"]


class Part(NamedTuple):
    """One part of a group: what it is, where it stood, what it says."""

    kind: str
    file: str
    number: int
    value: dict[str, Any]


class Groups:
    """Parts by key, in the order in which each key was first seen. Use it as a context; its file goes with it."""

    def __enter__(self) -> Self:
        self._rows = sqlite3.connect("")  # an unnamed database lives in a temporary file that nobody else can open
        self._rows.execute("CREATE TABLE part (id INTEGER PRIMARY KEY, key TEXT, body TEXT)")
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def add(self, key: str, kind: str, where: Line | Any, value: dict[str, Any]) -> None:
        """Put a part into its group; `where` has the `file` and the `number` of its line."""
        # As JSON in ASCII, lone surrogates survive, which the database would refuse.
        body = json.dumps([kind, where.file, where.number, value])
        self._rows.execute("INSERT INTO part (key, body) VALUES (?, ?)", (json.dumps(key), body))

    def __iter__(self) -> Iterator[tuple[str, list[Part]]]:
        self._rows.execute("CREATE INDEX IF NOT EXISTS part_key ON part (key, id)")
        with closing(self._rows.execute("SELECT key FROM part GROUP BY key ORDER BY min(id)")) as keys:
            for (key,) in keys:
                bodies = self._rows.execute("SELECT body FROM part WHERE key = ? ORDER BY id", (key,))
                yield json.loads(key), [Part(*json.loads(body)) for (body,) in bodies]
