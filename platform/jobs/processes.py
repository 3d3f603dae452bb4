"""A handful of long-running child processes, kept alive together and ended together."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from django.conf import settings

__all__ = ["Processes", "Program", "platform_programs", "web_command"]

RESTART_PAUSE_S = 1.0
GRACE_S = 10.0
_MAX_WEB_PROCESSES = 4  # one machine also runs the workers and the databases


@dataclass(frozen=True)
class Program:
    """One command to keep running, and where its output goes."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


def web_command(host: str, port: int) -> list[str]:
    """Return the command that serves the platform, with a process a core: Python keeps no more than one core busy."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    workers = min(_MAX_WEB_PROCESSES, cores)
    return [
        sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port),
        "--workers", str(workers), "--blocking-threads", str(settings.WEB_THREADS), "--no-ws", "config.wsgi:application",
    ]  # fmt: skip


def platform_programs(
    *, port: int, host: str = "127.0.0.1", environment: Mapping[str, str] | None = None
) -> list[Program]:
    """Return what a whole platform on one machine consists of: web, workers by queue, and the clock.

    Embedding and clock workers do not fork: a loaded model does not survive a fork, and ticks are too many to pay one.
    """
    manage = [sys.executable, "-m", "django"]
    surroundings = {"DJANGO_SETTINGS_MODULE": "config.settings", **(environment or {})}
    plain = ["--worker-class", "rq.SimpleWorker", "--serializer", "rq.serializers.JSONSerializer"]
    return [
        Program("web", web_command(host, port), surroundings),
        Program("worker", [*manage, "rqworker", "default", *plain], surroundings),
        Program("runs", [*manage, "rqworker", "runs", *plain], surroundings),
        Program("embedding", [*manage, "rqworker", "embedding", *plain], surroundings),
        Program("clock-worker", [*manage, "rqworker", "clock", *plain], surroundings),
        Program("clock", [*manage, "rqcron", "jobs.cron", "--logging-level", "WARNING"], surroundings),
    ]


class Processes:
    """Starts programs, restarts those that die, and ends all of them, whatever happens to us.

    Each program leads a process group of its own, so that its children end with it. On Linux the kernel ends the
    children of a killed parent as well.
    """

    def __init__(self, programs: Sequence[Program], *, logs: Path) -> None:
        self._programs = {program.name: program for program in programs}
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="processes", daemon=True)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        for name in self._programs:
            self._start(name)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        with self._lock:
            for process in self._running.values():
                self._signal(process, signal.SIGTERM)
            deadline = time.monotonic() + GRACE_S
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                # The group may hold grandchildren that outlive their leader.
                self._signal(process, signal.SIGKILL)
                process.wait()

    def pid_of(self, name: str) -> int:
        """Return the process id of a running program."""
        return self._running[name].pid

    def add(self, program: Program) -> None:
        """Start one more program."""
        with self._lock:
            self._programs[program.name] = program
            self._start(program.name)

    def _start(self, name: str) -> None:
        program = self._programs[name]
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **program.environment},
                process_group=0,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  # one prctl call
            )

    def _watch(self) -> None:
        while not self._closing.wait(RESTART_PAUSE_S):
            with self._lock:
                for name, process in list(self._running.items()):
                    if process.poll() is not None and not self._closing.is_set():
                        self._start(name)

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _die_with_parent() -> None:
    """Ask the kernel to end this process when the thread that started it ends (prctl PR_SET_PDEATHSIG)."""
    import ctypes  # noqa: PLC0415  # only in the child, between fork and exec

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
