"""Report episodes in the background: bounded, batched, retried; the agent's turn never waits for it nor fails by it."""

import json
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

__all__ = ["EpisodeQueue", "Report"]

log = logging.getLogger("whetstone")

_BATCH = 100
_BATCH_BYTES = 1_000_000
_LINGER_S = 0.2
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the recorded episodes: counts since the start, and the last reason for a loss.

    `overflowed` did not fit the queue, `rejected` were refused (by the platform, or not JSON), `pending` are not
    answered yet and, after `close`, never will be.
    """

    recorded: int = 0
    accepted: int = 0
    rejected: int = 0
    overflowed: int = 0
    pending: int = 0
    last_reason: str = ""

    @property
    def lost(self) -> int:
        """Return how many episodes the platform does not have."""
        return self.rejected + self.overflowed + self.pending


class EpisodeQueue:
    """A bounded queue with one thread that posts batches to `POST /api/v1/episodes`.

    An outage is waited out with growing, jittered pauses; the platform is idempotent on (agent, id), so a batch whose
    answer was lost is simply sent again. When the queue is full the newest episode is refused.
    """

    def __init__(self, http: httpx.Client, *, max_queued: int = 10_000) -> None:
        self._http = http
        self._max_queued = max_queued
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._report = Report()
        self._closing = False
        self._hurried = False
        self._thread: threading.Thread | None = None

    def record(self, episode: Mapping[str, Any]) -> bool:
        """Queue one episode (the item of `POST /api/v1/episodes`); return whether it was taken. Never raises."""
        try:
            item = json.dumps(episode, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            with self._changed:
                self._count(recorded=1, rejected=1, reason=f"not JSON: {error}")
            return False
        with self._changed:
            if self._closing or self._report.pending >= self._max_queued:
                self._count(recorded=1, overflowed=1, reason="client closed" if self._closing else "queue full")
                return False
            self._waiting.append(item)
            self._count(recorded=1, pending=1)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="whetstone-episodes", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return True

    def send(self, episodes: Iterable[Mapping[str, Any]]) -> int:
        """Queue several episodes; return how many were taken."""
        return sum(self.record(episode) for episode in episodes)

    def flush(self, timeout_s: float) -> Report:
        """Wait until nothing is pending or the time is up; return the counts so far."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._report.pending, timeout=timeout_s)
            self._hurried = False
            return self._report

    def close(self, timeout_s: float) -> Report:
        """Flush, then stop the thread and refuse further episodes."""
        self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            report = self._report
        if self._thread:
            self._thread.join(timeout=1.0)
        if report.lost:
            log.warning("episodes.lost count=%d reason=%s", report.lost, report.last_reason)
        return report

    def _count(self, *, reason: str = "", **added: int) -> None:
        """Add to the counts; the caller holds the lock."""
        changed = {name: getattr(self._report, name) + number for name, number in added.items()}
        self._report = replace(self._report, **changed, last_reason=reason or self._report.last_reason)

    def _run(self) -> None:
        while batch := self._next_batch():
            pause_s = _FIRST_PAUSE_S
            while not self._post(batch):
                with self._changed:
                    if self._closing:
                        return
                    self._changed.wait(random.uniform(0.5, 1.0) * pause_s)  # noqa: S311 - jitter, no secret
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    def _next_batch(self) -> list[str]:
        """Return the next episodes, lingering briefly for company; empty when closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            until = time.monotonic() + _LINGER_S
            while len(self._waiting) < _BATCH and not (self._hurried or self._closing):
                if not self._changed.wait(max(0.0, until - time.monotonic())) or time.monotonic() >= until:
                    break
            batch: list[str] = []
            size = 0
            while self._waiting and len(batch) < _BATCH and (not batch or size + len(self._waiting[0]) < _BATCH_BYTES):
                size += len(self._waiting[0])
                batch.append(self._waiting.popleft())
            return batch

    def _post(self, batch: list[str]) -> bool:
        """Send one batch and count its fate; return False when it must be sent again."""
        try:
            answer = self._http.post(
                "episodes",
                content=f"[{','.join(batch)}]".encode(errors="replace"),
                headers={"Content-Type": "application/json"},
            )
            facts = answer.json() if answer.is_success else {}
            refused = [str(item["reason"]) for item in facts.get("rejected") or []]
        except (httpx.HTTPError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            with self._changed:
                self._count(reason=f"{type(error).__name__}: {error}")
            return False
        status = answer.status_code
        # 401 and 403 are waited out too: a key revoked by mistake should not cost the episodes.
        again = status >= httpx.codes.INTERNAL_SERVER_ERROR or status in {401, 403, 408, 425, 429}
        with self._changed:
            if again:
                self._count(reason=f"HTTP {status}")
            elif answer.is_success:
                sent, refusals = len(batch), len(refused)
                self._count(pending=-sent, rejected=refusals, accepted=sent - refusals, reason="".join(refused[:1]))
            else:
                self._count(pending=-len(batch), rejected=len(batch), reason=f"HTTP {status}: {answer.text[:200]}")
            self._changed.notify_all()
        return not again
