"""What happened to one row, readable: its earlier versions with their differences, and its events with their seals."""

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import models

from accounts.acting import Actor
from audit.models import Event
from audit.record import reference

__all__ = ["FieldChange", "TextLine", "Version", "events_about", "text_difference", "versions_of"]

_SHORT = 80
_CONTEXT = 2


@dataclass(frozen=True)
class TextLine:
    """One line of a difference: `same`, `added`, `removed`, or `skipped` for what was left out."""

    kind: str
    text: str


@dataclass(frozen=True)
class FieldChange:
    """One field that changed: short values side by side, long ones as lines."""

    name: str
    before: str
    after: str
    lines: tuple[TextLine, ...] = ()


@dataclass(frozen=True)
class Version:
    """One saved state of a row: when, by whom, why, and what differs from the state before."""

    at: datetime
    actor: str
    kind: str
    reason: str
    changes: tuple[FieldChange, ...]


_KINDS = {"+": "created", "~": "changed", "-": "deleted"}


def versions_of(row: models.Model, *, limit: int = 100) -> list[Version]:
    """Return the row's versions, newest first; empty where the model keeps no history (facts, immutable rows)."""
    manager: Any = getattr(row, "history", None)
    if manager is None:
        return []
    records = list(manager.order_by("-history_date", "-history_id")[: limit + 1])
    pairs = zip(records, [*records[1:], None], strict=True)
    return [_version(record, before) for record, before in list(pairs)[:limit]]


def _version(record: Any, before: Any) -> Version:
    return Version(
        at=record.history_date,
        actor=record.history_actor or "unknown",
        kind=_KINDS[record.history_type],
        reason=record.history_change_reason or "",
        changes=tuple(_changes(record, before)) if before is not None else (),
    )


def _changes(record: Any, before: Any) -> Iterator[FieldChange]:
    for field in record.tracked_fields:
        old, new = getattr(before, field.attname), getattr(record, field.attname)
        if old == new:
            continue
        name = str(getattr(field, "verbose_name", field.name)).capitalize()
        old_text, new_text = _shown(field, before, old), _shown(field, record, new)
        if max(len(old_text), len(new_text)) <= _SHORT and "\n" not in old_text + new_text:
            yield FieldChange(name, old_text, new_text)
        else:
            yield FieldChange(name, "", "", tuple(text_difference(old_text, new_text)))


def _shown(field: Any, record: Any, value: Any) -> str:
    if value is None or value == "":
        return "—"
    if isinstance(value, dict | list):
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    if field.is_relation:
        try:
            return str(getattr(record, field.name))
        except ObjectDoesNotExist:
            return str(value)
    if field.choices:
        return str(dict(field.flatchoices).get(value, value))
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def text_difference(before: str, after: str) -> Iterator[TextLine]:
    """Yield the lines that differ, with a little of what surrounds them."""
    old, new = before.splitlines(), after.splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for position, group in enumerate(matcher.get_grouped_opcodes(_CONTEXT)):
        if position:
            yield TextLine("skipped", "…")
        for kind, i1, i2, j1, j2 in group:
            if kind == "equal":
                yield from (TextLine("same", text) for text in old[i1:i2])
                continue
            yield from (TextLine("removed", text) for text in old[i1:i2])
            yield from (TextLine("added", text) for text in new[j1:j2])


def events_about(row: models.Model, actor: Actor, *, limit: int = 100) -> Iterable[Event]:
    """Return the row's events that `actor` may read, newest first, each with its seal where it has one."""
    return Event.objects.visible_to(actor).about(reference(row)).select_related("seal").order_by("-id")[:limit]
