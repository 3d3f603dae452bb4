"""Curation trials that are played elsewhere: which cases a version passes 5 of 5, apart from any run."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from accounts.acting import Actor
from accounts.exceptions import DomainError
from evals.curation import TRIALS, uncurated
from evals.external.items import ItemError, read_item
from evals.external.permitting import ids_among, refuse_batch, refuse_player, refuse_reader
from evals.external.posting import Posted
from evals.external.reading import result_of
from evals.models import Benchmark, Case, CurationTrial, RunCase
from harness.models import HarnessVersion

__all__ = ["cases_to_curate", "post_curation"]


def cases_to_curate(benchmark: Benchmark, version: HarnessVersion, *, by: Actor) -> Any:
    """Return the verify cases whose five trials on the version are not finished, to be played."""
    _refuse(benchmark, by)
    refuse_reader(benchmark, [Case.Split.VERIFY], by)
    return benchmark.cases.filter(pk__in=[case.pk for case in uncurated(version, benchmark)])


def post_curation(benchmark: Benchmark, version: HarnessVersion, items: Sequence[object], *, by: Actor) -> Posted:
    """Store curation trials 0 to 4 of verify cases; what is known stays, what was dropped is simply not there.

    `missing` counts the cases that are not finished: one failure finishes a case too.
    """
    _refuse(benchmark, by)
    refuse_batch(items)
    cases = {str(c.pk): c for c in benchmark.cases.active().in_split(split="verify").filter(pk__in=ids_among(items))}
    rejected: list[dict[str, Any]] = []
    rows: dict[tuple[UUID, int], CurationTrial] = {}
    for index, item in enumerate(items):
        try:
            row = _read(benchmark, version, item, cases)
        except (ItemError, DomainError) as error:
            rejected.append({"index": index, "reason": str(error)[:1_000]})
        else:
            if row is not None:
                rows.setdefault((row.case_id, row.trial), row)
    mine = CurationTrial.objects.filter(digest=version.digest, case__in=[case_id for case_id, _ in rows])
    known = set(mine.values_list("case_id", "trial"))
    fresh = [row for key, row in rows.items() if key not in known]
    CurationTrial.objects.bulk_create(fresh, ignore_conflicts=True)
    num_known = len(items) - len(rejected) - len(fresh)
    return Posted(len(fresh), num_known, tuple(rejected), len(uncurated(version, benchmark)))


def _refuse(benchmark: Benchmark, by: Actor) -> None:
    refuse_player(benchmark.agent, by, act=f"play cases of {benchmark}")
    benchmark.refuse_examinees(by, "say what its baseline passes")


def _read(benchmark: Benchmark, version: HarnessVersion, item: object, cases: dict[str, Case]) -> CurationTrial | None:
    outside = benchmark.scored_outside
    posted = read_item({**item, "arm": "baseline"} if isinstance(item, dict) else item, scored_outside=outside)
    case = cases.get(posted.case.lower())
    if case is None:
        raise ItemError(f"there is no active verify case {posted.case[:60]!r} in this benchmark")
    if posted.trial >= TRIALS:
        raise ItemError(f"there is no trial {posted.trial}; a curation has trials 0 to {TRIALS - 1}")
    if posted.dropped:
        return None
    row = RunCase(case=case, expectations=case.expectations)
    result = result_of(row, posted, digest=version.digest, scored_outside=outside)
    return CurationTrial(
        case=case, digest=version.digest, trial=posted.trial, passed=result.passed, latency_ms=result.latency_ms or 0.0
    )
