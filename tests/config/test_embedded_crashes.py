"""What `kill -9` of any of its processes does to the embedded servers: a pause, and nothing else."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.embedded import ensure, status
from config.embedded.layout import Layout
from config.embedded.postgres import Postgres
from config.embedded.privileges import child_setup, server_account
from config.embedded.server import Server
from config.embedded.valkey import Valkey
from tests.config.servers import ask_valkey, kill, postmasters, query, seen, server_pid, until

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for processes")


@needs_linux
def test_postgres__killed__comes_back_with_every_committed_row(running_root: Path) -> None:
    endpoints = ensure(root=running_root)
    query(endpoints, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")
    old = server_pid(running_root, "postgres")

    kill(old)

    assert until(lambda: server_pid_or_none(running_root) not in {None, old})
    assert query(ensure(root=running_root), "SELECT answer FROM kept") == [(42,)]
    assert len(postmasters(running_root)) == 2


@needs_linux
def test_valkey__killed__comes_back_with_every_acknowledged_write(running_root: Path) -> None:
    ask_valkey(ensure(root=running_root), "SET", "answer", "42")
    old = server_pid(running_root, "valkey")

    kill(old)

    assert until(lambda: seen(running_root)["servers"]["valkey"]["pid"] not in {None, old})
    assert ask_valkey(ensure(root=running_root), "GET", "answer") == "42"
    assert len(postmasters(running_root)) == 2


@needs_linux
def test_supervisor__worker_killed__the_keeper_restores_everything_unasked(running_root: Path) -> None:
    endpoints = ensure(root=running_root)
    query(endpoints, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")
    before = seen(running_root)

    kill(before["supervisor"])

    assert until(lambda: server_pid_or_none(running_root) not in {None, before["servers"]["postgres"]["pid"]})
    after = seen(running_root)
    assert after["keeper"] == before["keeper"]
    assert ensure(root=running_root) == endpoints
    assert query(endpoints, "SELECT answer FROM kept") == [(42,)]
    assert len(postmasters(running_root)) == 2


@needs_linux
def test_supervisor__keeper_killed__the_worker_carries_on(running_root: Path) -> None:
    before = seen(running_root)

    kill(before["keeper"])

    ensure(root=running_root)
    assert seen(running_root) == before | {"keeper": None}


@needs_linux
def test_supervisor__killed_whole__leaves_no_orphan_and_the_next_call_starts_over(running_root: Path) -> None:
    endpoints = ensure(root=running_root)
    query(endpoints, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS answer")
    before = seen(running_root)
    orphans = postmasters(running_root)

    kill(before["keeper"], before["supervisor"])

    assert until(lambda: not postmasters(running_root)), f"still there of {orphans}"
    assert query(ensure(root=running_root), "SELECT answer FROM kept") == [(42,)]
    assert len(postmasters(running_root)) == 2


@needs_linux
def test_ensure__everything_killed_at_once__starts_over(running_root: Path) -> None:
    before = seen(running_root)

    kill(before["keeper"], before["supervisor"], *postmasters(running_root))

    assert query(ensure(root=running_root), "SELECT 1") == [(1,)]
    assert ask_valkey(ensure(root=running_root), "PING")
    assert len(postmasters(running_root)) == 2


@needs_linux
def test_ensure__killed_in_the_middle_of_the_first_start__starts_over(fresh_root: Path) -> None:
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ensure, root=fresh_root)
        assert until((fresh_root / "postgres.new").exists)
        kill(*supervisors(fresh_root))
        second = pool.submit(ensure, root=fresh_root)

    assert first.result() == second.result()
    assert query(second.result(), "SELECT 1") == [(1,)]
    assert len(postmasters(fresh_root)) == 2


@needs_linux
@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_ensure__a_server_nobody_supervises__is_dismissed_before_ours_writes(
    running_root: Path, kind: type[Server]
) -> None:
    before = seen(running_root)
    kill(before["keeper"], before["supervisor"])
    assert until(lambda: not postmasters(running_root))
    layout = Layout.of(running_root)
    account = server_account(layout)
    server = kind(layout, account)
    # It holds no lock of ours: what a crash may leave behind where the kernel ends no orphans.
    stranger = subprocess.Popen(
        server.command(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=child_setup(account, paths=[server.data], last_signal=signal.SIGTERM),  # noqa: PLW1509 - nothing else runs yet
    )
    assert until(server.serves)

    ensure(root=running_root)

    assert stranger.wait(timeout=10) == 0
    assert stranger.pid not in postmasters(running_root)
    assert until(lambda: len(postmasters(running_root)) == 2)


@needs_linux
def test_ensure__pid_file_names_another_living_process__is_not_believed(running_root: Path) -> None:
    before = seen(running_root)
    kill(before["keeper"], before["supervisor"], before["servers"]["postgres"]["pid"])
    assert until(lambda: not postmasters(running_root))
    pid_file = running_root / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{running_root / 'postgres'}\n")

    assert query(ensure(root=running_root), "SELECT 1") == [(1,)]


def server_pid_or_none(root: Path) -> int | None:
    """Return the id of a PostgreSQL that answers; None while it, or the supervisor, is away."""
    answer = status(root=root)
    if answer is None or answer["servers"]["postgres"]["state"] != "ready":
        return None
    return answer["servers"]["postgres"]["pid"]


def supervisors(root: Path) -> list[int]:
    """Return the supervisor's processes on `root`."""
    needle = b"config.embedded.supervisor\0--root\0" + os.fsencode(root)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if needle in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
