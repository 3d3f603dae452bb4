"""Read verdicts of judges beside people's labels from JSONL files, whoever recorded them. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accounts.exceptions import DomainError
from evals.judges.agreement import Comparison
from evals.judges.rubric import BadRubricError, Rubric

__all__ = ["ALL", "BadRecordError", "Fields", "Group", "Recorded", "grouped", "read_lines"]

ALL = "all"
_MAX_LINE_CHARACTERS = 4_000_000


class BadRecordError(DomainError):
    """A line that does not say what a judge and a person said of one item."""

    code = "bad_record"
    http_status = 422


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a line holds what. `judge` may name several, joined by a comma; `arm` may be empty: no arms.

    Lines of one `cluster` are not independent; a line without that field is a cluster of its own.
    """

    label: str = "success"
    verdict: str = "verdict_norm"
    group: str = "domain"
    judge: str = "judge_model,judge_prompt_name"
    item: str = "simulation_id"
    cluster: str = "task_id"
    arm: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line: what a person and one judge said of an item of a group."""

    group: str
    judge: str
    item: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Group:
    """Everything one judge said of one group, or of all of them together."""

    group: str
    judge: str
    comparisons: tuple[Comparison, ...]


def read_lines(lines: Iterable[str], *, name: str, fields: Fields, rubric: Rubric) -> Iterator[Recorded]:
    """Yield what the lines say; empty ones are passed over. Raises `BadRecordError` naming file, line and what is wrong."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield _read(line, f"{name}:{number}", fields, rubric)
        except (BadRecordError, BadRubricError) as error:
            raise BadRecordError(f"{name}:{number}: {error}") from error


def _read(line: str, place: str, fields: Fields, rubric: Rubric) -> Recorded:
    if len(line) > _MAX_LINE_CHARACTERS:
        raise BadRecordError(f"the line has {len(line)} characters; at most {_MAX_LINE_CHARACTERS} are read.")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRecordError(f"the line is no JSON ({type(error).__name__}); write one object a line.") from error
    if not isinstance(row, dict):
        raise BadRecordError("the line is no JSON object; write one object a line.")
    group = _text(row, fields.group) if fields.group else ALL
    item = _text(row, fields.item) if fields.item else place
    comparison = Comparison(
        label=rubric.grade_of(_value(row, fields.label)),
        verdict=rubric.grade_of(_value(row, fields.verdict)),
        # Groups are read together too, and what they name alike need not be the same task.
        cluster=json.dumps([group, str(row[fields.cluster])]) if row.get(fields.cluster) is not None else place,
        arm=_text(row, fields.arm) if fields.arm else "",
    )
    return Recorded(group, " / ".join(_text(row, name.strip()) for name in fields.judge.split(",")), item, comparison)


def _value(row: Mapping[str, Any], name: str) -> Any:
    if row.get(name) is None:
        raise BadRecordError(
            f"the line has no {name!r}; it has {', '.join(sorted(map(str, row))[:12])}. Name the field."
        )
    return row[name]


def _text(row: Mapping[str, Any], name: str) -> str:
    return str(_value(row, name))


def grouped(records: Iterable[Recorded]) -> list[Group]:
    """Return each judge's groups in order and, where it has several, all of them together at the end.

    Raises `BadRecordError` where a judge's verdict on one item is there twice: it would count as two labels.
    """
    found: dict[str, dict[str, dict[str, Comparison]]] = {}
    for record in records:
        items = found.setdefault(record.judge, {}).setdefault(record.group, {})
        if record.item in items:
            raise BadRecordError(
                f"{record.judge!r} has two verdicts on {record.item!r} of {record.group!r}: an item is labeled once. "
                "Name the field that tells items apart, or leave out the repetition."
            )
        items[record.item] = record.comparison
    groups = []
    for judge, by_group in sorted(found.items()):
        groups += [Group(name, judge, tuple(items.values())) for name, items in sorted(by_group.items())]
        if len(by_group) > 1:
            every = tuple(comparison for items in by_group.values() for comparison in items.values())
            groups.append(Group(ALL, judge, every))
    return groups
