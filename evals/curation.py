"""Curation trials: which cases a version passes 5 of 5, so that losing one of them means something."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from django.db.models import Count, Q

from evals.conversing.driver import converse, reply_to
from evals.judges.scoring import score_case
from evals.models import Benchmark, Case, CurationTrial
from evals.runners import InfrastructureError, Runner
from harness.models import HarnessVersion

__all__ = ["TRIALS", "curate", "curated", "play_trial", "trials_known", "uncurated"]

TRIALS = 5


def curated(digest: str, benchmark: Benchmark) -> frozenset[UUID]:
    """Return the cases that the version passed in all its curation trials."""
    rows = (
        CurationTrial.objects.filter(case__benchmark=benchmark, digest=digest)
        .values("case_id")
        .annotate(passes=Count("id", filter=Q(passed=True)), trials=Count("id"))
        .filter(trials=TRIALS, passes=TRIALS)
    )
    return frozenset(row["case_id"] for row in rows)


def uncurated(version: HarnessVersion, benchmark: Benchmark, *, split: str = Case.Split.VERIFY) -> list[Case]:
    """Return the active cases of the split whose curation trials on this version are not finished.

    A case that failed one trial is finished: it cannot pass 5 of 5 any more.
    """
    done = (
        CurationTrial.objects.filter(case__benchmark=benchmark, digest=version.digest)
        .values("case_id")
        .annotate(failures=Count("id", filter=Q(passed=False)), trials=Count("id"))
        .filter(Q(failures__gt=0) | Q(trials=TRIALS))
    )
    cases = benchmark.cases.active().in_split(split=split)
    # They are played in threads of their own, where a row that is not loaded would be asked for on another connection.
    rows = cases.select_related("benchmark__agent").exclude(pk__in=[row["case_id"] for row in done])
    return list(rows.order_by("pk"))


def trials_known(version: HarnessVersion, benchmark: Benchmark) -> Mapping[UUID, Collection[int]]:
    """Return which curation trials of the version are stored, by case; none for a case that has none."""
    known: dict[UUID, set[int]] = defaultdict(set)
    rows = CurationTrial.objects.filter(case__benchmark=benchmark, digest=version.digest)
    for case_id, trial in rows.values_list("case_id", "trial"):
        known[case_id].add(trial)
    return known


def curate(case: Case, version: HarnessVersion, runner: Runner, *, known: Collection[int]) -> list[CurationTrial]:
    """Play what is missing of a case's five trials and return the new rows, unsaved; stop at the first failure.

    A trial that infrastructure lost is simply not there; the next round plays it again.
    """
    rows: list[CurationTrial] = []
    for trial in range(TRIALS):
        if trial in known:
            continue
        try:
            row = play_trial(case, version.document, runner, digest=version.digest, trial=trial, seed=1_000 + trial)
        except InfrastructureError:
            break
        rows.append(row)
        if not row.passed:
            break
    return rows


def play_trial(
    case: Case, document: Mapping[str, Any], runner: Runner, *, digest: str, trial: int, seed: int
) -> CurationTrial:
    """Play one trial of a case outside of any run and return its row, unsaved."""
    played = converse(runner, document, case, seed)
    passed = not played.crashed and score_case(case, reply_to(case, played.output, played.steps)).passed
    return CurationTrial(case=case, digest=digest, trial=trial, passed=passed, latency_ms=played.latency_ms)
