"""`make bench-capture`: how fast episodes get in, beside what the same server can do at all.

The limits are measured in the same run: (a) COPY of the same bodies, one row each, in transactions of the same size,
(b) a bare Django view that parses the protobuf and copies span rows, (c) a bare view that inserts one row. A worker
reads for signals while batches come in; its episodes per busy second are held against those captured beside it. Rounds
are interleaved and ratios are formed within a round; the medians of the rounds are reported.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import django
import httpx
import orjson
import psycopg

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.bench.settings")
django.setup()

from django.db import connection  # after the settings
from django.db.models.functions import Now

from accounts.acting import MACHINE, acting
from accounts.models import Team, User
from demo.world import free_port, fresh_database
from episodes.assembling import assemble_due
from episodes.models import Trace
from harness.models import Agent, ApiKey
from jobs.processes import web_command
from tests.bench.bare import TABLES
from tests.bench.capture_load import episode, traces
from tests.bench.reporting import Bar, Bench

ROUNDS = int(os.environ.get("ROUNDS", "5"))
EPISODES = int(os.environ.get("EPISODES", "4000"))
BATCH = 250
SENDERS = 4
SINGLES = 400
TRACES = int(os.environ.get("TRACES", "1000"))
TRACES_A_BODY = 25
BARS = (
    Bar("rest_batch_vs_copy", ">=", 0.40),
    Bar("ndjson_vs_copy", ">=", 0.40),
    Bar("otlp_vs_limit", ">=", 0.30),
    Bar("single_p99_vs_bare", "<=", 2.0),
    Bar("analysis_vs_capture", ">=", 1.0),
)


@contextmanager
def _server(environment: dict[str, str]) -> Iterator[str]:
    port = free_port()
    command = [*web_command("127.0.0.1", port), "--log-level", "warning"]
    surroundings = {**os.environ, **environment, "DJANGO_SETTINGS_MODULE": "tests.bench.settings"}
    process = subprocess.Popen(command, env=surroundings)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                httpx.get(f"{url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def _agent() -> tuple[Agent, str]:
    with acting(MACHINE, reason="bench"):
        team = Team.objects.create(slug="bench", name="Bench")
        owner = User(username="owner", is_simulated=True)
        owner.save()
        agent = Agent.objects.create(team=team, owner=owner, slug="bench", name="Bench", purpose="measuring")
        agent.bootstrap({"prompt": {"system": "Be brief."}}, by=MACHINE, reason="bench")
        _, key = ApiKey.issue(
            kind="agent", name="bench", owner=owner, agent=agent, scopes=["episode:write", "harness:read"], by=MACHINE
        )
    return agent, key


def _post_all(url: str, bodies: Sequence[bytes], headers: dict[str, str]) -> float:
    """Post every body but the first, which warms up, with several senders; return the seconds until all were answered.

    An answer means durable, here as with the limits.
    """
    with httpx.Client(headers=headers, timeout=60, limits=httpx.Limits(max_connections=SENDERS)) as http:
        http.post(url, content=bodies[0])

        def send(body: bytes) -> None:
            answer = http.post(url, content=body)
            assert answer.is_success, answer.text[:500]

        started = time.perf_counter()
        with ThreadPoolExecutor(SENDERS) as senders:
            list(senders.map(send, bodies[1:]))
        return time.perf_counter() - started


def _copy_raw(bodies: Sequence[bytes]) -> float:
    config = connection.settings_dict
    agent = uuid.uuid4()
    with psycopg.connect(
        dbname=config["NAME"],
        host=config["HOST"],
        port=config["PORT"],
        user=config["USER"],
        password=config["PASSWORD"],
    ) as raw:
        started = time.perf_counter()
        for at in range(0, len(bodies), BATCH):
            with raw.cursor() as cursor, cursor.copy("COPY bench_episode FROM STDIN") as copy:
                for number, body in enumerate(bodies[at : at + BATCH], start=at):
                    copy.write_row((uuid.uuid4(), agent, str(number), "2026-11-01T10:00:00Z", body.decode()))
            raw.commit()
        return time.perf_counter() - started


def _assembled_s() -> float:
    """Make episodes of the round's traces in this process, as a worker does; return traces per second."""
    Trace.objects.waiting().update(due_at=Now())
    started = time.perf_counter()
    number = assemble_due()
    return number / (time.perf_counter() - started)


@contextmanager
def _reading(agent: Agent, environment: dict[str, str], row: dict[str, float]) -> Iterator[None]:
    """Let a worker read for signals what is captured meanwhile; write down how many episodes it read per busy second."""
    command = [sys.executable, "-m", "tests.bench.capture_reading", str(agent.pk)]
    surroundings = {**os.environ, **environment}
    with subprocess.Popen(command, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        yield
        said, _ = worker.communicate(timeout=120)
    told = orjson.loads(said.splitlines()[-1])
    row["analyzed_s"] = told["read"] / told["busy_s"]


def _fdatasync_ms() -> float:
    """Return the median time of making 8 KB durable, in ms: what a commit costs on this disk right now."""
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        times = []
        for _ in range(50):
            file.write(b"x" * 8192)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1_000


def _p99_ms(http: httpx.Client, url: str, bodies: Sequence[bytes]) -> float:
    times = []
    for body in bodies:
        started = time.perf_counter()
        answer = http.post(url, content=body)
        times.append(time.perf_counter() - started)
        assert answer.is_success, answer.text[:500]
    return statistics.quantiles(times, n=100)[98] * 1_000


def main() -> int:
    """Measure, print, write the file."""
    bench = Bench(
        "capture", BARS, settings={"rounds": ROUNDS, "episodes": EPISODES, "batch": BATCH, "senders": SENDERS}
    )
    environment = fresh_database("whetstone_bench")
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
    agent, key = _agent()
    json_key = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    spans_key = json_key | {"Content-Type": "application/x-protobuf"}
    lines_key = json_key | {"Content-Type": "application/x-ndjson"}
    rounds: list[dict[str, float]] = []
    with _server(environment) as url:
        for number in range(ROUNDS + 1):
            run = f"r{number}"
            items = [[orjson.dumps(episode(n, f"{run}{way}")) for n in range(EPISODES)] for way in "abcf"]
            beside = [b"[" + b",".join(items[3][at : at + BATCH]) + b"]" for at in range(0, EPISODES, BATCH)]
            batches = [b"[" + b",".join(items[0][at : at + BATCH]) + b"]" for at in range(0, EPISODES, BATCH)]
            lines = [b"\n".join(items[1][at : at + BATCH]) for at in range(0, EPISODES, BATCH)]
            measured = (EPISODES - BATCH) / EPISODES
            row = {
                "fdatasync_ms": _fdatasync_ms(),
                "copy_s": EPISODES / _copy_raw(items[0]),
                "rest_s": EPISODES * measured / _post_all(f"{url}/api/v1/episodes", batches, json_key),
                "ndjson_s": EPISODES * measured / _post_all(f"{url}/api/v1/episodes", lines, lines_key),
            }
            several = [range(at, at + TRACES_A_BODY) for at in range(0, TRACES, TRACES_A_BODY)]
            measured = (TRACES - TRACES_A_BODY) / TRACES
            for name, path, way in (("limit_traces_s", "bench/spans", "d"), ("otlp_traces_s", "v1/traces", "e")):
                bodies = [traces(numbers, f"{run}{way}") for numbers in several]
                row[name] = TRACES * measured / _post_all(f"{url}/{path}", bodies, spans_key)
            with _reading(agent, environment, row):
                row["beside_analysis_s"] = (
                    EPISODES * ((EPISODES - BATCH) / EPISODES) / _post_all(f"{url}/api/v1/episodes", beside, json_key)
                )
            row["trace_kb"] = len(bodies[0]) / TRACES_A_BODY / 1_000
            row["assembled_s"] = _assembled_s()
            with httpx.Client(headers=json_key, timeout=60) as http:
                own, bare = f"{url}/api/v1/episodes", f"{url}/bench/one"
                half = items[2][: 2 * SINGLES]
                row["bare_p99_ms"] = _p99_ms(http, bare, half[:SINGLES])
                row["single_p99_ms"] = _p99_ms(http, own, half[SINGLES:])
            bench.say(f"round {number}: " + ", ".join(f"{name} {value:,.2f}" for name, value in row.items()))
            if number:  # the first warms up
                rounds.append(row)
    bench.table("rounds", rounds)
    for name, over, under in (
        ("rest_batch_vs_copy", "rest_s", "copy_s"),
        ("ndjson_vs_copy", "ndjson_s", "copy_s"),
        ("otlp_vs_limit", "otlp_traces_s", "limit_traces_s"),
        ("analysis_vs_capture", "analyzed_s", "beside_analysis_s"),
        ("single_p99_vs_bare", "single_p99_ms", "bare_p99_ms"),
    ):
        bench.keys[name] = round(statistics.median(row[over] / row[under] for row in rounds), 3)
    bench.keys |= {name: round(statistics.median(row[name] for row in rounds), 2) for name in rounds[0]}
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
