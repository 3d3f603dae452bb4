"""Fetch an agent's harness: cached per user, revalidated by ETag, falling back to the last known good one."""

import hashlib
import json
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import httpx

__all__ = ["HarnessCache", "HarnessHandle", "Resolved"]

type Document = Mapping[str, Any]
type Source = Literal["platform", "cache", "stale", "stable", "disk", "none"]

_MAX_USERS = 10_000
_MAX_DOCUMENTS = 64
_PAUSE_AFTER_FAILURE_S = 1.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """The harness to run one turn on, and how it was come by.

    `source` is `platform` (just confirmed), `cache` (confirmed less than `ttl_s` ago), `stale` (the platform does not
    answer; this user's last one), `stable` (same, but this user's canary was too old: the agent's last stable one),
    `disk` (same, from an earlier process) or `none` (never had any: `document` is empty). `age_s` is the time since the
    platform last confirmed it. `pin` goes back in at the next turn of the same conversation.
    """

    document: Document = field(default_factory=dict)
    version: int | None = None
    digest: str = ""
    resolved_digest: str = ""
    release: str | None = None
    arm: str | None = None
    weight: float | None = None
    reason: str = ""
    pin: str | None = None
    ttl_s: float = 0.0
    stale_ok_s: float = 0.0
    state: str = ""
    source: Source = "none"
    age_s: float = 0.0

    def reference(self) -> dict[str, Any]:
        """Return the fields by which an episode names the harness it ran on."""
        return {"harness_digest": self.digest, "release": self.release, "arm": self.arm, "weight": self.weight}


@dataclass(frozen=True, slots=True)
class _Entry:
    resolved: Resolved
    etag: str
    confirmed_at: float  # wall clock, because a file outlives the process

    def served(self, source: Source) -> Resolved:
        return replace(self.resolved, source=source, age_s=max(0.0, time.time() - self.confirmed_at))

    def lent(self, source: Source) -> Resolved:
        """Return the document for somebody else: whose arm, weight and pin these were stays with them."""
        return replace(self.served(source), release=None, arm=None, weight=None, pin=None, reason="platform silent")


@dataclass(frozen=True, slots=True)
class HarnessHandle:
    """One agent's way to its harness."""

    agent: str
    cache: "HarnessCache"

    def get(self, *, user: str, conversation: str = "", pin: str | None = None) -> Resolved:
        """Return the harness for this user's turn. Never raises; read `source` to know how current it is."""
        return self.cache.get(self.agent, user, conversation, pin)


class HarnessCache:
    """What this process knows about its agents' harnesses, shared by all threads."""

    def __init__(self, http: httpx.Client, folder: Path | None) -> None:
        self._http = http
        self._folder = folder
        self._lock = threading.Lock()
        self._users: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._stable: dict[str, _Entry] = {}
        self._silent_until = 0.0

    def get(self, agent: str, user: str, conversation: str, pin: str | None) -> Resolved:
        """Return the cached harness while fresh, else ask the platform, else the best one known."""
        with self._lock:
            entry = self._users.get((agent, user))
        fresh = entry and 0.0 <= time.time() - entry.confirmed_at < entry.resolved.ttl_s
        if entry and fresh and pin in {None, entry.resolved.pin}:
            return entry.served("cache")
        if time.monotonic() >= self._silent_until:
            try:
                confirmed = self._fetch(agent, user, conversation, pin, entry)
            except (httpx.HTTPError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
                # A short silence after a failure keeps a dead platform from adding its timeout to every turn.
                self._silent_until = time.monotonic() + _PAUSE_AFTER_FAILURE_S
            else:
                self._remember(agent, user, confirmed)
                return confirmed.served("platform")
        return self._best_known(agent, entry)

    def _best_known(self, agent: str, entry: _Entry | None) -> Resolved:
        if entry and (entry.resolved.arm != "canary" or time.time() - entry.confirmed_at <= entry.resolved.stale_ok_s):
            return entry.served("stale")
        with self._lock:
            stable = self._stable.get(agent)
        if stable:
            return stable.lent("stable")
        saved = self._read(agent)
        return saved.lent("disk") if saved else Resolved(reason="no harness was ever received")

    def _fetch(self, agent: str, user: str, conversation: str, pin: str | None, entry: _Entry | None) -> _Entry:
        headers = {"Whetstone-Pin": pin} if pin else {}
        query = {"user": user, "conversation": conversation, "bundle": "0"}
        conditional = headers | ({"If-None-Match": entry.etag} if entry and entry.etag else {})
        answer = self._http.get(f"agents/{agent}/harness", params=query, headers=conditional)
        if answer.status_code == httpx.codes.NOT_MODIFIED and entry:
            return replace(entry, confirmed_at=time.time())
        facts = answer.raise_for_status().json()
        document = facts.get("document")
        if document is None:
            document = self._known_document(facts)
        if document is None:
            # An overlay is this user's own and has no bundle: ask again with the document in the answer.
            whole = self._http.get(f"agents/{agent}/harness", params=query | {"bundle": "1"}, headers=headers)
            facts = whole.raise_for_status().json()
            document = facts["document"]
        with self._lock:
            _put(self._documents, facts["resolved_digest"], document, _MAX_DOCUMENTS)
        names = Resolved.__dataclass_fields__.keys() - {"document", "source", "age_s"}
        known = {name: facts[name] for name in names if name in facts}
        return _Entry(Resolved(document=document, **known), answer.headers.get("ETag", ""), time.time())

    def _known_document(self, facts: Mapping[str, Any]) -> Document | None:
        """Return the body for a digest from memory or as an immutable bundle; None when it has a user's overlay."""
        with self._lock:
            document = self._documents.get(facts["resolved_digest"])
        if document is not None or facts["resolved_digest"] != facts["digest"]:
            return document
        bundle = self._http.get(f"harnesses/{facts['digest']}").raise_for_status().json()
        return cast("Document", bundle["document"] if bundle.keys() >= {"document", "digest"} else bundle)

    def _remember(self, agent: str, user: str, entry: _Entry) -> None:
        plain = entry.resolved.arm != "canary" and entry.resolved.resolved_digest == entry.resolved.digest
        with self._lock:
            _put(self._users, (agent, user), entry, _MAX_USERS)
            previous = self._stable.get(agent)
            if plain:
                self._stable[agent] = entry
        if plain and (previous is None or previous.resolved.digest != entry.resolved.digest):
            self._write(agent, entry)

    def _path(self, agent: str) -> Path | None:
        return self._folder / f"{hashlib.sha256(agent.encode()).hexdigest()[:24]}.json" if self._folder else None

    def _write(self, agent: str, entry: _Entry) -> None:
        """Save the stable harness whole or not at all; a full disk costs the fallback, not the turn."""
        path = self._path(agent)
        if path is None:
            return
        payload = json.dumps({"agent": agent, "confirmed_at": entry.confirmed_at, "resolved": asdict(entry.resolved)})
        checked = {"sha256": hashlib.sha256(payload.encode()).hexdigest(), "payload": payload}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
                json.dump(checked, file)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError:
            return

    def _read(self, agent: str) -> _Entry | None:
        """Return what an earlier process saved; None when there is none or a byte of it changed."""
        path = self._path(agent)
        try:
            checked = json.loads(path.read_text(encoding="utf-8")) if path else {}
            payload = checked["payload"]
            if hashlib.sha256(payload.encode()).hexdigest() != checked["sha256"]:
                return None
            saved = json.loads(payload)
            return _Entry(Resolved(**saved["resolved"]), "", saved["confirmed_at"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _put[K, V](store: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    store[key] = value
    store.move_to_end(key)
    while len(store) > limit:
        store.popitem(last=False)
