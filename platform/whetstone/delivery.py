"""Send records in the background: bounded, batched, retried; the agent's turn never waits for it nor fails by it."""

import contextlib
import json
import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

import httpx

from whetstone.encoding import encoded
from whetstone.outbox import BATCH_RECORDS, Batch, Outbox, OutboxFullError
from whetstone.spool import sync_files
from whetstone.wire import FAILURES, Wire, retry_after_s

__all__ = ["OUTCOME", "Delivery", "Report"]

log = logging.getLogger("whetstone")

OUTCOME: Final = "whetstone_outcome"
"""A record with this as its only name is an outcome of the episode it names; every other record is an episode."""
_OUTCOME_MARK: Final = f'{{"{OUTCOME}":'.encode()
_LINGER_S = 0.2
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 15.0
_SYNC_S = 1.0
_ADOPT_S = 5.0
_REFUSALS = frozenset({400, 413, 422})
_OUTCOME_RETRIES = frozenset({401, 408, 425, 429})


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the records (episodes and outcomes) of this process: counts, and the last reason for trouble.

    `recorded` is how often `record` was called. Of these `accepted` got True; `unreadable` (no JSON could be made of
    it) and `overflowed` (no room, or closed) got False. Every accepted one is `delivered` (the platform has it),
    `rejected` (the platform refused it, for good) or `pending`. With a folder, pending ones are on disk: `spooled` is
    how many, and the next process sends them. `inherited` counts what earlier processes left and this one delivered.
    """

    recorded: int = 0
    accepted: int = 0
    unreadable: int = 0
    overflowed: int = 0
    delivered: int = 0
    rejected: int = 0
    pending: int = 0
    spooled: int = 0
    inherited: int = 0
    last_reason: str = ""

    @property
    def lost(self) -> int:
        """Return how many records the platform does not have and, were the process to end now, would never get."""
        return self.unreadable + self.overflowed + self.rejected + self.pending - self.spooled


@dataclass(slots=True)
class _Fate:
    """What the platform said of a batch: reasons of refusals by index; or that it is to be sent again, and not before."""

    refused: dict[int, str] = field(default_factory=dict)
    again: str = ""
    not_before_s: float = 0.0


class Delivery:
    """One thread that posts what waits in the outbox.

    An outage is waited out with growing, jittered pauses, a Retry-After is kept; the platform is idempotent on
    (agent, id), so a batch whose answer was lost is simply sent again.
    """

    def __init__(self, wire: Wire, outbox: Outbox, *, agent: str) -> None:
        self._wire = wire
        self._outbox = outbox
        self._agent = agent
        self._begin()
        with self._changed:
            outbox.adopt()
            if outbox.has_any():
                self._ensure_thread()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._report = Report()
        self._closing = self._closed = False
        self._hurries = 0
        self._is_sending = False
        self._adopt_at = time.monotonic() + _ADOPT_S
        self._sync_at = 0.0
        self._at_once = BATCH_RECORDS
        self._thread: threading.Thread | None = None

    def after_fork(self) -> None:
        """Begin anew in a child: what was recorded before the fork is the parent's to send."""
        self._begin()
        self._outbox.after_fork()

    def record(self, record: Mapping[str, Any]) -> bool:
        """Take one record in; return whether it was accepted. Never raises."""
        try:
            line = encoded(record)
        except Exception as error:  # noqa: BLE001 - whatever an agent hands over must not hurt it
            with self._changed:
                self._count(recorded=1, unreadable=1, reason=f"not JSON: {type(error).__name__}: {error}")
            return False
        with self._changed:
            try:
                if self._closing:
                    raise OutboxFullError("the client is closed")
                was_waiting, was_ripe = self._outbox.has_any(), self._outbox.is_ripe()
                self._outbox.add(line)
            except (OutboxFullError, OSError) as error:
                self._count(recorded=1, overflowed=1, reason=str(error))
                return False
            self._count(recorded=1, accepted=1, pending=1)
            self._ensure_thread()
            # The sender lingers for company; waking it for every record would cost the agent more than the record.
            if not was_waiting or (self._outbox.is_ripe() and not was_ripe):
                self._changed.notify_all()
        return True

    def report(self) -> Report:
        """Return the counts so far."""
        with self._changed:
            spooled = self._report.pending if self._outbox.is_durable else 0
            return replace(self._report, spooled=spooled)

    def flush(self, timeout_s: float) -> Report:
        """Wait until nothing is pending or the time is up; return the counts so far. Ends a pause between retries."""
        with self._changed:
            self._hurries += 1
            self._changed.notify_all()
            if self._thread is not None and self._thread.is_alive():
                self._changed.wait_for(self._is_idle, timeout=timeout_s)
        return self.report()

    def close(self, timeout_s: float) -> Report:
        """Flush, then stop the thread and refuse further records."""
        if self._closed:
            return self.report()
        self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(timeout=1.0)
        if thread is not None and thread.ident is None:
            self._drain(timeout_s)
        if thread is None or not thread.is_alive():
            # A thread that still waits for an answer keeps its segment, and closes when it has one.
            self._close_outbox()
        report = self.report()
        if report.lost:
            log.warning("episodes.lost count=%d reason=%s", report.lost, report.last_reason)
        return report

    def _drain(self, timeout_s: float) -> None:
        """Send from the caller's own thread, once, what no thread could be started for."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with self._changed:
                batch = None if self._closed else self._outbox.take()
            if batch is None:
                return
            lines = batch.lines()
            fate = self._posted(lines) if lines else _Fate()
            if fate.again:
                with self._changed:
                    self._count(reason=fate.again)
                return
            self._count_answered(batch, len(lines), fate.refused)
            self._finish(batch)

    def _is_idle(self) -> bool:
        return not (self._report.pending or self._is_sending or self._outbox.has_any())

    def _ensure_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(target=self._run, name="whetstone-episodes", daemon=True)
        # While the interpreter ends no thread starts; what is spooled is sent by the next process.
        with contextlib.suppress(RuntimeError):
            self._thread.start()

    def _count(self, *, reason: str = "", **added: int) -> None:
        """Add to the counts; the caller holds the lock."""
        changed = {name: getattr(self._report, name) + number for name, number in added.items()}
        self._report = replace(self._report, **changed, last_reason=reason or self._report.last_reason)

    def _run(self) -> None:
        batch: Batch | None = None
        while True:
            try:
                batch = self._next_batch()
                if batch is None or not self._deliver(batch):
                    break
            except Exception:
                # A disk or a process short of files may fail anywhere; nothing is lost by trying again.
                log.exception("episodes.stumbled")
                with self._changed:
                    if batch is not None:
                        self._outbox.put_back(batch)
                    batch, self._is_sending = None, False
                    if not self._closing:
                        self._changed.wait(_SYNC_S)
        if self._closing:
            self._close_outbox()

    def _close_outbox(self) -> None:
        with self._changed:
            if not self._closed:
                self._closed = True
                with contextlib.suppress(OSError):
                    self._outbox.close()

    def _next_batch(self) -> Batch | None:
        """Return the next batch, lingering briefly for company; None when closed."""
        while True:
            with self._changed:
                if not self._outbox.has_any() and not self._closing:
                    self._changed.wait(_ADOPT_S if self._outbox.is_durable else None)
                hurries, until = self._hurries, time.monotonic() + _LINGER_S
                while self._outbox.has_any() and not (self._closing or self._outbox.is_ripe()):
                    left_s = until - time.monotonic()
                    if left_s <= 0 or hurries != self._hurries or not self._changed.wait(left_s):
                        break
                if self._closing:
                    return None
                batch = self._outbox.take()
                self._is_sending = batch is not None
            if batch is not None:
                return batch
            self._keep_house()

    def _keep_house(self) -> None:
        """Write through what a loss of power would cost, and look for what others left behind; now and then."""
        now = time.monotonic()
        with self._changed:
            files = self._outbox.to_sync() if now >= self._sync_at else []
            if now >= self._adopt_at:
                self._adopt_at = now + _ADOPT_S
                self._outbox.adopt()
        if files:
            sync_files(files)
            self._sync_at = now + _SYNC_S

    def _deliver(self, batch: Batch) -> bool:
        """Send one batch, piece by piece, until all of it is answered; return False when closed before."""
        lines = batch.lines()
        pause_s, tries = _FIRST_PAUSE_S, 0
        while batch.num_sent < len(lines):
            piece = lines[batch.num_sent : batch.num_sent + self._at_once]
            fate = self._posted(piece)
            if not fate.again:
                self._count_answered(batch, len(piece), fate.refused)
                self._at_once = min(BATCH_RECORDS, 2 * self._at_once)
                pause_s = _FIRST_PAUSE_S
                continue
            # A platform that cannot take this many in time will not the next time either.
            self._at_once = max(1, self._at_once // 2)
            if not tries:
                log.warning("episodes.delayed reason=%s", fate.again)
            tries += 1
            with self._changed:
                self._count(reason=fate.again)
            if not self._paused(random.uniform(0.5, 1.0) * pause_s, fate.not_before_s):  # noqa: S311 - jitter, no secret
                return False
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
        if tries:
            log.warning("episodes.resumed after=%d tries", tries)
        self._finish(batch)
        return True

    def _count_answered(self, batch: Batch, num_sent: int, refused: Mapping[int, str]) -> None:
        for reason in set(refused.values()):
            log.warning("episodes.rejected reason=%s", reason)
        kept, first = num_sent - len(refused), next(iter(refused.values()), "")
        with self._changed:
            batch.refused |= {batch.num_sent + index: reason for index, reason in refused.items()}
            batch.num_sent += num_sent
            if batch.is_inherited:
                self._count(inherited=kept, reason=first)
            else:
                self._count(pending=-num_sent, delivered=kept, rejected=len(refused), reason=first)

    def _finish(self, batch: Batch) -> None:
        """Let go of a batch whose every record was answered."""
        with self._changed:
            vanished = 0 if batch.is_inherited else batch.num_records - batch.num_sent
            if vanished:
                self._count(pending=-vanished, rejected=vanished, reason="a segment vanished from the spool")
            batch.done()
            self._is_sending = False
            self._changed.notify_all()

    def _paused(self, pause_s: float, not_before_s: float) -> bool:
        """Wait before the next try, shorter when somebody flushes but never less than asked; False when closed."""
        now = time.monotonic()
        earliest, until, hurries = now + not_before_s, now + max(pause_s, not_before_s), self._hurries
        while True:
            self._keep_house()
            with self._changed:
                now = time.monotonic()
                if self._closing:
                    return False
                if now >= until or (now >= earliest and hurries != self._hurries):
                    return True
                goal = earliest if hurries != self._hurries else until
                self._changed.wait(min(_SYNC_S, goal - now))

    def _posted(self, lines: Sequence[bytes]) -> _Fate:
        """Send episodes, then the outcomes that belong to them. Repeating is harmless for both."""
        episodes = [(index, line) for index, line in enumerate(lines) if not line.startswith(_OUTCOME_MARK)]
        outcomes = [(index, line) for index, line in enumerate(lines) if line.startswith(_OUTCOME_MARK)]
        fate = self._posted_episodes(episodes) if episodes else _Fate()
        for index, line in outcomes:
            if fate.again:
                break
            one = self._posted_outcome(index, line)
            fate = _Fate(fate.refused | one.refused, one.again, one.not_before_s)
        return fate

    def _posted_episodes(self, episodes: Sequence[tuple[int, bytes]]) -> _Fate:
        try:
            answer = self._wire.post_episodes(b"".join(line for _, line in episodes))
            if answer.is_success:
                facts = answer.json()
                if facts["accepted"] + facts.get("duplicates", 0) + len(facts["rejected"]) < len(episodes):
                    return _Fate(again="the answer does not account for every episode")
                return _Fate({episodes[item["index"]][0]: str(item["reason"]) for item in facts["rejected"]})
        except (*FAILURES, IndexError) as error:
            return _Fate(again=f"{type(error).__name__}: {error}")
        if not _is_refusal(answer):
            return _Fate(again=_said(answer), not_before_s=retry_after_s(answer))
        if len(episodes) == 1:
            return _Fate({episodes[0][0]: _said(answer)})
        # One of them spoils the batch, or it is too large: halves find out which, and the others get through.
        half = len(episodes) // 2
        first, second = self._posted_episodes(episodes[:half]), self._posted_episodes(episodes[half:])
        worse = first if first.again else second
        return _Fate(first.refused | second.refused, worse.again, worse.not_before_s)

    def _posted_outcome(self, index: int, line: bytes) -> _Fate:
        try:
            outcome = json.loads(line)[OUTCOME]
            episode = quote(str(outcome.pop("episode")), safe="")
            address = f"episodes/{episode}/outcomes"
            answer = self._wire.http.post(address, params={"agent": self._agent}, json=outcome)
        except FAILURES as error:
            return _Fate(again=f"{type(error).__name__}: {error}")
        if answer.is_success:
            return _Fate()
        if answer.is_server_error or answer.status_code in _OUTCOME_RETRIES:
            return _Fate(again=_said(answer), not_before_s=retry_after_s(answer))
        return _Fate({index: f"outcome: {_said(answer)}"})


def _is_refusal(answer: httpx.Response) -> bool:
    """Tell whether the platform itself refused, for good.

    Anything else may be mended without the episodes being lost: a key revoked by mistake, a wrong address, a proxy.
    """
    if answer.status_code not in _REFUSALS:
        return False
    if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return True
    try:
        return "code" in answer.json()
    except (ValueError, TypeError):
        return False


def _said(answer: httpx.Response) -> str:
    return f"HTTP {answer.status_code}: {answer.text[:200]}".rstrip(": ")
