"""`make bench-client`: what the client library costs the agent: a fetch from memory, and taking an episode in.

The harness comes over real HTTP from a small platform in this process; then the fetch is timed from memory alone. An
episode of about 20 KB with 8 steps is taken into memory, into the spool (written before `record` returns), and into the
spool with `sync_each` (on the disk before it returns), beside a bare write and fdatasync of the same bytes. ROUNDS.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.reporting import Bar, Bench
from tests.whetstone.fake_platform import running
from whetstone import Client

FETCHES, EPISODES, SYNCED = 200_000, 2_000, 100
USERS = 1_000
LIMIT_US = 5.0


def microseconds(act: Callable[[int], Any], times: int, chunk: int) -> float:
    """Return the time of `act(n)`, the loop's own included: the median over chunks of calls.

    Chunks are shorter than a scheduler's slice, so that one in which another process had the core is an outlier.
    """
    taken = []
    for first in range(0, times, chunk):
        started = time.perf_counter()
        for number in range(first, first + chunk):
            act(number)
        taken.append((time.perf_counter() - started) / chunk)
    return 1e6 * statistics.median(taken)


def episode(number: int) -> dict[str, Any]:
    """Return an episode of about 20 KB with 8 steps."""
    step = {"kind": "tool_call", "name": "lookup", "input": {"order": "48213"}, "output": {"text": "on its way " * 190}}
    return {
        "id": f"e{number}",
        "conversation": f"c{number}",
        "subject": f"u{number % USERS}",
        "input": {"messages": [{"role": "user", "content": "Where is my order?"}]},
        "output": {"text": "It is on its way."},
        "steps": [step] * 8,
    }


def fetching(rounds: int) -> dict[str, float]:
    """Return medians of a fetch from memory, with a user alone and with a conversation and its pin."""
    with running() as platform, Client(platform.url, "key", agent="desk") as client:
        platform.ttl_s = 3600.0
        names = [f"user-{number}" for number in range(USERS)]
        pins = [client.harness(user=name, conversation=name).pin for name in names]
        asked = len(platform.requests)
        user, pinned = [], []
        for _ in range(rounds):
            user.append(microseconds(lambda n: client.harness(user=names[n % USERS]), FETCHES, 1000))
            pinned.append(
                microseconds(
                    lambda n: client.harness(user=(name := names[n % USERS]), conversation=name, pin=pins[n % USERS]),
                    FETCHES,
                    1000,
                )
            )
        assert len(platform.requests) == asked, "a fetch went over the wire"
    return {"memory_fetch_us": statistics.median(user), "memory_fetch_pinned_us": statistics.median(pinned)}


def recording(rounds: int, folder: Path) -> dict[str, float]:
    """Return medians of taking an episode in, by where it is kept; the platform is away, so nothing else happens."""
    episodes = [episode(number) for number in range(EPISODES)]
    line = json.dumps(episodes[0], separators=(",", ":")).encode() + b"\n"
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, times, options in (
            ("record_memory_us", EPISODES, {}),
            ("record_spool_us", EPISODES, {"folder": folder / str(number)}),
            ("record_spool_synced_us", SYNCED, {"folder": folder / f"{number}-synced", "sync_each": True}),
        ):
            client = Client("http://127.0.0.1:9", "key", agent="desk", **options)
            found.setdefault(name, []).append(microseconds(lambda n, c=client: c.record(episodes[n]), times, 10))
            assert client.close(timeout_s=0).accepted == times
        with (folder / f"{number}-bare").open("ab", buffering=0) as file:

            def write(_: int, file: Any = file) -> None:
                file.write(line)
                os.fdatasync(file.fileno())

            found.setdefault("fdatasync_us", []).append(microseconds(write, SYNCED, 10))
    return {name: statistics.median(values) for name, values in found.items()} | {"episode_bytes": float(len(line))}


def main() -> int:
    """Measure and keep the numbers."""
    rounds = int(os.environ.get("ROUNDS") or 5)
    bench = Bench("client", bars=[Bar("memory_fetch_us", "<=", LIMIT_US)], settings={"rounds": rounds})
    with bench.phase(f"fetch from memory, {rounds} rounds of {FETCHES:,}"):
        bench.keys |= {name: round(value, 3) for name, value in fetching(rounds).items()}
    with tempfile.TemporaryDirectory() as folder, bench.phase(f"take episodes in, {rounds} rounds"):
        bench.keys |= {name: round(value, 1) for name, value in recording(rounds, Path(folder)).items()}
    return bench.finish()


if __name__ == "__main__":
    sys.exit(main())
