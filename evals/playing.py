"""Play a run: every case, arm and trial once, interleaved, resumable at any moment."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Sum

from evals.budget import Spending
from evals.conversing.driver import converse, reply_to
from evals.curation import curate, trials_known, uncurated
from evals.exceptions import PlayingStoppedError
from evals.judges.scoring import outcome_of
from evals.models import Benchmark, Case, CurationTrial, Result, Run, RunCase
from evals.reuse import BaselineCache
from evals.runners import InfrastructureError, Played, Runner, runner_for
from evals.storing import replayable_commits, store_results
from evals.window import slide
from harness.canonical import DocumentError, clean_json
from harness.models import HarnessVersion
from harness.policy import Playing

__all__ = ["curate_benchmark", "play", "runner_for"]

logger = logging.getLogger("evals")

INFRASTRUCTURE_RETRIES = 2
FIRST_PAUSE_S = 0.1
# So many losses in a row for each trial in flight are an outage, not bad luck: waiting for it to end loses less.
OUTAGE_STREAK = 4
KEEP_TIME_S = 1.0


@dataclass(frozen=True)
class _Trial:
    row: RunCase
    arm: str
    number: int
    stand_in: Result | None = None


def play(run: Run, runner: Runner, *, still_wanted: Callable[[], bool] = lambda: True) -> int:
    """Play what the run still lacks and store each result once; return how many came to it now.

    As many trials are under way at once as the run's policy says; a killed worker loses those and no more, and a repeat
    continues. Trials of the two arms alternate and share their seed. Ends early when `still_wanted`, asked before each
    trial, says no, or when the run is canceled. Raises `PlayingStoppedError` when the run's budget is spent or nothing
    answers any more; what was played is stored by then.
    """
    session = _Session(run, runner)
    with replayable_commits():
        num_stored = slide(
            session.trials(), session.play_one, session.store, width=session.limits.concurrency,
            go_on=lambda: session.goes_on() and still_wanted(), leave=connections.close_all,
        )  # fmt: skip
    session.end()
    return num_stored


class _Session:
    """One worker's playing of a run: what is missing, what it has cost, and what may stand in."""

    def __init__(self, run: Run, runner: Runner) -> None:
        self.run, self.runner, self.limits = run, runner, run.as_playing()
        self._documents = {"baseline": run.baseline, "candidate": run.candidate}
        self._cache = BaselineCache(run, runner.name)
        self._missing = list(_missing(run))
        self._spending = _spending(run, self.limits, len(self._missing))
        self._lost_in_a_row, self._last_loss = 0, ""
        self._kept_at = time.monotonic()

    def trials(self) -> Iterator[_Trial]:
        """Yield what is missing; a baseline trial with what may stand in for it at that moment."""
        for trial in self._missing:
            stand_in = self._cache.find(trial.row, trial.number) if trial.arm == Result.Arm.BASELINE else None
            yield trial if stand_in is None else _Trial(trial.row, trial.arm, trial.number, stand_in)

    def goes_on(self) -> bool:
        """Return whether to begin another trial: money, time and answers are left, and nobody ended the run."""
        since = time.monotonic() - self._kept_at
        if since >= KEEP_TIME_S and not self._keep_time(since):
            return False
        return not (self._spending.is_spent or self._is_outage)

    def play_one(self, trial: _Trial) -> Result:
        """Play one trial, again where infrastructure failed; called from the window's threads."""
        version = self._documents[trial.arm]
        if trial.stand_in is not None:
            return self._result(version, trial, _as_played(trial.stand_in))
        row, seed = trial.row, self.run.seed + trial.number
        for attempt in range(1 + INFRASTRUCTURE_RETRIES):
            try:
                played = converse(self.runner, version.document, row, seed)
            except InfrastructureError as error:
                words = {"run": str(self.run.pk), "attempt": attempt, "error": str(error)}
                logger.warning("trial.infrastructure", extra=words)
                dropped = str(error)
                if attempt < INFRASTRUCTURE_RETRIES:
                    time.sleep(FIRST_PAUSE_S * 2**attempt)
            else:
                return self._result(version, trial, played)
        return Result(
            run=self.run, run_case=row, arm=trial.arm, trial=trial.number, harness_digest=version.digest,
            runner=self.runner.name, score=0, passed=False, dropped=True, rationale=_storable_text(dropped),
        )  # fmt: skip

    def store(self, results: Sequence[Result]) -> None:
        """Write what came, in one statement; a result that another worker wrote meanwhile stays as it is."""
        store_results(results)
        for result in results:
            self._cache.note(result)
            self._spending.count(result.cost_usd or 0.0, paid=result.reused_from_id is None)
            self._lost_in_a_row = self._lost_in_a_row + 1 if result.dropped else 0
            self._last_loss = result.rationale if result.dropped else ""

    def end(self) -> None:
        """Count the rest of the time, and say why nothing more was played where something is missing."""
        self._keep_time(time.monotonic() - self._kept_at)
        if self._spending.is_spent:
            raise PlayingStoppedError(self._spending.sentence)
        if self._is_outage and self._spending.missing:
            raise PlayingStoppedError(
                f"{self._lost_in_a_row} trials in a row got no answer from {self.runner.name}, last: {self._last_loss} "
                f"{self._spending.missing} results are missing; what was played is kept. Resume the run when it answers."
            )

    @property
    def _is_outage(self) -> bool:
        return self._lost_in_a_row >= OUTAGE_STREAK * self.limits.concurrency

    def _keep_time(self, seconds: float) -> bool:
        self._kept_at = time.monotonic()
        self._spending.seconds += seconds
        return self.run.keep_time(seconds)

    def _result(self, version: HarnessVersion, trial: _Trial, played: Played) -> Result:
        common: dict[str, Any] = {
            "run": self.run, "run_case": trial.row, "arm": trial.arm, "trial": trial.number,
            "harness_digest": version.digest, "latency_ms": played.latency_ms, "cost_usd": played.cost_usd,
            "runner": self.runner.name, "fingerprint": played.fingerprint, "reused_from": trial.stand_in,
        }  # fmt: skip
        try:
            output, steps = _plain(played.output), [_plain(step) for step in played.steps]
        except DocumentError as error:
            played = Played(crashed=True, error=f"what it answered cannot be stored: {error}")
        if played.crashed:
            return Result(score=0, passed=False, crashed=True, rationale=_storable_text(played.error), **common)
        told = outcome_of(self.run, trial.row, reply_to(trial.row, output, steps))
        return Result(output=output, steps=steps, **common, **told)


def _missing(run: Run) -> Iterator[_Trial]:
    done = set(run.results.values_list("run_case_id", "arm", "trial"))
    rows = list(run.run_cases.order_by("pk"))
    for number in range(run.trials):
        for row in rows:
            arms = ("baseline", "candidate") if (number + row.pk.int) % 2 else ("candidate", "baseline")
            for arm in arms:
                if (row.pk, arm, number) not in done:
                    yield _Trial(row, arm, number)


def _spending(run: Run, limits: Playing, num_missing: int) -> Spending:
    run.refresh_from_db(fields=["played_s"])
    paid = run.results.filter(reused_from=None).aggregate(usd=Sum("cost_usd"))
    return Spending(
        limits.budget_usd, limits.budget_s, usd=paid["usd"] or 0.0, seconds=run.played_s,
        played=run.results.filter(reused_from=None).count(), missing=num_missing,
    )  # fmt: skip


def _as_played(result: Result) -> Played:
    """Return what came of a trial of another run, to be scored as this run scores."""
    return Played(
        output=result.output, steps=result.steps, latency_ms=result.latency_ms or 0.0, cost_usd=result.cost_usd or 0.0,
        crashed=result.crashed, error=result.rationale if result.crashed else "", fingerprint=result.fingerprint,
    )  # fmt: skip


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain = clean_json(dict(value))
    assert isinstance(plain, dict)  # a copy of one
    return plain


def _storable_text(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


def curate_benchmark(
    version: HarnessVersion,
    benchmark: Benchmark,
    runner: Runner,
    *,
    split: str = Case.Split.VERIFY,
    still_wanted: Callable[[], bool] = lambda: True,
) -> int:
    """Finish the curation trials of `version` on the benchmark's cases of the split; return how many cases were played.

    As many cases are under way at once as the agent's policy says for trials, each stored as it ends. Ends early when
    `still_wanted`, asked before each case, says no; a repeat continues.
    """
    known = trials_known(version, benchmark)

    def store(finished: Sequence[list[CurationTrial]]) -> None:
        CurationTrial.objects.bulk_create((row for rows in finished for row in rows), ignore_conflicts=True)

    return slide(
        uncurated(version, benchmark, split=split), lambda case: curate(case, version, runner, known=known[case.pk]), store,
        width=version.agent.current_policy().playing.concurrency, go_on=still_wanted, leave=connections.close_all,
    )  # fmt: skip
