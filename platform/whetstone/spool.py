"""What is waiting to be sent, on disk: it survives the process, and the next one sends it.

A writer is one client in one process. It holds an exclusive lock (`flock`) on `<writer>.lock` as long as it lives, and
only who holds that lock reads, sends or removes the writer's segments `<writer>.<number>.ndjson`: append-only files of
one record a line. The kernel drops the lock when the process ends, however it ends; then another process may take it
and the segments with it. So two processes never send the same segment at the same time, and none is lost.

A record is written (and so survives a kill of the process) before `add` returns. To survive a loss of power it must
also be synced: with `sync_each` before `add` returns, else by the delivery's thread at least once a second.
"""

import contextlib
import os
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from whetstone.outbox import BATCH_BYTES, BATCH_RECORDS, Batch, OutboxFullError

try:
    import fcntl
except ImportError:  # pragma: no cover - no POSIX locks on this system
    fcntl = None  # type: ignore[assignment]

__all__ = ["Spool", "sync_files"]

_REFUSED = ".refused"
_REFUSED_SHARE = 8
"""Records the platform refused are kept for a person to look at, in at most this part of the spool."""
_write_through = getattr(os, "fdatasync", os.fsync)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


@dataclass(slots=True)
class _Segment:
    """A segment on its way out; `num_records` of an inherited one is known once it was read."""

    spool: "Spool"
    path: Path
    num_records: int
    num_bytes: int
    is_inherited: bool
    num_sent: int = 0
    refused: dict[int, str] = field(default_factory=dict)

    def lines(self) -> list[bytes]:
        try:
            body = self.path.read_bytes()
        except FileNotFoundError:
            return []
        # A last line without its end was being written when the process died: nobody was told it was taken.
        found = [line + b"\n" for line in body.split(b"\n")[:-1] if line.strip()]
        if self.is_inherited:
            self.num_records = len(found)
        return found

    def done(self) -> None:
        if self.refused:
            self.spool.keep_refused(self)
        self.spool.remove(self)


class Spool:
    """An outbox in a folder that any number of processes share."""

    is_durable = True

    def __init__(self, folder: Path, *, max_bytes: int, sync_each: bool) -> None:
        if fcntl is None:  # pragma: no cover - as above
            raise ValueError("A spool needs POSIX file locks, which this system lacks. Leave the folder out.")
        self._folder = folder
        self._max_bytes = max_bytes
        self._sync_each = sync_each
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._reset()

    def _reset(self) -> None:
        self._writer = ""
        self._locks: dict[str, int] = {}
        self._segments: deque[_Segment] = deque()
        self._number = 0
        self._open: tuple[int, Path] | None = None
        self._records = self._bytes = 0
        self._unsynced: dict[Path, int] = {}
        self._is_dirty = self._is_new = False
        self._own_bytes = 0
        self._others_bytes = self._measured()

    def after_fork(self) -> None:
        """Close this process's copies of the parent's files; the parent's locks stand as long as its own are open."""
        for fd in (*self._locks.values(), *self._unsynced.values(), *([self._open[0]] if self._open else [])):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._reset()

    def add(self, line: bytes) -> None:
        if self._own_bytes + self._others_bytes + len(line) > self._max_bytes:
            raise OutboxFullError(f"the spool {str(self._folder)!r} holds {self._max_bytes} bytes already")
        if self._records >= BATCH_RECORDS or (self._records and self._bytes + len(line) > BATCH_BYTES):
            self._seal()
        fd, _ = self._open or self._begun()
        written = 0
        try:
            while written < len(line):
                written += os.write(fd, line[written:])
            if self._sync_each:
                _write_through(fd)
        except OSError:
            self._abandon_half_a_record(fd)
            raise
        self._records += 1
        self._bytes += len(line)
        self._own_bytes += len(line)
        self._is_dirty = not self._sync_each

    def has_any(self) -> bool:
        return bool(self._segments or self._records)

    def is_ripe(self) -> bool:
        return bool(self._segments)

    def take(self) -> Batch | None:
        if not self._segments and self._records:
            self._seal()
        if not self._segments:
            return None
        return self._segments.popleft()

    def put_back(self, batch: Batch) -> None:
        assert isinstance(batch, _Segment)
        self._segments.appendleft(batch)

    def to_sync(self) -> list[int]:
        """Return the files with records that a loss of power would cost; the caller syncs and closes them."""
        files = list(self._unsynced.values())
        self._unsynced.clear()
        if self._is_dirty and self._open:
            files.append(os.dup(self._open[0]))
        if self._is_new and files:
            files.append(os.open(self._folder, os.O_RDONLY))
            self._is_new = False
        self._is_dirty = False
        return files

    def adopt(self) -> None:
        self._others_bytes = 0
        with contextlib.suppress(OSError):
            for lock in sorted(self._folder.glob("*.lock")):
                if lock.stem not in self._locks and self._locked(lock):
                    self._segments.extend(self._left_by(lock.stem))
                    self._forget_if_empty(lock.stem)
        self._others_bytes = max(0, self._measured() - self._own_bytes)

    def remove(self, segment: _Segment) -> None:
        """Remove a segment whose every record was answered for."""
        with contextlib.suppress(OSError):
            segment.path.unlink(missing_ok=True)
        fd = self._unsynced.pop(segment.path, None)
        if fd is not None:
            os.close(fd)
        if not segment.is_inherited:
            self._own_bytes -= segment.num_bytes
        self._forget_if_empty(segment.path.name.partition(".")[0])

    def keep_refused(self, segment: _Segment) -> None:
        """Keep what the platform refused beside the spool; the oldest go when there are too many."""
        with contextlib.suppress(OSError):
            lines = segment.lines()
            kept = b"".join(lines[index] for index in sorted(segment.refused) if index < len(lines))
            segment.path.with_suffix(_REFUSED).write_bytes(kept)
            old = sorted(self._folder.glob(f"*{_REFUSED}"), key=lambda path: path.stat().st_mtime)
            excess = sum(path.stat().st_size for path in old) - self._max_bytes // _REFUSED_SHARE
            for path in old:
                if excess <= 0:
                    break
                excess -= path.stat().st_size
                path.unlink()

    def close(self) -> None:
        """Write through, and leave what is not done to the next process."""
        if self._records:
            self._seal()
        sync_files(self.to_sync())
        own, self._writer = self._writer, ""
        if own and own in self._locks and not any(self._left_by(own)):
            self._drop(own)
        for fd in self._locks.values():
            os.close(fd)
        self._locks.clear()

    def _begun(self) -> tuple[int, Path]:
        if not self._writer:
            self._writer = self._named()
        self._number += 1
        path = self._folder / f"{self._writer}.{self._number:08d}.ndjson"
        self._open = (os.open(path, _FLAGS, 0o600), path)
        self._is_new = True
        if self._sync_each:
            self._sync_folder()
        return self._open

    def _named(self) -> str:
        """Return a name of our own, locked; an adopter may come between the making of the file and its lock."""
        while True:
            writer = uuid.uuid4().hex
            lock = self._folder / f"{writer}.lock"
            os.close(os.open(lock, _FLAGS, 0o600))
            if self._locked(lock):
                return writer

    def _abandon_half_a_record(self, fd: int) -> None:
        """Leave no piece of a refused record in front of the next: cut it off, or end the segment, whose reader does."""
        try:
            os.ftruncate(fd, self._bytes)
        except OSError:
            if self._records:
                self._seal()

    def _seal(self) -> None:
        """Close the open segment to writing and put it in line."""
        assert self._open is not None  # something was written
        fd, path = self._open
        self._segments.append(_Segment(self, path, self._records, self._bytes, is_inherited=False))
        if self._sync_each:
            os.close(fd)
        else:
            self._unsynced[path] = fd
        self._open, self._records, self._bytes = None, 0, 0

    def _locked(self, lock: Path) -> bool:
        """Try to become the one who may touch this writer's segments."""
        try:
            fd = os.open(lock, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before may have sent everything and removed the file before letting go.
            if os.fstat(fd).st_nlink:
                self._locks[lock.stem] = fd
                return True
        except OSError:
            pass
        os.close(fd)
        return False

    def _left_by(self, writer: str) -> Iterator[_Segment]:
        for path in sorted(self._folder.glob(f"{writer}.*.ndjson")):
            yield _Segment(self, path, 0, path.stat().st_size, is_inherited=True)

    def _forget_if_empty(self, writer: str) -> None:
        if writer != self._writer and writer in self._locks and not any(self._left_by(writer)):
            self._drop(writer)

    def _drop(self, writer: str) -> None:
        with contextlib.suppress(OSError):
            (self._folder / f"{writer}.lock").unlink(missing_ok=True)
            os.close(self._locks.pop(writer))

    def _measured(self) -> int:
        total = 0
        for path in self._folder.glob("*.ndjson"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
        return total

    def _sync_folder(self) -> None:
        sync_files([os.open(self._folder, os.O_RDONLY)])


def sync_files(files: Iterable[int]) -> None:
    """Write files through to the disk and close them."""
    for fd in files:
        with contextlib.suppress(OSError):
            os.fsync(fd)
        with contextlib.suppress(OSError):
            os.close(fd)
