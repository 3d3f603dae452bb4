"""People say what the judge should have said: before they see what it said, and never of a change of their own."""

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError, NotPermittedError
from accounts.models import User
from accounts.roles import Permission
from audit.record import record
from episodes.models import Episode
from evals.exceptions import OwnChangeError
from evals.judges.material import Item
from evals.judges.measuring import measure
from evals.judges.rubric import read_rubric
from evals.models import JudgeLabel, JudgeRubric, JudgeVerdict, Result
from evals.scoring import RUBRIC
from evals.secrecy import ExamReader

__all__ = ["AlreadyLabeledError", "BadLabelError", "Labeled", "as_uuid", "authorized", "check_item", "item_of", "label"]


class AlreadyLabeledError(DomainError):
    """A person labels an item once."""

    code = "already_labeled"


class BadLabelError(DomainError):
    """A label of nothing that this rubric judges."""

    code = "bad_label"
    http_status = 422


@dataclass(frozen=True)
class Labeled:
    """A label, and what the judge had said: `None` where no judge was asked."""

    label: JudgeLabel
    verdict: JudgeVerdict | None

    @property
    def agrees(self) -> bool | None:
        return None if self.verdict is None else self.verdict.grade == self.label.grade


@transaction.atomic
def label(row: JudgeRubric, item: Item, *, grade: int | str | bool, by: Actor, note: str = "") -> Labeled:
    """Write down what a person says of an item, measure the judges that graded it, and only then tell what they said.

    A label is final: whoever has seen the verdict is no independent witness any more.
    """
    person = authorized(row, by)
    check_item(row, item, by, ExamReader(by))
    place = {"result": item} if isinstance(item, Result) else {"episode": item}
    fields = {
        "grade": row.rubric.grade_of(grade), "note": note, "labeled_by": person, "is_simulated": person.is_simulated,
    }  # fmt: skip
    made, is_new = JudgeLabel.objects.get_or_create(
        rubric=row, labeled_by_name=person.username, **place, defaults=fields
    )
    if not is_new:
        raise AlreadyLabeledError(f"{person} has labeled this by {row} already, and a label is not taken back.")
    with acting(by):
        record("judgelabel.write", made, digest=row.digest, team_id=row.agent.team_id)
    verdicts = list(JudgeVerdict.objects.filter(rubric=row, **place).select_related("rubric").order_by("-pk"))
    for verdict in verdicts:
        measure(row, verdict.judge_digest, by=by)
    return Labeled(made, verdicts[0] if verdicts else None)


def item_of(row: JudgeRubric, *, result: UUID | None = None, episode: UUID | None = None) -> Item:
    """Return the item that a request names, of the rubric's agent only."""
    if (result is None) == (episode is None):
        raise BadLabelError("Name one item: either 'result' or 'episode'.")
    found: Result | Episode | None = None
    if result is not None:
        results = Result.objects.select_related("run_case__case__benchmark__agent", "run__proposal")
        found = results.filter(pk=result, run__agent_id=row.agent_id).first()
    if episode is not None:
        found = Episode.objects.filter(pk=episode, agent_id=row.agent_id).first()
    if found is None:
        raise BadLabelError(f"Agent {row.agent.slug!r} has no such item: {result or episode}.")
    return found


def as_uuid(value: object) -> UUID | None:
    """Return the id that a value spells, `None` where it spells none."""
    try:
        return UUID(str(value))
    except ValueError:
        return None


def authorized(row: JudgeRubric, by: Actor) -> User:
    """Return the person who labels, a key's owner for a key; raise `NotPermittedError` for whoever may not."""
    act = f"label by {row}"
    if by.user_id is None:
        raise NotPermittedError(f"{by.name} may not {act}: labels are what people say.")
    require(by, Permission.LABEL_RESULT, row.access_scope(), act=act)
    person: User = User.objects.get(pk=by.user_id)
    return person


def check_item(row: JudgeRubric, item: Item, by: Actor, reader: ExamReader) -> None:
    """Refuse items that the rubric does not judge, exams that `by` may not read, and changes that `by` wrote."""
    if isinstance(item, Episode):
        return
    expected = item.run_case.expectations.get(RUBRIC)
    if expected is None or read_rubric(expected).digest != row.digest or item.crashed or item.dropped:
        raise BadLabelError(f"{row} does not judge this result.")
    if not reader.reads(item.run_case.case.benchmark, item.run_case.split):
        raise NotPermittedError(
            f"{by.name} may not label this result: it belongs to the exam, which only those with 'read_exam' see. Label "
            "episodes instead."
        )
    proposal = item.run.proposal
    if proposal is not None and by.user_id in proposal.author_ids():
        raise OwnChangeError(f"{by.name} wrote {proposal} and cannot label its results: ask somebody else.")
