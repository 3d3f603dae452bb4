"""Reads texts through the readers of importing, without a file and without a database."""

import json
from typing import Any

from episodes.importing.entries import BadLine, Entry, Line, Note, Options
from episodes.importing.formats import FORMATS

FILE = "export.jsonl"


def lines(*texts: str | bytes | Any, file: str = FILE) -> list[Line]:
    """Return numbered lines; what is neither text nor bytes is written as JSON."""
    made = []
    for number, text in enumerate(texts, start=1):
        data = text if isinstance(text, bytes) else (text if isinstance(text, str) else json.dumps(text)).encode()
        made.append(Line(file, number, data if data.endswith(b"\n") else data + b"\n"))
    return made


def read(format_name: str, *texts: Any, file: str = FILE, **options: Any) -> list[Entry | BadLine | Note]:
    return list(FORMATS[format_name].read(lines(*texts, file=file), Options(**options)))


def entry(format_name: str, *texts: Any, **options: Any) -> Entry:
    """Return the only thing that is read."""
    (one,) = read(format_name, *texts, **options)
    assert isinstance(one, Entry), one
    return one


def ends(one: Entry) -> list[tuple[str, str, float]]:
    return [(ending.name, ending.source, ending.value) for ending in one.endings]


def spoken(one: Entry) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in one.item["input"]["messages"]]


def acts(one: Entry) -> list[tuple[str, str]]:
    return [(step["kind"], step.get("name", "")) for step in one.item["steps"]]
