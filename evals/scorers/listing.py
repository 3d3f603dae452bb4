"""The registry as people read it: rows, a table for the docs, a schema for the API. `python -m evals.scorers` prints the table."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from evals.scorers.registry import SCORERS

__all__ = ["Row", "as_markdown", "as_openapi", "rows"]


class Row(NamedTuple):
    """One expectation: its name, what it checks, and how it is written."""

    name: str
    checks: str
    example: str


def rows() -> Iterator[Row]:
    """Yield a row for every scorer, in the order in which reasons are given."""
    for scorer in SCORERS.values():
        example = json.dumps({scorer.name: scorer.example}, ensure_ascii=False)
        yield Row(scorer.name, scorer.checks, example)


def as_markdown() -> str:
    """Return the table of the docs."""
    lines = ["| expectation | what it checks | for example |", "|---|---|---|"]
    lines += [f"| `{row.name}` | {_cell(row.checks)} | `{_cell(row.example)}` |" for row in rows()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def as_openapi() -> dict[str, Any]:
    """Return the schema of a case's expectations, in what OpenAPI 3.0 reads."""
    properties = {
        scorer.name: {**scorer.shape, "description": scorer.checks, "example": scorer.example}
        for scorer in SCORERS.values()
    }
    accepts = {
        "type": "boolean", "description": "A hand-off is as good as meeting the others, but for what must not be said or done.",
    }  # fmt: skip
    return {
        "type": "object",
        "description": "What must hold of the reply: one or more of these, each of which must be met in full.",
        "properties": {**properties, "accepts_handoff": accepts},
        "example": {"contains": SCORERS["contains"].example},
    }
