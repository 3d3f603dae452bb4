"""What whoever plays a run elsewhere may do: fetch its cases, post results, close it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts.access import require
from accounts.acting import MACHINE, Actor, acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError
from audit.record import record
from evals.exceptions import ExternalRunError, OwnChangeError
from evals.external.items import ItemError, PostedTrial, read_item
from evals.external.jobs import judge_posted
from evals.external.permitting import ids_among, refuse_batch, refuse_player, refuse_reader
from evals.external.reading import result_of
from evals.freezing import begin_run
from evals.models import Result, Run, RunCase
from jobs.tasks import enqueue
from proposals.models import Proposal

__all__ = ["Posted", "cases_to_play", "close", "open_validation", "post_results"]


@dataclass(frozen=True)
class Posted:
    """What became of a batch. `rejected` names items by their index and why; `missing` counts results still owed."""

    accepted: int
    known: int
    rejected: tuple[dict[str, Any], ...]
    missing: int


def open_validation(proposal: Proposal, *, by: Actor, reason: str) -> Run:
    """Begin the run that validates a proposal, to be played elsewhere; it takes the agent's validation slot."""
    require(by, Permission.START_RUN, proposal.access_scope(), act=f"validate {proposal}")
    return begin_run(proposal, by=by, reason=reason or "played elsewhere", runner=Run.Runner.EXTERNAL)


def cases_to_play(run: Run, *, by: Actor) -> Any:
    """Return the frozen cases of the run, of which whoever plays them gets messages and user state and no more.

    An agent's key gets them as the agent itself would; a person reads the exam, which is recorded.
    """
    _refuse_playing(run, by)
    rows = run.run_cases.order_by("pk")
    refuse_reader(run.benchmark, rows.order_by().values_list("split", flat=True).distinct(), by)
    return rows


def post_results(run: Run, items: Sequence[object], *, by: Actor) -> Posted:
    """Store what came of cases of the run: good items are kept, bad ones named, and what is known already stays.

    A result is known by its case, arm and trial, so that a batch may be sent again. When the last one is in, the run is
    judged; a winner's hold-out is frozen then, and owed too.
    """
    _refuse_playing(run, by)
    refuse_batch(items)
    rows = {str(row.pk): row for row in run.run_cases.filter(pk__in=ids_among(items))}
    rejected: list[dict[str, Any]] = []
    results: dict[tuple[UUID, str, int], Result] = {}
    for index, item in enumerate(items):
        try:
            result = _read(run, item, rows)
        except (ItemError, DomainError) as error:
            rejected.append({"index": index, "reason": str(error)[:1_000]})
        else:
            results.setdefault((result.run_case_id, result.arm, result.trial), result)
    accepted = _store(run, results)
    missing = _num_missing(run)
    if not missing:
        enqueue(judge_posted, str(run.pk), key=str(run.pk))
    return Posted(accepted, len(items) - len(rejected) - accepted, tuple(rejected), missing)


def close(run: Run, *, by: Actor, reason: str) -> str:
    """End the playing: what is still missing counts as lost to infrastructure, and the run is judged as it is."""
    require(by, Permission.START_RUN, run.access_scope(), act=f"close {run}")
    _refuse_author(run, by)
    _refuse_ended(run)
    if not reason.strip():
        raise ReasonMissingError(f"Say why you close {run}: the record needs it.")
    with transaction.atomic(), acting(by, reason=reason):
        lost = list(_missing(run))
        _store(run, {(one.run_case_id, one.arm, one.trial): one for one in lost})
        record("run.close", run, digest=run.audit_digest(), team_id=run.agent.team_id, facts={"missing": len(lost)})
        enqueue(judge_posted, str(run.pk), key=str(run.pk))
    return (
        f"It is closed with {len(lost)} results missing, and judged on what there is; a winner still owes its hold-out."
    )


def _refuse_playing(run: Run, by: Actor) -> None:
    """Raise where `by` may not play this run: the agent's own key with the scope, or a person who may start runs."""
    refuse_player(run.agent, by, act=f"play {run}")
    _refuse_author(run, by)
    _refuse_ended(run)


def _refuse_author(run: Run, by: Actor) -> None:
    """Who wrote the change reports nothing of its exam; a key counts as its owner."""
    if run.proposal is not None and by.user_id in run.proposal.author_ids():
        raise OwnChangeError(
            f"{by.name} wrote {run.proposal} and cannot play its exam: use a key that another person owns."
        )


def _refuse_ended(run: Run) -> None:
    if not run.is_external:
        raise ExternalRunError(f"{run} is played here: only a run that was opened as external takes results.")
    if run.status not in (Run.Status.QUEUED, Run.Status.RUNNING):
        raise ExternalRunError(f"{run} is {run.status}: it takes no more results. Open another one.")


def _read(run: Run, item: object, rows: Mapping[str, RunCase]) -> Result:
    outside = run.benchmark.scored_outside
    posted = read_item(item, scored_outside=outside)
    row = rows.get(posted.case.lower())
    if row is None:
        raise ItemError(f"there is no case {posted.case[:60]!r} in this run; fetch its cases")
    if posted.trial >= run.trials:
        raise ItemError(f"there is no trial {posted.trial}; the run has trials 0 to {run.trials - 1}")
    return result_of(row, posted, digest=_digest_of(run, posted), scored_outside=outside)


def _digest_of(run: Run, posted: PostedTrial) -> str:
    return str((run.baseline if posted.arm == "baseline" else run.candidate).digest)


@transaction.atomic
def _store(run: Run, results: Mapping[tuple[UUID, str, int], Result]) -> int:
    """Store what is not there yet and return how many that were; the run's row keeps two batches apart."""
    locked = Run.objects.select_for_update(no_key=True).get(pk=run.pk)
    _refuse_ended(locked)
    if locked.status == Run.Status.QUEUED:
        locked.start(by=MACHINE)
    ids = {case_id for case_id, _, _ in results}
    known = set(Result.objects.filter(run_case_id__in=ids).values_list("run_case_id", "arm", "trial"))
    fresh = [result for key, result in results.items() if key not in known]
    Result.objects.bulk_create(fresh)
    return len(fresh)


def _num_missing(run: Run) -> int:
    return run.run_cases.count() * run.trials * len(Result.Arm.values) - run.results.count()


def _missing(run: Run) -> Iterator[Result]:
    done = set(run.results.values_list("run_case_id", "arm", "trial"))
    for row in run.run_cases.order_by("pk"):
        for arm in Result.Arm:
            for trial in range(run.trials):
                if (row.pk, arm.value, trial) not in done:
                    lost = PostedTrial(case=str(row.pk), arm=arm.value, trial=trial, dropped=True, error="never posted")  # type: ignore[arg-type]  # the two arms
                    yield result_of(row, lost, digest=_digest_of(run, lost), scored_outside=False)
