"""What every other process sees of the embedded servers: ask for them, and get the addresses."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict, cast
from urllib.parse import quote

from config.embedded.exceptions import EmbeddedError
from config.embedded.health import postgres_serves, valkey_serves
from config.embedded.layout import DATABASE, PORT, Layout
from config.embedded.privileges import server_account

__all__ = ["Endpoints", "ServerStatus", "Status", "ensure", "status", "stop"]

type ServerName = Literal["postgres", "valkey"]

_SERVES: dict[ServerName, Callable[[Layout], bool]] = {"postgres": postgres_serves, "valkey": valkey_serves}
_POLL_S = 0.05
# What failed to start this often is not merely slow.
_HOPELESS = 4
# The supervisor does not answer while it creates a cluster, which takes seconds on a busy machine.
_ANSWER_TIMEOUT_S = 60.0


class ServerStatus(TypedDict):
    """One server as the supervisor sees it."""

    state: Literal["stopped", "starting", "ready"]
    pid: int | None
    failures: int
    error: str


class Status(TypedDict):
    """The supervisor and its servers."""

    supervisor: int
    # None when it was killed; the worker goes on without it.
    keeper: int | None
    servers: dict[ServerName, ServerStatus]


@dataclass(frozen=True)
class Endpoints:
    """Addresses of the servers of one checkout."""

    layout: Layout

    @property
    def database_url(self) -> str:
        """The address for libpq."""
        return f"postgresql://{DATABASE}@/{DATABASE}?host={quote(str(self.layout.sockets))}&port={PORT}"

    @property
    def redis_url(self) -> str:
        """The address for redis-py."""
        return f"unix://{quote(str(self.layout.redis_socket))}?db=0"


def ensure(*names: ServerName, root: Path | None = None, timeout_s: float = 120.0) -> Endpoints:
    """Start what is needed of the servers `names` (default: both) and return their addresses once they answer.

    Costs a few milliseconds when they do already. `root` is the state directory, by default this checkout's. Any number
    of processes may call at once. Raise `EmbeddedError` when a server cannot start or takes longer than `timeout_s`.
    """
    wanted = names or tuple(_SERVES)
    layout = Layout.of(root)
    deadline = time.monotonic() + timeout_s
    need = request = f"need {' '.join(wanted)}"
    starts = 0
    while True:
        answer = _ask(layout, request)
        if answer is None:
            starts += _start_supervisor(layout)
            request, error = need, "the supervisor does not answer"
        else:
            servers = [answer["servers"][name] for name in wanted]
            # Only the first request, or one to another supervisor, makes a failing server try afresh.
            request = need if any(server["state"] == "stopped" for server in servers) else "status"
            error = "; ".join(server["error"] for server in servers if server["error"])
            if all(_SERVES[name](layout) for name in wanted):
                return Endpoints(layout)
            hopeless = [name for name in wanted if answer["servers"][name]["failures"] >= _HOPELESS]
            if hopeless:
                raise EmbeddedError(_explain(layout, hopeless, error))
        if starts > _HOPELESS or time.monotonic() > deadline:
            error = error or f"no answer after {timeout_s:.0f} s"
            raise EmbeddedError(_explain(layout, ["supervisor", *wanted], error))
        time.sleep(_POLL_S)


def status(*, root: Path | None = None) -> Status | None:
    """Return what the supervisor reports, None when there is none. Starts nothing."""
    return _ask(Layout.of(root), "status")


def stop(*, root: Path | None = None, timeout_s: float = 120.0) -> bool:
    """Stop supervisor and servers and wait until they are gone; return whether there was anything to stop."""
    layout = Layout.of(root)
    if _ask(layout, "stop") is None:
        return False
    deadline = time.monotonic() + timeout_s
    while _supervisor_lives(layout):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"Cannot stop the embedded servers within {timeout_s:.0f} s; they are still at it.")
        time.sleep(_POLL_S)
    return True


def _ask(layout: Layout, request: str) -> Status | None:
    """Send one request to the supervisor; None when nobody answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_TIMEOUT_S)
        try:
            connection.connect(str(layout.control))
            connection.sendall(request.encode() + b"\n")
            line = connection.makefile(encoding="utf-8").readline()
        except PermissionError as error:
            raise EmbeddedError(
                f"Cannot use the servers under {str(layout.root)!r}: another user runs them. "
                "Run as that user or as root, or set DATABASE_URL and REDIS_URL."
            ) from error
        except OSError:
            return None
    return cast("Status", json.loads(line)) if line else None


def _start_supervisor(layout: Layout) -> bool:
    """Start a supervisor and return True, unless one lives that is too young or too busy to answer."""
    server_account(layout)
    try:
        layout.prepare()
        output = layout.log("supervisor").open("ab")
        gate = layout.lock("start").open("ab")
    except PermissionError as error:
        raise EmbeddedError(
            f"Cannot write under {str(layout.root)!r}: it belongs to another user. "
            "Run as that user or as root, remove it, or set DATABASE_URL and REDIS_URL."
        ) from error
    with output, gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if _supervisor_lives(layout):
            return False
        subprocess.run(
            # -P: the working directory must not become a place to import from.
            [sys.executable, "-P", "-m", "config.embedded.supervisor", "--root", str(layout.root)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            # Whoever measures our caller does not mean a process that outlives it.
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
            check=False,
        )
    return True


def _supervisor_lives(layout: Layout) -> bool:
    with layout.lock("supervisor").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _explain(layout: Layout, names: Iterable[str], error: str) -> str:
    tails = "".join(_tail(layout.log(name)) for name in names)
    return (
        f"Cannot start the embedded servers: {error.rstrip('.')}.\n{tails}"
        "Mend the cause and run again, or set DATABASE_URL and REDIS_URL to servers of your own."
    )


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if log.exists() else []
    return "\n    ".join([f"The end of {str(log)!r}:", *lines]) + "\n" if lines else ""
