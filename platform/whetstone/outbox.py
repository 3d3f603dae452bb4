"""What is waiting to be sent, in memory: bounded by count and bytes, gone with the process."""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["BATCH_BYTES", "BATCH_RECORDS", "Batch", "MemoryOutbox", "Outbox", "OutboxFullError"]

BATCH_RECORDS = 500
BATCH_BYTES = 1_000_000


class OutboxFullError(Exception):
    """There is no room for one more; the message says of what."""


class Batch(Protocol):
    """Records that travel together; `num_sent` of them were answered for, of which `refused` by index and reason."""

    num_sent: int
    refused: dict[int, str]

    @property
    def num_records(self) -> int:
        """How many records this process answers for."""
        ...

    @property
    def is_inherited(self) -> bool:
        """Whether an earlier process left it."""
        ...

    def lines(self) -> list[bytes]:
        """Return the records, a line of JSON each."""
        ...

    def done(self) -> None:
        """Forget the batch: the platform answered for every record."""
        ...


class Outbox(Protocol):
    """Where records wait. All methods are called under the delivery's lock."""

    is_durable: bool

    def add(self, line: bytes) -> None:
        """Take one record in. Raises `OutboxFullError`, or OSError when the disk refuses."""
        ...

    def has_any(self) -> bool:
        """Tell whether something waits."""
        ...

    def is_ripe(self) -> bool:
        """Tell whether a full batch waits, so that lingering for company has no use."""
        ...

    def take(self) -> Batch | None:
        """Return the oldest batch, which no one else gets until it is done or this process ends."""
        ...

    def put_back(self, batch: Batch) -> None:
        """Take a batch back that could not be sent to its end; it is the next again."""
        ...

    def to_sync(self) -> list[int]:
        """Return the files with records that a loss of power would cost; the caller syncs and closes them."""
        ...

    def adopt(self) -> None:
        """Take over what processes that are gone left behind."""
        ...

    def close(self) -> None:
        """Let go of everything; what is not done stays for the next process, where it can."""
        ...

    def after_fork(self) -> None:
        """Leave everything to the parent and begin anew."""
        ...


@dataclass(slots=True)
class _MemoryBatch:
    records: list[bytes]
    is_inherited: bool = False
    num_sent: int = 0
    refused: dict[int, str] = field(default_factory=dict)

    @property
    def num_records(self) -> int:
        return len(self.records)

    def lines(self) -> list[bytes]:
        return self.records

    def done(self) -> None:
        """There is nothing to tidy up."""


class MemoryOutbox:
    """A queue in memory."""

    is_durable = False

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self.after_fork()

    def after_fork(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._put_back: deque[Batch] = deque()
        self._num_bytes = 0

    def add(self, line: bytes) -> None:
        if len(self._waiting) >= self._max_records:
            raise OutboxFullError(f"the queue holds {self._max_records} records already")
        if self._num_bytes + len(line) > self._max_bytes:
            raise OutboxFullError(f"the queue holds {self._max_bytes} bytes already")
        self._waiting.append(line)
        self._num_bytes += len(line)

    def has_any(self) -> bool:
        return bool(self._waiting or self._put_back)

    def is_ripe(self) -> bool:
        return len(self._waiting) >= BATCH_RECORDS or self._num_bytes >= BATCH_BYTES

    def take(self) -> Batch | None:
        if self._put_back:
            return self._put_back.popleft()
        records: list[bytes] = []
        size = 0
        while self._waiting and len(records) < BATCH_RECORDS:
            if records and size + len(self._waiting[0]) > BATCH_BYTES:
                break
            records.append(self._waiting.popleft())
            size += len(records[-1])
        self._num_bytes -= size
        return _MemoryBatch(records) if records else None

    def put_back(self, batch: Batch) -> None:
        self._put_back.appendleft(batch)

    def to_sync(self) -> list[int]:
        return []

    def adopt(self) -> None:
        """Memory leaves nothing behind."""

    def close(self) -> None:
        """There is nothing to let go of."""
