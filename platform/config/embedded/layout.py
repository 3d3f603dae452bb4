"""Where one checkout's embedded servers keep their files, logs and sockets."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["DATABASE", "PORT", "Layout"]

# PostgreSQL names its socket after a port even when it listens on no network.
PORT = 5432
# The database, and the superuser that owns it.
DATABASE = "whetstone"

# A socket address holds 104 bytes on macOS and 108 on Linux, the closing NUL included; the longest name we add has 14.
_LONGEST_SOCKET_DIRECTORY = 86


@dataclass(frozen=True)
class Layout:
    """The state directory of one checkout. Two checkouts share nothing."""

    root: Path

    @classmethod
    def of(cls, root: Path | None = None) -> Self:
        """Return the layout of `root`, by default `.whetstone/` of this checkout, or of the working directory."""
        if root is None:
            checkout = Path(__file__).resolve().parents[3]
            root = (checkout if (checkout / "manage.py").is_file() else Path.cwd()) / ".whetstone"
        return cls(Path(os.path.realpath(root)))

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory; it exists only once it is complete."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's data directory."""
        return self.root / "valkey"

    @property
    def sockets(self) -> Path:
        """Directory of the sockets: `run/`, or where that link points when the path is too long for a socket."""
        return Path(os.path.realpath(self.root / "run"))

    @property
    def control(self) -> Path:
        """The supervisor's own socket."""
        return self.sockets / "control"

    @property
    def redis_socket(self) -> Path:
        """Valkey's socket."""
        return self.sockets / "valkey"

    def log(self, name: str) -> Path:
        """Return the log file of one server, or of the supervisor."""
        return self.root / "log" / f"{name}.log"

    def lock(self, name: str) -> Path:
        """Return the file whose flock proves that `name` lives."""
        return self.root / "lock" / name

    @property
    def wanted(self) -> Path:
        """The names of the servers asked for since the supervisor started, for a worker that replaces another."""
        return self.lock("wanted")

    def prepare(self) -> None:
        """Create the directories that need no server."""
        for name in ("log", "lock"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def prepare_sockets(self, *, owners: set[int]) -> None:
        """Create the sockets' directory; only the holder of the supervisor's lock may call this.

        Its path never changes while it lives, because running clients keep it. A temporary directory that vanished,
        or that came to belong to a user outside `owners`, is replaced.
        """
        link = self.root / "run"
        if len(os.fsencode(link)) <= _LONGEST_SOCKET_DIRECTORY:
            link.mkdir(mode=0o700, exist_ok=True)
            return
        if link.is_symlink() and link.is_dir() and link.stat().st_uid in owners:
            return
        link.unlink(missing_ok=True)
        link.symlink_to(tempfile.mkdtemp(prefix="whetstone-"))
