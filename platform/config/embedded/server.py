"""One server process: started, watched, restarted and stopped; never twice on the same files.

Every process of a server inherits an flock on `lock/<name>`. Whoever can take that lock knows that no process of an
earlier life is left, whatever a pid file says; whoever cannot must wait or ask the living one to stop.
"""

import enum
import fcntl
import logging
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from config.embedded.exceptions import EmbeddedError
from config.embedded.layout import Layout
from config.embedded.privileges import Account, child_setup

__all__ = ["Server", "State"]

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 5.0
# How long a server we did not start may take to stop before it is asked harder.
_PATIENCE_S = 20.0
_LOG_BYTES = 10_000_000


class State(enum.StrEnum):
    """Where a server stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"


class Server(ABC):
    """A supervised server; the supervisor calls `tick` several times a second."""

    name: str
    # Ask politely (finishing what is under way), then firmly (crash recovery may follow), then not at all.
    signals: tuple[signal.Signals, signal.Signals, signal.Signals]

    def __init__(self, layout: Layout, account: Account) -> None:
        self.layout = layout
        self.account = account
        self.state = State.STOPPED
        self.failures = 0
        self.error = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0
        self._asked, self._ask_again_at = 0, 0.0

    @property
    def pid(self) -> int | None:
        """Process id of the server we started, None when there is none."""
        return self._process.pid if self._process else None

    @property
    @abstractmethod
    def data(self) -> Path:
        """The directory only one process may write."""

    @abstractmethod
    def prepare(self, lock: int) -> None:
        """Create what the server needs and remove what a dead one left; raise `EmbeddedError` when it cannot.

        Every process started here inherits `lock`, too.
        """

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line of the server, in the foreground."""

    @abstractmethod
    def serves(self) -> bool:
        """Tell whether the server answers on our data."""

    @abstractmethod
    def living_pid(self) -> int | None:
        """Return the id of a process proven to serve our data, started by whomever."""

    def want(self) -> None:
        """Start the server at the next tick unless it runs, forgetting that it failed before."""
        if self.state is not State.READY:
            self.state, self.failures, self._not_before = State.STARTING, 0, 0.0

    def tick(self) -> None:
        """Do what is due: start, notice readiness or death, start again after a growing pause."""
        if self.state is State.STOPPED:
            return
        if self._process is None:
            if time.monotonic() >= self._not_before:
                self._try_to_start()
        elif self._process.poll() is not None:
            self._note_death(f"{self.name} exited with status {self._process.returncode}")
        elif self.state is State.STARTING and self.serves():
            self.state, self.failures, self.error = State.READY, 0, ""
            logger.info("%s is ready, pid %s", self.name, self.pid)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Stop the server and wait until it is gone, asking harder as time passes."""
        self._end(self.signals, timeout_s)

    def kill(self) -> None:
        """End the server without giving it a chance to touch a file."""
        self._end(self.signals[-1:], 30.0)

    def _end(self, signals: Iterable[signal.Signals], timeout_s: float) -> None:
        self.state = State.STOPPED
        if self._process is None:
            return
        for ask in signals:
            self._process.send_signal(ask)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                logger.warning("%s ignores %s", self.name, ask.name)
                continue
            break
        self._process = None

    def _try_to_start(self) -> None:
        lock = os.open(self.layout.lock(self.name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._dismiss_stranger()
                return
            if self.living_pid() is not None:
                self._dismiss_stranger()
                return
            self._asked, self._ask_again_at = 0, 0.0
            self._start(lock)
        except (EmbeddedError, OSError) as error:
            self._note_death(str(error))
        finally:
            os.close(lock)

    def _start(self, lock: int) -> None:
        self.prepare(lock)
        command = self.command()
        log = self.layout.log(self.name)
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.rename(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=server_environment(),
                pass_fds=(lock,),
                preexec_fn=child_setup(  # noqa: PLW1509 - the supervisor has one thread, so this is safe
                    self.account, paths=[Path(command[0]), self.data, self.layout.sockets], last_signal=self.signals[0]
                ),
                # A Ctrl-C in the terminal that started us is not meant for the servers.
                start_new_session=True,
            )
        self.state = State.STARTING

    def _dismiss_stranger(self) -> None:
        """Ask a server of an earlier life to stop; the next ticks see whether it did."""
        now = time.monotonic()
        self._not_before = now + 0.1
        pid = self.living_pid()
        if pid is None:
            self.error = f"waiting for the last processes of an earlier {self.name} on {str(self.data)!r} to end"
        elif now >= self._ask_again_at:
            ask = self.signals[min(self._asked, 2)]
            self._asked, self._ask_again_at = self._asked + 1, now + _PATIENCE_S
            self.error = f"waiting for an earlier {self.name}, process {pid}, to stop"
            logger.warning("%s: process %s of an earlier life serves our data; sending %s", self.name, pid, ask.name)
            os.kill(pid, ask)

    def _note_death(self, reason: str) -> None:
        self.failures = 1 if self.state is State.READY else self.failures + 1
        pause = 0.0 if self.state is State.READY else min(_LONGEST_PAUSE_S, 0.1 * 2**self.failures)
        self.error = reason
        logger.error("%s; starting it again in %.1f s", self.error, pause)
        self.state, self._process, self._not_before = State.STARTING, None, time.monotonic() + pause


def server_environment() -> dict[str, str]:
    """Return the environment of a server: ours without what would steer PostgreSQL behind our back."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}
