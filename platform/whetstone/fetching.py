"""Fetch an agent's harness: from memory at once, revalidated by ETag behind the turn, else the last known good one.

A get asks on the wire only the first time it sees a user (or a pin of another process), and again when what it has is
older than `stale_ok_s`. Between `ttl_s` and `stale_ok_s` it answers from memory and asks in the background. While the
platform is silent nothing waits for it as long as there is anything to serve.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from whetstone.canonical import digest_of
from whetstone.frozen import freeze
from whetstone.harness import Document, Harness, Served, Source
from whetstone.keeping import Kept, read, write
from whetstone.wire import FAILURES, Wire

__all__ = ["HarnessCache"]

log = logging.getLogger("whetstone")

_MAX_ENTRIES = 20_000
_MAX_DOCUMENTS = 64
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_SAVE_AGAIN_S = 60.0
_FACTS = Served.__dataclass_fields__.keys() - {"document"}

type _Key = tuple[str, str]
"""User and conversation; the conversation "" stands for whatever the user begins next."""

# Nobody in particular: the platform answers with the stable version.
_STABLE: _Key = ("", "")


@dataclass(frozen=True, slots=True)
class _Entry:
    served: Served
    confirmed_at: float  # wall clock, because a file outlives the process
    etag: str = ""
    pin: str | None = None
    asked_pin: str | None = None

    def is_for(self, pin: str | None) -> bool:
        return pin is None or pin in {self.pin, self.asked_pin}

    def age_s(self) -> float:
        return time.time() - self.confirmed_at


class HarnessCache:
    """What this process knows of one agent's harness, shared by all threads."""

    def __init__(self, wire: Wire, agent: str, *, path: Path | None, fallback: Kept | None) -> None:
        self._wire = wire
        self._agent = agent
        self._path = path
        self._fallback = fallback
        self._entries: dict[_Key, _Entry] = {}
        self._documents: dict[str, Document] = {}
        self._stable: _Entry | None = None
        self._saved = ("", 0.0)
        self._complaint = ""
        self.after_fork()

    def after_fork(self) -> None:
        """Forget threads and locks of another process; what is known stays known."""
        self._changed = threading.Condition()
        self._wanted: dict[_Key, None] = {}
        self._thread: threading.Thread | None = None
        self._failures = 0
        self._silent_until = 0.0
        self._closing = False

    def get(self, user: str, conversation: str, pin: str | None) -> Harness:
        """Return the harness for a turn; waits for the platform only where nothing better is at hand. Never raises."""
        entry = self._entries.get((user, conversation))
        if entry is not None and (pin is None or pin == entry.pin or entry.is_for(pin)):
            age_s = time.time() - entry.confirmed_at
            if 0.0 <= age_s < entry.served.ttl_s:
                # The usual way, so the short one: a tuple made without passing through a constructor written in Python.
                return tuple.__new__(Harness, (entry.served, "memory", age_s, entry.pin, user, conversation))
        return self._remembered(user, conversation, pin) or self._asked(user, conversation, pin)

    async def aget(self, user: str, conversation: str, pin: str | None) -> Harness:
        """Do the same without holding up the event loop."""
        found = self._remembered(user, conversation, pin)
        if found is not None:
            return found
        return await asyncio.to_thread(self._asked, user, conversation, pin)

    def close(self) -> None:
        """Stop asking in the background."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=1.0)

    def _remembered(self, user: str, conversation: str, pin: str | None) -> Harness | None:
        """Return what memory can answer; None when the platform has to be asked."""
        key = (user, conversation)
        entry = self._entries.get(key)
        is_new = entry is None and pin is None
        if is_new:
            # A new conversation of a known user: begin with what they were served last, and fetch its pin behind it.
            entry = self._entries.get((user, ""))
            if entry is not None:
                _put(self._entries, key, entry, _MAX_ENTRIES)
        if entry is None or not entry.is_for(pin):
            return None
        age_s = entry.age_s()
        if 0.0 <= age_s < entry.served.ttl_s:
            if is_new:
                self._revalidate(key)
            return Harness(entry.served, "memory", age_s, entry.pin, user, conversation)
        if 0.0 <= age_s <= entry.served.stale_ok_s:
            self._revalidate(key)
            return Harness(entry.served, "stale", age_s, entry.pin, user, conversation)
        return None

    def _asked(self, user: str, conversation: str, pin: str | None) -> Harness:
        """Ask the platform; while it is silent, return the best one known."""
        key = (user, conversation)
        best = self._best_known(user, conversation, pin) if self._failures else None
        if best is not None and best.source != "none":
            self._revalidate(key)
            return best
        if time.monotonic() >= self._silent_until:
            entry = self._ask(key, pin)
            if entry is not None:
                age_s = max(0.0, entry.age_s())
                return Harness(entry.served, "platform", age_s, entry.pin, user, conversation)
        return self._best_known(user, conversation, pin)

    def _best_known(self, user: str, conversation: str, pin: str | None) -> Harness:
        entry = self._entries.get((user, conversation)) or self._entries.get((user, ""))
        if entry and (entry.served.arm != "canary" or entry.age_s() <= entry.served.stale_ok_s):
            return Harness(
                entry.served, "stale", max(0.0, entry.age_s()), entry.pin if entry.is_for(pin) else pin, user, conversation
            )  # fmt: skip
        stable = self._stable
        if stable:
            return self._lent(Kept(stable.served, stable.confirmed_at), "stable", user, conversation)
        saved = read(self._path) if self._path else None
        if saved:
            return self._lent(saved, "disk", user, conversation)
        if self._fallback:
            return self._lent(self._fallback, "packaged", user, conversation)
        reason = f"no harness was ever received: {self._complaint or 'the platform was not asked yet'}"
        return Harness(Served(reason=reason), "none", None, None, user, conversation)

    def _lent(self, kept: Kept, source: Source, user: str, conversation: str) -> Harness:
        """Return the document for somebody else: whose arm, weight and pin these were stays with them."""
        reason = f"{source}, because the platform does not answer: {self._complaint}"
        served = replace(kept.served, release=None, arm=None, weight=None, reason=reason)
        age_s = None if kept.confirmed_at is None else max(0.0, time.time() - kept.confirmed_at)
        return Harness(served, source, age_s, None, user, conversation)

    def _revalidate(self, key: _Key) -> None:
        """Have the background thread ask again for this user; asked twice is asked once."""
        if key in self._wanted:
            return
        with self._changed:
            if self._closing:
                return
            self._wanted[key] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="whetstone-harness", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:
                    # The interpreter is ending; there will be no later turn to revalidate for.
                    self._thread = None
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (not self._wanted or time.monotonic() < self._silent_until):
                    pause_s = max(0.0, self._silent_until - time.monotonic())
                    self._changed.wait(pause_s if self._wanted else None)
                if self._closing:
                    return
                key = next(iter(self._wanted))
            entry = self._entries.get(key)
            answer = self._ask(key, entry.pin if entry else None)
            with self._changed:
                if answer is None:
                    # Who still needs theirs asks again at the next turn.
                    self._wanted.clear()
                self._wanted.pop(key, None)

    def _ask(self, key: _Key, pin: str | None) -> _Entry | None:
        """Ask the platform for one user, remember and return its answer; None when it has no usable one."""
        known = self._entries.get(key)
        try:
            entry = self._fetched(key, pin, known if known and known.is_for(pin) else None)
        except FAILURES as error:
            complaint = f"{type(error).__name__}: {error}"
            if not self._failures:
                log.warning("harness.unconfirmed agent=%s reason=%s", self._agent, complaint)
            self._complaint = complaint
            self._failures += 1
            longest_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures - 1, 10))
            # Jitter only shortens: many agents that lost one platform should not come back at once.
            self._silent_until = time.monotonic() + random.uniform(0.5, 1.0) * longest_s  # noqa: S311 - no secret
            return None
        self._failures = 0
        self._remember(key, entry)
        return entry

    def _fetched(self, key: _Key, pin: str | None, entry: _Entry | None) -> _Entry:
        user, conversation = key
        headers = {"Whetstone-Pin": pin} if pin else {}
        query = {"user": user, "conversation": conversation, "bundle": "0"}
        conditional = headers | ({"If-None-Match": entry.etag} if entry and entry.etag else {})
        address = f"agents/{self._agent}/harness"
        answer = self._wire.http.get(address, params=query, headers=conditional)
        if answer.status_code == httpx.codes.NOT_MODIFIED and entry:
            told = answer.headers.get("Whetstone-Pin") or entry.pin
            return replace(entry, confirmed_at=time.time(), pin=told, asked_pin=pin)
        facts = answer.raise_for_status().json()
        document = self._document(facts)
        if document is None:
            # A user's own layer has no bundle: ask again with the document in the answer.
            answer = self._wire.http.get(address, params=query | {"bundle": "1"}, headers=headers)
            facts = answer.raise_for_status().json()
            document = self._checked(facts["document"], facts["resolved_digest"])
        known = {name: facts[name] for name in _FACTS if name in facts}
        etag = answer.headers.get("ETag", "")
        return _Entry(Served(document, **known), time.time(), etag, facts.get("pin"), pin)

    def _document(self, facts: Mapping[str, Any]) -> Document | None:
        """Return the body for a digest from memory or as an immutable bundle; None when it has a user's layer."""
        resolved_digest = facts["resolved_digest"]
        known = self._documents.get(resolved_digest)
        if known is not None or resolved_digest != facts["digest"]:
            return known
        bundle = self._wire.http.get(f"harnesses/{resolved_digest}").raise_for_status().json()
        return self._checked(bundle, resolved_digest)

    def _checked(self, document: Any, told: str) -> Document:
        """Return the document read-only. Raises ValueError when it is not what its digest names."""
        found = digest_of(document)
        if found != told:
            raise ValueError(f"the document has the digest {found}, not {told}")
        frozen: Document = freeze(document)
        _put(self._documents, told, frozen, _MAX_DOCUMENTS)
        return frozen

    def _remember(self, key: _Key, entry: _Entry) -> None:
        user, _ = key
        _put(self._entries, key, entry, _MAX_ENTRIES)
        is_pinned = entry.asked_pin is not None and entry.asked_pin == entry.pin
        if not is_pinned:
            # What one conversation is pinned to is not what the user's next one begins with.
            _put(self._entries, (user, ""), replace(entry, pin=None, asked_pin=None), _MAX_ENTRIES)
        if entry.served.arm == "canary":
            stable = self._stable
            if user and (stable is None or stable.age_s() > stable.served.stale_ok_s):
                self._revalidate(_STABLE)  # so that there is something to leave this canary for
        elif not is_pinned and entry.served.resolved_digest == entry.served.digest:
            self._stable = entry
            self._save(entry)

    def _save(self, entry: _Entry) -> None:
        digest, saved_at = self._saved
        if self._path and (digest != entry.served.digest or entry.confirmed_at - saved_at >= _SAVE_AGAIN_S):
            self._saved = (entry.served.digest, entry.confirmed_at)
            write(self._path, Kept(entry.served, entry.confirmed_at))


def _put[K, V](store: dict[K, V], key: K, value: V, limit: int) -> None:
    """Store; beyond the limit the one known longest goes. Each step is atomic, so readers need no lock."""
    store[key] = value
    while len(store) > limit:
        try:
            store.pop(next(iter(store)), None)
        except (StopIteration, RuntimeError):
            return
