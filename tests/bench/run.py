"""`make bench-run`: what playing a run costs beyond the agent's own time, after a kill, and with others beside it.

The agent is an endpoint in a process of its own that answers every turn after 50 ms; runs are played by the platform's
own workers on rows of the bench's own. `vs_ideal` is the time from a run's start to its last result over the trials'
own time at that concurrency. Then a worker is killed with SIGKILL in the middle of a run, and what the endpoint was
asked twice is counted. Last, ten runs wait for two workers, and the results of each are counted when the first is done.
ROUNDS, CASES.
"""

import os
import signal
import statistics
import sys
import time
from datetime import timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

import httpx  # after the settings
from django.db.models import Count, Max
from django.utils import timezone

from demo.world import free_port, fresh_database
from evals.jobs import play_run
from evals.models import Run
from jobs.models import Task
from jobs.processes import Processes, Program, platform_programs
from jobs.reconciler import reconcile
from jobs.tasks import enqueue
from tests.bench.environments import BENCHES
from tests.bench.reporting import Bar, Bench
from tests.bench.run_world import Examined, examined, owner_of

ROUNDS = int(os.environ.get("ROUNDS") or 5)
CASES = int(os.environ.get("CASES") or 300)
CASES_TOGETHER = 150
CONCURRENCY, LATENCY_MS, TRIALS, ARMS = 8, 50, 3, 2
RUNS_TOGETHER, WORKERS = 10, 2
PATIENCE_S = 600
# Beside the databases of the demonstration and the other benches, whose workers may be running.
REDIS_DB = 7
BARS = (
    Bar("vs_ideal", "<=", 1.15),
    Bar("killed_asked_twice", "<=", CONCURRENCY),
    Bar("together_least_over_most", ">=", 0.5),
    Bar("together_jain", ">=", 0.95),
)


def ideal_s(trials: int) -> float:
    """Return how long so many trials take at least at the bench's concurrency."""
    return trials * LATENCY_MS / 1_000 / CONCURRENCY


def ask_for(run: Run) -> None:
    """Leave word that a run be played."""
    enqueue(play_run, str(run.pk), key=str(run.pk))


def wait_for(condition, pause_s: float = 0.2) -> None:
    """Wait until something is so, seldom enough not to be in the way of what is measured."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {PATIENCE_S} s; see the logs under {BENCHES}")
        time.sleep(pause_s)


def finished(run: Run) -> bool:
    """Return whether the run is judged; one that failed ends the bench."""
    run.refresh_from_db(fields=["status", "error", "started_at", "finished_at"])
    if run.status in {"failed", "stopped", "canceled"}:
        raise RuntimeError(f"{run} is {run.status}: {run.error}")
    return run.status == "judged"


def played_s(run: Run) -> float:
    """Return the time from a run's start to its last result."""
    return (run.results.aggregate(last=Max("played_at"))["last"] - run.started_at).total_seconds()


def measure(bench: Bench, desk: Examined) -> None:
    """Play the same exam round after round."""
    rows, ideal = [], ideal_s(CASES * ARMS * TRIALS)
    for number in range(ROUNDS):
        run = desk.run(number)
        ask_for(run)
        wait_for(lambda run=run: finished(run))
        seconds, results = played_s(run), run.results.count()
        assert results == run.num_planned == CASES * ARMS * TRIALS, results
        judged_s = (run.finished_at - run.started_at).total_seconds() - seconds
        rows.append(
            {"round": number + 1, "seconds": seconds, "ideal_s": ideal, "ratio": seconds / ideal, "judged_s": judged_s}
        )
    bench.table("one run", rows)
    bench.keys["vs_ideal"] = round(statistics.median(row["ratio"] for row in rows), 4)
    bench.keys["seconds"] = round(statistics.median(row["seconds"] for row in rows), 3)
    bench.keys["judged_s"] = round(statistics.median(row["judged_s"] for row in rows), 3)


def kill(bench: Bench, desk: Examined, endpoint: str, workers: Processes) -> None:
    """Kill the worker in the middle of a run; the next one continues."""
    before, run = asked(endpoint), desk.run(ROUNDS)
    ask_for(run)
    wait_for(lambda: run.results.count() >= run.num_planned // 2, pause_s=0.05)
    os.kill(workers.pid_of("runs-0"), signal.SIGKILL)
    stored = run.results.count()
    # The lease of the dead worker would run out by itself; nobody needs to wait for it here.
    an_hour_ago = timezone.now() - timedelta(hours=1)
    Task.objects.filter(state="claimed").update(lease_until=an_hour_ago)
    reconcile()
    Task.objects.filter(state="ready").update(available_at=an_hour_ago)
    reconcile()
    wait_for(lambda: finished(run))
    after = asked(endpoint)
    twice = after["asked"] - before["asked"] - run.num_planned
    bench.table(
        "killed in the middle", [{"planned": run.num_planned, "stored_at_the_kill": stored, "asked_twice": twice}]
    )
    assert after["different"] - before["different"] == run.num_planned == run.results.count()
    assert 0 < stored < run.num_planned
    bench.keys["killed_asked_twice"] = twice


def share(bench: Bench, desks: list[Examined]) -> None:
    """Let ten runs share two workers and look at each when the first is done."""
    runs = [desk.run(0) for desk in desks]
    mine = Run.objects.filter(pk__in=[run.pk for run in runs])
    for run in runs:
        ask_for(run)
    started = time.monotonic()
    counts: dict[str, int] = {}
    all_have_some_s = 0.0
    while not mine.filter(status="judged").exists():
        counts = dict(mine.annotate(number=Count("results")).values_list("agent__slug", "number"))
        if not all_have_some_s and min(counts.values()):
            all_have_some_s = time.monotonic() - started
        time.sleep(0.1)
    wait_for(lambda: all(finished(run) for run in runs))
    took = max(run.finished_at for run in runs) - min(run.started_at for run in runs)
    planned = sum(run.num_planned for run in runs)
    bench.table(
        "ten runs, when the first was done",
        [{"run": slug, "results": number} for slug, number in sorted(counts.items())],
    )
    values = list(counts.values())
    bench.keys["together_least_over_most"] = round(min(values) / max(values), 4)
    # Jain's index of fairness: 1 where all have the same, 1/n where one has everything (Jain, Chiu, Hawe 1984).
    bench.keys["together_jain"] = round(sum(values) ** 2 / (len(values) * sum(value**2 for value in values)), 4)
    bench.keys["together_all_have_some_s"] = round(all_have_some_s, 1)
    bench.keys["together_vs_ideal"] = round(took.total_seconds() / (ideal_s(planned) / WORKERS), 4)


def asked(endpoint: str) -> dict[str, int]:
    """Return what the endpoint was asked so far."""
    return dict(httpx.get(f"{endpoint}/counts", trust_env=False).json())


def workers_of(environment: dict[str, str], number: int) -> list[Program]:
    """Return so many of the platform's workers for runs."""
    (runs,) = (one for one in platform_programs(port=0, environment=environment) if one.name == "runs")
    return [Program(f"runs-{place}", runs.command, runs.environment) for place in range(number)]


def main() -> int:
    """Measure and keep the numbers."""
    settings = {
        "rounds": ROUNDS, "cases": CASES, "arms": ARMS, "trials": TRIALS, "concurrency": CONCURRENCY,
        "latency_ms": LATENCY_MS, "runs_together": RUNS_TOGETHER, "cases_together": CASES_TOGETHER, "workers": WORKERS,
    }  # fmt: skip
    bench = Bench("run", bars=BARS, settings=settings)
    environment, port = fresh_database("whetstone_bench_run", redis_db=REDIS_DB), free_port()
    endpoint, owner = f"http://127.0.0.1:{port}", owner_of("bench")
    with bench.phase("rows"):
        desk = examined("desk", owner, endpoint=endpoint, cases=CASES, concurrency=CONCURRENCY)
        desks = [
            examined(f"desk-{place}", owner, endpoint=endpoint, cases=CASES_TOGETHER, concurrency=CONCURRENCY)
            for place in range(RUNS_TOGETHER)
        ]
    agent = Program("agent", [sys.executable, "-m", "tests.bench.run_endpoint", str(port), str(LATENCY_MS)])
    logs = BENCHES / "run-logs"
    with Processes([agent], logs=logs):
        with Processes(workers_of(environment, 1), logs=logs) as workers:
            with bench.phase(f"one run, {ROUNDS} rounds of {CASES} cases"):
                measure(bench, desk)
            with bench.phase("a worker killed in the middle"):
                kill(bench, desk, endpoint, workers)
        with Processes(workers_of(environment, WORKERS), logs=logs), bench.phase(f"{RUNS_TOGETHER} runs together"):
            share(bench, desks)
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
