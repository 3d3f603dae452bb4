"""A story: people keep working while every process of the embedded servers is killed in turn."""

import contextlib
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis

from config.embedded import EmbeddedError, Endpoints, ensure
from config.embedded.client import Status
from tests.config.servers import ask_valkey, kill, postmasters, query, seen, state_root, until

pytestmark = [
    pytest.mark.story,
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for processes"),
]

VICTIMS: dict[str, Callable[[Status], list[int | None]]] = {
    "PostgreSQL": lambda seen: [seen["servers"]["postgres"]["pid"]],
    "Valkey": lambda seen: [seen["servers"]["valkey"]["pid"]],
    "the worker": lambda seen: [seen["supervisor"]],
    "the keeper": lambda seen: [seen["keeper"]],
    "the worker whose keeper is gone": lambda seen: [seen["supervisor"]],
    "the whole supervisor": lambda seen: [seen["keeper"], seen["supervisor"]],
    "everything": lambda seen: [
        seen["keeper"], seen["supervisor"], seen["servers"]["postgres"]["pid"], seen["servers"]["valkey"]["pid"],
    ],
}  # fmt: skip


class Clerk(threading.Thread):
    """Writes numbers to both servers, one after the other, and notes what was acknowledged."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.written: list[int] = []
        self._done = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._done.is_set():
            # Whether an unanswered write arrived is unknown; asking again with the same number must be harmless.
            with contextlib.suppress(psycopg.Error, redis.RedisError, EmbeddedError):
                endpoints = ensure(root=self.root)
                query(endpoints, f"INSERT INTO ledger VALUES ({number}) ON CONFLICT DO NOTHING")
                ask_valkey(endpoints, "SADD", "ledger", str(number))
                self.written.append(number)
                number += 1

    def has_written(self, goal: int) -> bool:
        """Tell whether `goal` writes were acknowledged."""
        return len(self.written) >= goal

    def finish(self) -> None:
        """Stop writing and wait for the last acknowledgment."""
        self._done.set()
        self.join(timeout=60)
        assert not self.is_alive()


def test_story__every_process_killed_in_turn__nothing_is_lost_and_nothing_runs_twice() -> None:
    with state_root() as root:
        endpoints = ensure(root=root)
        query(endpoints, "CREATE TABLE ledger (number int PRIMARY KEY)")
        clerk = Clerk(root)
        clerk.start()

        for name, pids in VICTIMS.items():
            assert until(lambda: _is_whole(root), timeout_s=60), f"not whole before {name} was killed"
            kill(*pids(seen(root)))
            goal = len(clerk.written) + 4
            assert until(partial(clerk.has_written, goal), timeout_s=60), f"{name} never came back"

        clerk.finish()
        assert _rows(endpoints) >= set(clerk.written)
        assert _members(endpoints) >= set(clerk.written)
        # At most the one write whose answer was cut off may stand beyond what was acknowledged.
        assert max(_rows(endpoints)) <= clerk.written[-1] + 1
        assert len(postmasters(root)) == 2


def _is_whole(root: Path) -> bool:
    with contextlib.suppress(AssertionError):
        return {server["state"] for server in seen(root)["servers"].values()} == {"ready"}
    return False


def _rows(endpoints: Endpoints) -> set[int]:
    return {int(str(number)) for (number,) in query(endpoints, "SELECT number FROM ledger")}


def _members(endpoints: Endpoints) -> set[int]:
    answer = ask_valkey(endpoints, "SMEMBERS", "ledger")
    assert isinstance(answer, set)
    return {int(number) for number in answer}
