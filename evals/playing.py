"""Play a run: every case, arm and trial once, interleaved, resumable at any moment."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from evals.curation import curate, uncurated
from evals.exceptions import RunnerError
from evals.models import Benchmark, CurationTrial, Result, Run, RunCase
from evals.runners import HttpRunner, InfrastructureError, Played, Runner
from evals.scoring import score
from harness.models import Agent, HarnessVersion

__all__ = ["CONCURRENCY", "curate_benchmark", "play", "runner_for"]

logger = logging.getLogger("evals")

CONCURRENCY = 3
BATCH = 40
INFRASTRUCTURE_RETRIES = 2


def runner_for(agent: Agent) -> HttpRunner:
    """Return the runner for the agent's own endpoint; refuse when it has none."""
    if not agent.endpoint:
        raise RunnerError(f"Agent {agent.slug!r} has no endpoint: set where its POST /turn is served.")
    return HttpRunner(agent.endpoint)


@dataclass(frozen=True)
class _Trial:
    row: RunCase
    arm: str
    number: int


def play(run: Run, runner: Runner, *, still_wanted: Callable[[], bool] = lambda: True) -> int:
    """Play what the run still lacks and store each result once; return how many were played now.

    Results are written in small batches, so a killed worker loses at most the last one; a repeat continues. Trials
    of the two arms alternate and share their seed.
    """
    documents = {"baseline": run.baseline, "candidate": run.candidate}
    num_played = 0
    for batch in itertools.batched(_missing(run), BATCH):
        if not still_wanted():
            break
        rows = _together(lambda trial: _play_one(run, documents, trial, runner), batch)
        Result.objects.bulk_create(rows, ignore_conflicts=True)
        num_played += len(rows)
    return num_played


def _missing(run: Run) -> Iterator[_Trial]:
    done = set(run.results.values_list("run_case_id", "arm", "trial"))
    rows = list(run.run_cases.order_by("pk"))
    for number in range(run.trials):
        for row in rows:
            arms = ("baseline", "candidate") if (number + row.pk.int) % 2 else ("candidate", "baseline")
            for arm in arms:
                if (row.pk, arm, number) not in done:
                    yield _Trial(row, arm, number)


def _play_one(run: Run, documents: dict[str, HarnessVersion], trial: _Trial, runner: Runner) -> Result:
    version, row = documents[trial.arm], trial.row
    seed = run.seed + trial.number
    for attempt in range(1 + INFRASTRUCTURE_RETRIES):
        try:
            played = runner.play(version.document, row.messages, user_state=row.user_state, seed=seed)
        except InfrastructureError as error:
            logger.warning("trial.infrastructure", extra={"run": str(run.pk), "attempt": attempt, "error": str(error)})
            dropped = str(error)
        else:
            return _result(run, version, trial, played)
    return Result(
        run=run, run_case=row, arm=trial.arm, trial=trial.number, harness_digest=version.digest,
        score=0, passed=False, dropped=True, rationale=dropped,
    )  # fmt: skip


def _result(run: Run, version: HarnessVersion, trial: _Trial, played: Played) -> Result:
    common: dict[str, Any] = {
        "run": run, "run_case": trial.row, "arm": trial.arm, "trial": trial.number, "harness_digest": version.digest,
        "latency_ms": played.latency_ms, "cost_usd": played.cost_usd,
    }  # fmt: skip
    if played.crashed:
        return Result(score=0, passed=False, crashed=True, rationale=played.error, **common)
    scored = score(trial.row.expectations, played.output, played.steps)
    return Result(
        score=scored.score, passed=scored.passed, violations=list(scored.violations), rationale=scored.rationale,
        output=dict(played.output), steps=[dict(step) for step in played.steps], **common,
    )  # fmt: skip


def _together[A, B](function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="play") as pool:
        return list(pool.map(function, items))


def curate_benchmark(version: HarnessVersion, benchmark: Benchmark, runner: Runner) -> int:
    """Finish the curation trials of `version` on the benchmark's verify cases; return how many trials were played."""
    played = 0
    for batch in itertools.batched(uncurated(version, benchmark), BATCH):
        rows: list[CurationTrial] = []
        for case in batch:
            rows += curate(case, version, runner)
        CurationTrial.objects.bulk_create(rows, ignore_conflicts=True)
        played += len(rows)
    return played
