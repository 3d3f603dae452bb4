"""Where a tool's result comes from: the live backend over HTTP, or what was recorded of it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import httpx

from demo.agent.arguments import digits, resource

__all__ = ["LiveTools", "RecordedTools", "ToolResult", "Tools"]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's row, or the reason why there is none."""

    row: Mapping[str, Any] | None
    error: str | None
    latency_ms: float


class Tools(Protocol):
    """Something that answers a tool call; it never raises for a refused or failed call."""

    def call(self, name: str, arguments: Mapping[str, str]) -> ToolResult:
        """Call the tool; the first argument is the id of the row."""
        ...


@dataclass(frozen=True, slots=True)
class LiveTools:
    """The shop's own backend, `GET /<resource>/<id>`."""

    http: httpx.Client

    @classmethod
    def at(cls, base_url: str) -> Self:
        """Return the tools behind a backend's root URL."""
        return cls(httpx.Client(base_url=base_url, timeout=5.0, trust_env=False))

    def call(self, name: str, arguments: Mapping[str, str]) -> ToolResult:
        """Ask the backend; a refusal or an unreachable backend is an error result."""
        started = time.perf_counter()
        row, error = None, None
        try:
            answer = self.http.get(f"/{resource(name)}/{_row_id(arguments)}")
            body = answer.json()
            if answer.is_success:
                row = body
            else:
                error = str(body.get("error") or f"HTTP {answer.status_code}")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        return ToolResult(row, error, _since(started))


@dataclass(frozen=True, slots=True)
class RecordedTools:
    """Results kept from earlier calls: `{tool: {digits of the id: row}}`."""

    recordings: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recordings file; ids are reduced to their digits."""
        tools = json.loads(path.read_text(encoding="utf-8"))
        return cls({tool: {digits(row_id): row for row_id, row in rows.items()} for tool, rows in tools.items()})

    def call(self, name: str, arguments: Mapping[str, str]) -> ToolResult:
        """Return the recorded row; what was never recorded is an error result."""
        started = time.perf_counter()
        wanted = _row_id(arguments)
        row = self.recordings.get(name, {}).get(digits(wanted))
        return ToolResult(row, None if row else f"no recorded result for {wanted!r}", _since(started))


def _row_id(arguments: Mapping[str, str]) -> str:
    return next(iter(arguments.values()), "")


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
