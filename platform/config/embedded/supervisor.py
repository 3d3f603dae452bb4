"""The process that owns the embedded servers: `python -m config.embedded.supervisor [--root DIR]`.

It detaches itself, and runs until it is told to stop or its state directory disappears. Two processes make it: the
keeper, which only waits, and the worker, which starts and watches the servers and answers on the control socket. A
worker killed with -9 is replaced by the keeper; when both are gone the kernel tells the servers to shut down (Linux),
and the next `ensure()` starts over. An flock held by both guarantees that there is one supervisor per checkout.

The control protocol is one line each way: `status`, `stop`, or `need NAME...`; the answer is the status as JSON.
"""

import argparse
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

from config.embedded.layout import Layout
from config.embedded.postgres import Postgres
from config.embedded.privileges import server_account
from config.embedded.server import Server, State
from config.embedded.valkey import Valkey

__all__ = ["main"]

logger = logging.getLogger("config.embedded.supervisor")

_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TICK_S = 0.1
_REQUEST_TIMEOUT_S = 1.0
_LONGEST_REQUEST = 1000
# A worker that keeps dying this soon after its start will not be helped by another one.
_SHORT_LIFE_S = 5.0
_SHORT_LIVES = 5


class Supervisor:
    """The worker: servers, their clock, and the control socket."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.account = server_account(layout)
        self.servers: dict[str, Server] = {
            server.name: server for server in (Postgres(layout, self.account), Valkey(layout, self.account))
        }
        self._home = _identity(layout.root)
        self._keeper = os.getppid()
        self._stopping = False

    def run(self) -> None:
        """Serve until told to stop, then stop the servers."""
        for ending in _ENDINGS:
            signal.signal(ending, self._note_signal)
        self.layout.prepare_sockets(owners={os.geteuid(), self.account.uid})
        self.account.give(self.layout.sockets)
        if self.layout.wanted.exists():
            self._want(self.layout.wanted.read_text(encoding="utf-8").split())
        with self._listen() as listener:
            while not self._stopping:
                self._answer_one(listener)
                if _identity(self.layout.root) != self._home:
                    self._abandon()
                    return
                for server in self.servers.values():
                    server.tick()
        for server in self.servers.values():
            server.stop()
        self.layout.control.unlink(missing_ok=True)
        logger.info("stopped")

    def status(self) -> dict[str, object]:
        """Return what the control socket tells."""
        return {
            "supervisor": os.getpid(),
            "keeper": self._keeper if os.getppid() == self._keeper else None,
            "servers": {
                server.name: {
                    "state": server.state,
                    "pid": server.pid,
                    "failures": server.failures,
                    "error": server.error,
                }
                for server in self.servers.values()
            },
        }

    def _listen(self) -> socket.socket:
        self.layout.control.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.layout.control))
        self.layout.control.chmod(0o600)
        listener.listen(64)
        listener.settimeout(_TICK_S)
        return listener

    def _answer_one(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            return
        with connection:
            connection.settimeout(_REQUEST_TIMEOUT_S)
            # A client may be killed at any byte; that is no business of the servers.
            with contextlib.suppress(OSError):
                line = connection.makefile("rb").readline(_LONGEST_REQUEST)
                self._obey(line.decode(errors="replace").split())
                connection.sendall(json.dumps(self.status()).encode() + b"\n")

    def _obey(self, words: list[str]) -> None:
        match words:
            case ["need", *names]:
                self._want(names)
            case ["stop"]:
                self._stopping = True
            case _:
                pass

    def _want(self, names: list[str]) -> None:
        for name in names:
            if name in self.servers:
                self.servers[name].want()
        wanted = " ".join(server.name for server in self.servers.values() if server.state is not State.STOPPED)
        self.layout.wanted.write_text(wanted, encoding="utf-8")

    def _abandon(self) -> None:
        """End at once: our directory was removed or moved, and what stands in its place belongs to another."""
        for server in self.servers.values():
            server.kill()
        logger.warning("the state directory disappeared; stopped")

    def _note_signal(self, number: int, _frame: object) -> None:
        logger.info("received %s", signal.Signals(number).name)
        self._stopping = True


def main(arguments: list[str] | None = None) -> int:
    """Start the supervisor detached and return at once; do nothing when it is there already."""
    parser = argparse.ArgumentParser(prog="python -m config.embedded.supervisor", description=__doc__)
    parser.add_argument("--root", type=Path, help="state directory, by default .whetstone/ of this checkout")
    layout = Layout.of(parser.parse_args(arguments).root)
    layout.prepare()
    lock = os.open(layout.lock("supervisor"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    layout.wanted.unlink(missing_ok=True)
    if os.fork():
        return 0
    os.setsid()
    os.chdir("/")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s [%(process)d] %(levelname)s %(message)s")
    os._exit(_keep(layout))


def _keep(layout: Layout) -> int:
    """Replace a killed worker; return the status of one that ended by itself or died too often."""
    short_lives = 0
    while short_lives < _SHORT_LIVES:
        born = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(_work(layout))
        for ending in _ENDINGS:
            signal.signal(ending, partial(_pass_on, child))
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) == 0:
            return 0
        logger.error("the supervisor died with status %s; starting another", os.waitstatus_to_exitcode(status))
        short_lives = short_lives + 1 if time.monotonic() - born < _SHORT_LIFE_S else 0
    logger.error("giving up after %s short lives", short_lives)
    return 1


def _pass_on(child: int, number: int, _frame: object) -> None:
    os.kill(child, number)


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = directory.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _work(layout: Layout) -> int:
    try:
        Supervisor(layout).run()
    except Exception:
        logger.exception("the supervisor failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
