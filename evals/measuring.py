"""Measure a document on a benchmark that judges nothing: one trial a case, stored, never part of a gate."""

import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from accounts.exceptions import DomainError
from evals.benchmarks import bound_benchmark
from evals.curation import play_trial
from evals.models import Benchmark, Case, CurationTrial
from evals.runners import InfrastructureError, Runner
from harness.canonical import digest_of

__all__ = ["measure", "measured"]

BATCH = 60
CONCURRENCY = 3
ATTEMPTS = 3


def measure(
    benchmark: Benchmark,
    document: Mapping[str, Any],
    runner: Runner,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> dict[str, bool]:
    """Play every active case once on `document` and return what passed, by case name.

    The agent's exam is refused: what judges proposals must not be looked at in passing. A document measured before
    is read from the stored trials.
    """
    if benchmark == bound_benchmark(benchmark.agent):
        raise DomainError(f"{benchmark} judges proposals; measure on a benchmark that does not.")
    digest = digest_of(dict(document))
    known = set(
        CurationTrial.objects.filter(case__benchmark=benchmark, digest=digest).values_list("case_id", flat=True)
    )
    missing = [case for case in benchmark.cases.active().order_by("pk") if case.pk not in known]
    for batch in itertools.batched(missing, BATCH):
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            rows = list(pool.map(lambda case: _trial(case, document, digest, runner), batch))
        CurationTrial.objects.bulk_create(rows, ignore_conflicts=True)
        on_progress(len(rows))
    return measured(benchmark, digest)


def measured(benchmark: Benchmark, digest: str) -> dict[str, bool]:
    """Return what is stored of a measurement, by case name."""
    rows = CurationTrial.objects.filter(case__benchmark=benchmark, digest=digest, trial=0)
    return dict(rows.order_by("case__name").values_list("case__name", "passed"))


def _trial(case: Case, document: Mapping[str, Any], digest: str, runner: Runner) -> CurationTrial:
    for _ in range(ATTEMPTS - 1):
        with suppress(InfrastructureError):
            return play_trial(case, document, runner, digest=digest, trial=0, seed=0)
    return play_trial(case, document, runner, digest=digest, trial=0, seed=0)
