"""Take in labels that people gave elsewhere, before they knew the verdict: all of them or none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts.acting import Actor, acting
from audit.record import record
from episodes.models import Episode
from evals.judges.labeling import BadLabelError, as_uuid, authorized, check_item
from evals.judges.measuring import measure
from evals.judges.rubric import BadRubricError
from evals.models import JudgeLabel, JudgeRubric, JudgeVerdict, Result
from evals.secrecy import ExamReader

__all__ = ["Imported", "import_labels"]

_MAX_NAME = 200
_MAX_NOTE = 4_000
_FIELDS = ("result", "episode", "grade", "by", "note")


@dataclass(frozen=True)
class Imported:
    """How many labels were new, and how many were there before."""

    added: int
    known: int


@dataclass(frozen=True)
class _Line:
    """One label as it was read: which item it names, by whom, and what it says."""

    result: UUID | None
    episode: str
    grade: int
    name: str
    note: str


@transaction.atomic
def import_labels(row: JudgeRubric, lines: Iterable[object], *, by: Actor) -> Imported:
    """Write labels down and measure the judges of the rubric; those that are there already count once.

    Each line names its item, `{"result": id}` or `{"episode": id or the agent's own id}`, its `grade`, and may name who
    gave it (`by`, else the importing person) and a `note`. Whoever imports them answers for their having been blind.
    """
    person = authorized(row, by)
    read = [_numbered(number, row, line, person.username) for number, line in enumerate(lines, start=1)]
    results, episodes = _results(row, read), _episodes(row, read)
    reader = ExamReader(by)
    rows: dict[tuple[UUID, str], JudgeLabel] = {}
    for number, line in enumerate(read, start=1):
        item = results.get(line.result) if line.result is not None else episodes.get(line.episode)
        if item is None:
            raise BadLabelError(f"Label {number}: agent {row.agent.slug!r} has no such item.")
        try:
            check_item(row, item, by, reader)
        except BadLabelError as error:
            raise BadLabelError(f"Label {number}: {error}") from error
        place = {"result": item} if isinstance(item, Result) else {"episode": item}
        made = JudgeLabel(
            rubric=row, grade=line.grade, note=line.note, source=JudgeLabel.Source.IMPORT, labeled_by=person,
            labeled_by_name=line.name, is_simulated=person.is_simulated, **place,
        )  # fmt: skip
        rows.setdefault((item.pk, line.name), made)
    before = JudgeLabel.objects.filter(rubric=row).count()
    JudgeLabel.objects.bulk_create(rows.values(), ignore_conflicts=True)
    added = JudgeLabel.objects.filter(rubric=row).count() - before
    with acting(by):
        facts = {"added": added, "known": len(read) - added}
        record("judgerubric.import_labels", row, digest=row.digest, team_id=row.agent.team_id, facts=facts)
    for digest in JudgeVerdict.objects.filter(rubric=row).order_by().values_list("judge_digest", flat=True).distinct():
        measure(row, digest, by=by)
    return Imported(added, len(read) - added)


def _numbered(number: int, row: JudgeRubric, line: object, name: str) -> _Line:
    try:
        return _read(row, line, name)
    except (BadLabelError, BadRubricError) as error:
        raise BadLabelError(f"Label {number}: {error}") from error


def _read(row: JudgeRubric, line: object, name: str) -> _Line:
    if not isinstance(line, Mapping):
        raise BadLabelError("it is no JSON object; write one a line.")
    if unknown := sorted(set(map(str, line)) - set(_FIELDS)):
        raise BadLabelError(f"it has unknown fields {unknown[:5]!r}; allowed are {', '.join(_FIELDS)}.")
    result, episode = line.get("result"), line.get("episode")
    if (result is None) == (episode is None):
        raise BadLabelError("name one item: either 'result' or 'episode'.")
    key = None if result is None else as_uuid(result)
    if result is not None and key is None:
        raise BadLabelError(f"{str(result)[:80]!r} is no id of a result.")
    return _Line(
        result=key, episode="" if episode is None else _text(line, "episode", _MAX_NAME),
        grade=row.rubric.grade_of(line.get("grade")), name=_text(line, "by", _MAX_NAME) or name,
        note=_text(line, "note", _MAX_NOTE),
    )  # fmt: skip


def _text(line: Mapping[Any, Any], name: str, most: int) -> str:
    """Return an optional text of a line; empty where it has none."""
    value = line.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value.strip() or len(value) > most or "\x00" in value:
        raise BadLabelError(f"its {name!r} must be a text of 1 to {most} characters without NUL.")
    return value


def _results(row: JudgeRubric, lines: Sequence[_Line]) -> dict[UUID, Result]:
    wanted = {line.result for line in lines if line.result is not None}
    rows = Result.objects.filter(pk__in=wanted, run__agent_id=row.agent_id).defer("output", "steps")
    return {one.pk: one for one in rows.select_related("run_case__case__benchmark__agent", "run__proposal")}


def _episodes(row: JudgeRubric, lines: Sequence[_Line]) -> dict[str, Episode]:
    """Return the named episodes under either of their names."""
    names = {line.episode for line in lines if line.episode}
    ids = {key for name in names if (key := as_uuid(name)) is not None}
    rows = Episode.objects.filter(Q(external_id__in=names) | Q(pk__in=ids), agent_id=row.agent_id)
    found = {one.external_id: one for one in rows.only("external_id")}
    return found | {name: one for one in found.values() for name in names if as_uuid(name) == one.pk}
