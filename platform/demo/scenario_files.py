"""Read the plain files of a scenario so that every refusal names file and line. Pure: paths in, plain values out."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

__all__ = [
    "Config",
    "ScenarioError",
    "front_matter",
    "line_of",
    "read",
    "read_json",
    "read_json_object",
    "refuse",
]


class ScenarioError(ValueError):
    """A scenario folder that cannot be played; the message names file, line and remedy."""


class Config:
    """`scenario.toml`, or nothing; refusals carry the line of the key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = read(path) if path.is_file() else ""
        self.data = _toml(path, self.source)

    def section(self, name: str) -> dict[str, Any]:
        """Return a section, empty when absent."""
        section = self.data.get(name, {})
        if not isinstance(section, dict):
            self.refuse(name, f"[{name}] must be a table")
        return section

    def table(self, section: str, key: str) -> dict[str, Any]:
        """Return a table inside a section, empty when absent."""
        table = self.section(section).get(key, {})
        if not isinstance(table, dict):
            self.refuse(key, f"[{section}.{key}] must be a table")
        return table

    def text(self, key: str, default: str) -> str:
        """Return a text of the top level, or the default."""
        value = self.data.get(key, default)
        if not isinstance(value, str) or not value:
            self.refuse(key, f"{key} must be a non-empty text, not {value!r}")
        return value

    def refuse(self, key: str, message: str) -> NoReturn:
        """Refuse, naming the line where `key` first stands."""
        refuse(self.path, line_of(self.source, key), message)


def refuse(path: Path, line: int, message: str) -> NoReturn:
    """Raise `ScenarioError` for a line of a file."""
    raise ScenarioError(f"{path}:{line}: {message}.")


def read(path: Path) -> str:
    """Return a UTF-8 file's text, without the byte order mark that spreadsheets add."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ScenarioError(f"{path}:{line}: not UTF-8. Save the file as UTF-8.") from error


def line_of(source: str, needle: str) -> int:
    """Return the line where `needle` first stands; 1 when it does not."""
    position = source.find(needle)
    return source.count("\n", 0, position) + 1 if position >= 0 else 1


def _toml(path: Path, source: str, first_line: int = 1) -> dict[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        # Python 3.12 and 3.13 give the line only inside the message.
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else source.count("\n") + 1
        raise ScenarioError(f"{path}:{line + first_line - 1}: not TOML: {error}.") from error


def read_json(path: Path) -> Any:
    """Return a file's JSON value."""
    try:
        return json.loads(read(path))
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{path}:{error.lineno}: not JSON: {error.msg}.") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; refuse other values."""
    value = read_json(path)
    if not isinstance(value, dict):
        refuse(path, 1, "must hold one JSON object")
    return value


def front_matter(path: Path, source: str) -> tuple[dict[str, Any], str]:
    """Return (TOML between the `---` lines at the top, checked; the text below); ({}, source) without any."""
    if not source.startswith("---\n"):
        return {}, source
    head, closed, text = source[4:].partition("\n---\n")
    if not closed:
        refuse(path, 1, "the front matter is not closed; end it with a line '---'")
    front = _toml(path, head, first_line=2)
    kinds = {"title": str, "facts": list, "tags": list, "tool": str, "handoff_ok": bool}
    for key, value in front.items():
        line = line_of(head, key) + 1
        if key not in kinds:
            refuse(path, line, f"unknown key {key!r}; the keys are {', '.join(kinds)}")
        texts = value if isinstance(value, list) else []
        if not isinstance(value, kinds[key]) or not all(isinstance(item, str) and item for item in texts):
            refuse(path, line, f"{key} has the wrong type; see the folder format")
    return front, text
