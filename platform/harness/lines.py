"""A document as lines a person can read, the difference of two documents in those lines, and its size.

The lines are the canonical text pretty-printed: two spaces of indentation, sorted names, a comma after every member (so
that adding a last one changes one line, not two), long texts broken after newlines and at 100 columns. A replaced line
counts once. Each line knows the path it belongs to, so equal braces of different items are never taken for one another.
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from harness.canonical import Json, JsonObject

__all__ = ["COLUMNS", "DiffLine", "Line", "Overrun", "over_budget", "pretty", "readable_diff", "size", "sizes"]

COLUMNS = 100
_MAX_COMPARISONS = 2_000_000


class Line(NamedTuple):
    """One printed line and the path of the member it belongs to."""

    path: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class DiffLine:
    """One line of a difference. `skipped` stands for the unchanged lines left out; its text says how many."""

    kind: Literal["same", "added", "removed", "skipped"]
    text: str


@dataclass(frozen=True)
class Overrun:
    """A part of the document in which a change is larger than it may be; sizes in lines."""

    part: str
    size: int
    budget: int


def pretty(document: JsonObject) -> list[Line]:
    """Return the document's lines."""
    return [Line((), "{"), *_members(document, (), 1), Line((), "}")]


def readable_diff(base: JsonObject, target: JsonObject, *, context: int | None = 3) -> list[DiffLine]:
    """Return the difference line by line, with `context` unchanged lines around each change (None: all of them).

    Equal documents give an empty list. Texts are data: whoever shows them escapes them.
    """
    old, new = pretty(base), pretty(target)
    if old == new:
        return []
    lines: list[DiffLine] = []
    steps = _steps(old, new)
    for index, (kind, i1, i2, j1, j2) in enumerate(steps):
        if kind == "equal":
            lines += _unchanged(old[i1:i2], context, is_first=index == 0, is_last=index == len(steps) - 1)
            continue
        lines += [DiffLine("removed", line.text) for line in old[i1:i2]]
        lines += [DiffLine("added", line.text) for line in new[j1:j2]]
    return lines


def size(base: JsonObject, target: JsonObject) -> int:
    """Return the number of changed lines, the same in both directions; 0 exactly when the documents are equal."""
    return sum(sizes(base, target).values())


def sizes(base: JsonObject, target: JsonObject) -> dict[str, int]:
    """Return the changed lines of each part that has a budget of its own.

    Parts are the layers, with `context.documents` apart from the rest of `context`, and `tools.code` (a tool's code and
    tests) apart from the rest of `tools`.
    """
    old, new = pretty(base), pretty(target)
    total: Counter[str] = Counter()
    for kind, i1, i2, j1, j2 in _steps(old, new):
        if kind != "equal":
            # The larger of both sides: a replaced line is one changed line. `|` takes the maximum of each part.
            total += Counter(_part(line) for line in old[i1:i2]) | Counter(_part(line) for line in new[j1:j2])
    return dict(total)


def over_budget(base: JsonObject, target: JsonObject, budgets: Mapping[str, int]) -> list[Overrun]:
    """Return the parts whose change exceeds their budget in lines; a part without a budget allows none."""
    measured = sizes(base, target)
    return [
        Overrun(part, lines, budgets.get(part, 0))
        for part, lines in sorted(measured.items())
        if lines > budgets.get(part, 0)
    ]


type _Step = tuple[str, int, int, int, int]


def _part(line: Line) -> str:
    match line.path:
        case ("context", "documents", *_):
            return "context.documents"
        case ("tools", _, "code" | "tests", *_):
            return "tools.code"
        case (layer, *_):
            return layer
    return ""


def _members(value: JsonObject, path: tuple[str, ...], depth: int) -> Iterator[Line]:
    for name in sorted(value):
        yield from _printed(value[name], (*path, name), depth, f"{_quoted(name)}: ")


def _printed(value: Json, path: tuple[str, ...], depth: int, label: str) -> Iterator[Line]:
    indent = "  " * depth
    match value:
        case dict():
            # Also when empty, so that the first member of a collection costs as much as the second.
            yield Line(path, f"{indent}{label}{{")
            yield from _members(value, path, depth + 1)
            yield Line(path, f"{indent}}},")
        case list() if value:
            yield Line(path, f"{indent}{label}[")
            for item in value:
                yield from _printed(item, path, depth + 1, "")
            yield Line(path, f"{indent}],")
        case str() if len(value) > COLUMNS or "\n" in value[:-1]:
            yield Line(path, f'{indent}{label}"')
            for piece in _pieces(value):
                yield Line(path, f"{indent}  {_quoted(piece)[1:-1]}")
            yield Line(path, f'{indent}",')
        case _:
            yield Line(path, f"{indent}{label}{json.dumps(value, ensure_ascii=False)},")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _pieces(text: str) -> Iterator[str]:
    """Cut a text after its newlines and, within a line, after the last space that fits; the pieces join to the text."""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        start = 0
        while len(line.removesuffix("\n")) - start > COLUMNS:
            cut = line.rfind(" ", start, start + COLUMNS) + 1 or start + COLUMNS
            yield line[start:cut]
            start = cut
        yield line[start:]


def _steps(old: list[Line], new: list[Line]) -> list[_Step]:
    """Return difflib's opcodes from old to new, computed in one fixed direction so that they mirror exactly."""
    if new < old:
        mirror = {"insert": "delete", "delete": "insert"}
        return [(mirror.get(kind, kind), j1, j2, i1, i2) for kind, i1, i2, j1, j2 in _steps(new, old)]
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    middle = _compare(old[start : len(old) - end], new[start : len(new) - end])
    steps: list[_Step] = [("equal", 0, start, 0, start)] if start else []
    steps += [(kind, i1 + start, i2 + start, j1 + start, j2 + start) for kind, i1, i2, j1, j2 in middle]
    if end:
        steps.append(("equal", len(old) - end, len(old), len(new) - end, len(new)))
    return steps


def _compare(old: list[Line], new: list[Line]) -> list[_Step]:
    if not old and not new:
        return []
    counts = Counter(new)
    if sum(counts[line] for line in old) > _MAX_COMPARISONS:
        # Thousands of equal lines would take minutes to align, and such a change is beyond every budget anyway.
        return [("replace", 0, len(old), 0, len(new))]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [(kind, i1, i2, j1, j2) for kind, i1, i2, j1, j2 in matcher.get_opcodes()]


def _unchanged(lines: list[Line], context: int | None, *, is_first: bool, is_last: bool) -> Iterator[DiffLine]:
    head = 0 if is_first else context
    tail = 0 if is_last else context
    if context is None or head is None or tail is None or len(lines) <= head + tail + 1:
        yield from (DiffLine("same", line.text) for line in lines)
        return
    yield from (DiffLine("same", line.text) for line in lines[:head])
    yield DiffLine("skipped", f"{len(lines) - head - tail} unchanged lines")
    yield from (DiffLine("same", line.text) for line in lines[len(lines) - tail :])
