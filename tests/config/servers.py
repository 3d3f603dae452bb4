"""Hands on the embedded servers: what tests do to them and ask of them."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import redis

from config.embedded import EmbeddedError, Endpoints, status, stop
from config.embedded.client import ServerName, Status

__all__ = ["ask_valkey", "kill", "postmasters", "query", "seen", "server_pid", "state_root", "until"]


@contextlib.contextmanager
def state_root() -> Iterator[Path]:
    """Lend an empty state directory; whatever runs on it, or just below it, is stopped afterwards."""
    # Not pytest's own directory, whose path leaves no room for a socket's name.
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="embedded-")))
    try:
        yield root
    finally:
        with contextlib.suppress(EmbeddedError):
            for state in (root, *root.glob("*")):
                stop(root=state)
        shutil.rmtree(root, ignore_errors=True)


def seen(root: Path) -> Status:
    """Return the status of a supervisor that must be there."""
    answer = status(root=root)
    assert answer is not None
    return answer


def server_pid(root: Path, name: ServerName) -> int:
    """Return the process id of a server that must be running."""
    pid = seen(root)["servers"][name]["pid"]
    assert pid is not None
    return pid


def kill(*pids: int | None) -> None:
    """Kill -9, without a chance to say good-bye; who is gone already is passed over."""
    for pid in pids:
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def query(endpoints: Endpoints, statement: str) -> list[tuple[object, ...]]:
    """Run one statement in its own connection and return its rows, if it has any."""
    with psycopg.connect(endpoints.database_url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def ask_valkey(endpoints: Endpoints, *command: str) -> object:
    """Send one command and return the answer."""
    with redis.Redis.from_url(endpoints.redis_url, decode_responses=True) as client:
        return client.execute_command(*command)


def until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> bool:
    """Wait until the condition holds; return whether it came to hold in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def postmasters(root: Path) -> list[int]:
    """Return the living processes that were started as servers on the data below `root` (Linux)."""
    assert sys.platform == "linux"
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            # A zombie keeps its id until its parent looks, and has no command line.
            if os.fsencode(root / "postgres") in words or os.fsencode(root / "valkey" / "valkey.conf") in words:
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
