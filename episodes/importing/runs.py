"""What a reader makes of one recorded line: an episode, how it ended, and the harness it ran on. Pure."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BadLineError", "Material", "Reader", "Run", "document_of", "short", "text_of"]

_MAX_ID = 200


class BadLineError(Exception):
    """A line that is no recorded run; the sentence says what is missing."""


@dataclass(frozen=True)
class Run:
    """One recorded run, ready to be captured. `end` is empty when the record does not say how it ended."""

    domain: str
    item: dict[str, Any]
    document: dict[str, Any]
    end: str = ""
    end_reason: str = ""


@dataclass
class Material:
    """The policy and tools files that lie beside a data file, read once each."""

    data_file: Path
    missing: set[str] = field(default_factory=set)
    _texts: dict[str, str] = field(default_factory=dict)

    def text(self, relative: str) -> str:
        """Return a file's text, looked for beside the data file and one folder up; empty and noted when there is none."""
        if relative not in self._texts:
            folders = (self.data_file.parent, self.data_file.parent.parent)
            path = next((folder / relative for folder in folders if (folder / relative).is_file()), None)
            if path is None:
                self.missing.add(relative)
            self._texts[relative] = path.read_text(encoding="utf-8") if path else ""
        return self._texts[relative]

    def json(self, relative: str) -> Any:
        """Return a file's JSON; `None` when there is no such file or it is not JSON."""
        text = self.text(relative)
        try:
            return json.loads(text) if text else None
        except ValueError:
            self.missing.add(relative)
            return None


type Reader = Callable[[Mapping[str, Any], Material], Run]


def text_of(row: Mapping[str, Any], name: str) -> str:
    """Return a text the row must have; raise `BadLineError` when it has none."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadLineError(f"{name!r} is missing or no text")
    return value.strip()


def short(text: str) -> str:
    """Return an id of at most 200 characters; a longer one keeps its head and the digest of the whole."""
    if len(text) <= _MAX_ID:
        return text
    return f"{text[:170]}…{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def document_of(*, policy: str, tools: Mapping[str, Any], model: str, variant: str) -> dict[str, Any]:
    """Return the harness document of a recorded agent: its policy, its tools, its model, and which variant it was."""
    return {
        "prompt": {"system": policy, "rules": {}, "examples": {}},
        "tools": {
            name: {"description": str(tool.get("description", "")), "parameters": tool.get("parameters", {}), "settings": {}, "enabled": True}
            for name, tool in tools.items()
        },
        "workflow": {"settings": {"variant": variant}},
        "model": {"name": model, "parameters": {}},
    }  # fmt: skip
