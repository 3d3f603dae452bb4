"""Give every bench one shape: a table for people, a JSON file for machines, an exit code for the shell."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

__all__ = ["Bar", "Bench"]

BENCHES = Path(__file__).resolve().parents[2] / ".whetstone" / "bench"

# Wide enough that a table in a log file is not folded into unreadable columns.
_console = Console(width=None if sys.stdout.isatty() else 140)


@dataclass(frozen=True, slots=True)
class Bar:
    """What a key must reach: `"<="` or `">="` the limit."""

    key: str
    direction: Literal["<=", ">="]
    limit: float

    def is_met_by(self, value: float | None) -> bool:
        """Return whether a measured value reaches the bar; a value that could not be measured does not."""
        if value is None:
            return False
        return value <= self.limit if self.direction == "<=" else value >= self.limit


@dataclass
class Bench:
    """One measurement under way: collect rows and keys, then `finish` it.

    The file holds the keys at its top level, beside `bench`, `seconds`, `settings` (what the run was started with),
    `bars` (limit, value, met) and `rows` (the tables, as printed).
    """

    name: str
    bars: Sequence[Bar] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _started: float = field(default_factory=monotonic)

    def say(self, line: str) -> None:
        """Print a line of progress with the seconds since the start."""
        _console.print(f"[dim]{monotonic() - self._started:6.0f} s[/dim]  {line}", highlight=False)

    @contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Announce a part of the work and say how long it took."""
        started = monotonic()
        self.say(title)
        yield
        self.say(f"{title}: {monotonic() - started:.1f} s")

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print rows (all with the keys of the first) as a table and keep them for the file."""
        self.rows[title] = [dict(row) for row in rows]
        shown = Table(title=title, title_justify="left")
        for name in rows[0] if rows else ():
            shown.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
        for row in rows:
            shown.add_row(*(_cell(row.get(name)) for name in rows[0]))
        _console.print(shown)

    def finish(self) -> int:
        """Print keys against bars, write the file, and return 0 when every bar is met, else 1."""
        met = {bar.key: bar.is_met_by(self.keys.get(bar.key)) for bar in self.bars}
        shown = Table(title=f"bench-{self.name}", title_justify="left")
        for column in ("key", "value", "bar", ""):
            shown.add_column(column, justify="right" if column == "value" else "left")
        limits = {bar.key: f"{bar.direction} {bar.limit:g}" for bar in self.bars}
        for key, value in self.keys.items():
            state = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[met.get(key)]
            shown.add_row(key, _cell(value), limits.get(key, ""), state)
        _console.print(shown)
        BENCHES.mkdir(parents=True, exist_ok=True)
        path = BENCHES / f"{self.name}.json"
        content = self.keys | {
            "bench": self.name,
            "seconds": round(monotonic() - self._started, 1),
            "settings": dict(self.settings),
            "bars": [
                {"key": bar.key, "direction": bar.direction, "limit": bar.limit, "value": self.keys.get(bar.key),
                 "met": met[bar.key]}
                for bar in self.bars
            ],
            "rows": self.rows,
        }  # fmt: skip
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        missed = [key for key, reached in met.items() if not reached]
        self.say(f"wrote {path}")
        if missed:
            self.say(f"[red]missed: {', '.join(missed)}[/red]")
        return 1 if missed else 0


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if value else "0"
    return "" if value is None else str(value)
