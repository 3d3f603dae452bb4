"""The door of the library: one client per process and agent, shared by all its threads and tasks."""

import asyncio
import atexit
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from whetstone.delivery import OUTCOME, Delivery, Report
from whetstone.episodes import Episode
from whetstone.fetching import HarnessCache
from whetstone.harness import Harness
from whetstone.keeping import packaged
from whetstone.outbox import MemoryOutbox, Outbox
from whetstone.spool import Spool
from whetstone.wire import Wire

__all__ = ["Client"]

_EXIT_S = 5.0


class Client:
    """Talks to one Whetstone for one agent; safe to share between threads and tasks, and across `fork`.

    `url` is the platform's root (`https://whetstone.example`), `key` the agent's key, `agent` its slug.

    `folder` keeps, per platform and agent, the last known good harness and the spool of episodes, so that a restart
    while the platform is down has a harness and loses no episode; any number of processes may share it. Without it both
    live in memory. `fallback` is the harness packaged with the agent: a document, or a JSON file of one.

    Bounds: `timeout_s` for one request, `max_queued` records and `max_bytes` for what waits (of the spool: bytes only).
    With `sync_each` a spooled record is on the disk itself, not only in the system's hands, before it is accepted.

    Raises ValueError for a fallback that cannot be read and OSError for a folder that cannot be written; after that
    nothing here raises into the agent.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        agent: str,
        folder: Path | str | None = None,
        fallback: Mapping[str, Any] | Path | str | None = None,
        timeout_s: float = 5.0,
        max_queued: int = 10_000,
        max_bytes: int = 256_000_000,
        sync_each: bool = False,
    ) -> None:
        self.agent = agent
        kept = packaged(fallback) if fallback is not None else None
        own = None if folder is None else Path(folder) / _folder_name(url, agent)
        outbox: Outbox = (
            Spool(own / "spool", max_bytes=max_bytes, sync_each=sync_each)
            if own
            else MemoryOutbox(max_records=max_queued, max_bytes=max_bytes)
        )
        self._is_durable = outbox.is_durable
        self._wire = Wire(url, key, timeout_s)
        self._harnesses = HarnessCache(self._wire, agent, path=own / "harness.json" if own else None, fallback=kept)
        self._delivery = Delivery(self._wire, outbox, agent=agent)
        _open.add(self)

    @classmethod
    def from_environment(cls, **options: Any) -> Self:
        """Make a client of WHETSTONE_URL, WHETSTONE_KEY, WHETSTONE_AGENT and, if set, WHETSTONE_FOLDER."""
        missing = [name for name in ("URL", "KEY", "AGENT") if not os.environ.get(f"WHETSTONE_{name}")]
        if missing:
            raise ValueError(f"Set {', '.join(f'WHETSTONE_{name}' for name in missing)} in the environment.")
        url, key, agent = (os.environ[f"WHETSTONE_{name}"] for name in ("URL", "KEY", "AGENT"))
        return cls(url, key, agent=agent, **{"folder": os.environ.get("WHETSTONE_FOLDER") or None} | options)

    def harness(self, *, user: str, conversation: str = "", pin: str | None = None) -> Harness:
        """Return the harness for this user's turn. Never raises; `source` and `age_s` say how current it is.

        Within a process a conversation keeps its version by itself. Where its turns may meet different processes, hand
        the last turn's `harness.pin` on and pass it here.
        """
        return self._harnesses.get(user, conversation, pin)

    async def aharness(self, *, user: str, conversation: str = "", pin: str | None = None) -> Harness:
        """Do the same without holding up the event loop."""
        return await self._harnesses.aget(user, conversation, pin)

    def episode(
        self,
        harness: Harness | None = None,
        *,
        input: Any = None,  # noqa: A002 - the episode's own word
        user: str = "",
        conversation: str = "",
        id: str = "",  # noqa: A002 - as above
        workflow: str = "",
        external_refs: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Episode:
        """Record one agent run: `with ws.episode(harness, input=…) as episode:` (or `async with`).

        `input` is the user's text, a list of messages, or an object. User and conversation default to those of the
        harness, `id` to a new one. `external_refs` name the ticket or the order it is about.
        """
        return Episode(
            self.record, harness, is_durable=self._is_durable, input=input, subject=user, conversation=conversation,
            id=id, workflow=workflow, external_refs=external_refs, attributes=attributes,
        )  # fmt: skip

    def record(self, episode: Mapping[str, Any]) -> bool:
        """Take in one episode as `POST /api/v1/episodes` wants it; return whether it was accepted. Never raises.

        Accepted means: with a folder it is written to the spool and, whatever becomes of this process, will be sent by
        it or by the next one; without a folder it is in memory, bounded, and lost with the process. `id` and
        `started_at` are added where missing; `outcomes`, a list of name, value and reason, are reported after it.
        """
        if not isinstance(episode, Mapping):
            return self._delivery.record(episode)  # counts it as unreadable
        now = datetime.now(UTC).isoformat()
        facts = {name: value for name, value in episode.items() if name != "outcomes"}
        facts["id"] = facts.get("id") or str(uuid.uuid4())
        if facts.get("started_at") is None and facts.get("ended_at") is None:
            facts["started_at"] = now
        taken = self._delivery.record(facts)
        outcomes = episode.get("outcomes")
        for outcome in outcomes if isinstance(outcomes, list | tuple) else ():
            if isinstance(outcome, Mapping):
                self._delivery.record({OUTCOME: {"episode": facts["id"], "source": "agent", "at": now, **outcome}})
        return taken

    def send(self, episodes: Iterable[Mapping[str, Any]]) -> int:
        """Record several episodes; return how many were accepted."""
        return sum(self.record(episode) for episode in episodes)

    def outcome(
        self, episode: str, name: str, *, value: float = 1.0, reason: str = "", at: datetime | None = None,
        source: str = "agent",
    ) -> bool:  # fmt: skip
        """Report how the episode with this id ended, in the background; return whether the report was accepted.

        `source` "customer" speaks for the customer's own system and needs a key with the scope `outcome:truth`.
        """
        told = {"episode": episode, "name": name, "value": value, "reason": reason, "source": source}
        return self._delivery.record({OUTCOME: told | {"at": (at or datetime.now(UTC)).isoformat()}})

    def report(self) -> Report:
        """Return what became of the records so far."""
        return self._delivery.report()

    def flush(self, timeout_s: float = 10.0) -> Report:
        """Wait until every record was answered, or the time is up, and report what became of them."""
        return self._delivery.flush(timeout_s)

    async def aflush(self, timeout_s: float = 10.0) -> Report:
        """Do the same without holding up the event loop."""
        return await asyncio.to_thread(self.flush, timeout_s)

    def close(self, timeout_s: float = 10.0) -> Report:
        """Flush, stop the background threads and close the connections. Runs at exit by itself, for 5 seconds."""
        _open.discard(self)
        report = self._delivery.close(timeout_s)
        self._harnesses.close()
        self._wire.close()
        return report

    async def aclose(self, timeout_s: float = 10.0) -> Report:
        """Do the same without holding up the event loop."""
        return await asyncio.to_thread(self.close, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _after_fork(self) -> None:
        self._wire.renew()
        self._harnesses.after_fork()
        self._delivery.after_fork()


def _folder_name(url: str, agent: str) -> str:
    readable = re.sub(r"[^a-z0-9-]+", "-", agent.lower())[:40]
    return f"{readable}-{hashlib.sha256(f'{url.rstrip("/")} {agent}'.encode()).hexdigest()[:12]}"


_open: set[Client] = set()


def _begin_anew_in_child() -> None:
    for client in list(_open):
        client._after_fork()


def _close_at_exit() -> None:
    for client in list(_open):
        client.close(_EXIT_S)


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_child)
