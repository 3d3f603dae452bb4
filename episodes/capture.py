"""Takes reported episodes in: durable before the answer, each exactly once, the good ones kept whatever the others are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts.ids import uuid7
from episodes.content import CONTENT, JSON_PARTS
from episodes.copying import copy_rows
from episodes.door import PlainItems, Read, Refused, read_item
from episodes.exceptions import BatchTooLargeError
from episodes.locks import in_one_piece
from episodes.models import Conversation, Episode
from episodes.splits import split_of
from episodes.turns import opening_of, turns_of
from harness.models import Agent

__all__ = ["MAX_EPISODES", "Receipt", "Rejection", "as_answer", "capture", "conversation_for", "refuse_too_many"]

MAX_EPISODES = 1_000


@dataclass(frozen=True)
class Rejection:
    """One item that was not taken: its place in the batch, its id where one could be read, a stable code, a sentence."""

    index: int
    id: str
    code: str
    reason: str


@dataclass
class Receipt:
    """What became of a batch. `duplicates` were captured before with the same content, so sending again is safe."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True)
class _Arrival:
    """A readable item on its way in."""

    index: int
    read: Read
    started_at: datetime
    row_id: UUID = field(default_factory=uuid7)

    @property
    def id(self) -> str:
        return self.read.id

    @property
    def conversation(self) -> str:
        return self.read.conversation

    @property
    def last_at(self) -> datetime:
        return self.read.content["ended_at"] or self.started_at


def capture(agent: Agent, items: Sequence[object]) -> Receipt:
    """Store `items` (plain JSON as reported) as episodes of `agent`; return what became of each.

    One transaction for the batch, written with COPY; the clock has it understood within a second. Idempotent on (agent, id): the same content again is a duplicate, other content
    under a known id is rejected. An item may also be a `Refused` that the reader of the wire made of it.
    Raises `BatchTooLargeError` beyond `MAX_EPISODES`.
    """
    refuse_too_many(len(items))
    receipt = Receipt()
    arrivals = _read(agent, items, receipt)
    if arrivals:
        receipt = in_one_piece(partial(_store, agent, arrivals, receipt))
    receipt.rejected.sort(key=lambda rejection: rejection.index)
    return receipt


def refuse_too_many(number: int) -> None:
    """Raise `BatchTooLargeError` where one request brings more episodes than `MAX_EPISODES`."""
    if number > MAX_EPISODES:
        raise BatchTooLargeError(
            f"{number} episodes in one request; at most {MAX_EPISODES} are taken. Send less at once."
        )


def _read(agent: Agent, items: Sequence[object], receipt: Receipt) -> list[_Arrival]:
    kinds = agent.current_policy().redaction.kinds
    is_plain = isinstance(items, PlainItems)
    now = timezone.now()
    first: dict[str, _Arrival] = {}
    for index, raw in enumerate(items):
        read = (
            raw
            if isinstance(raw, Refused)
            else read_item(raw, agent_slug=agent.slug, redacted_kinds=kinds, is_plain=is_plain)
        )
        if isinstance(read, Refused):
            receipt.rejected.append(Rejection(index, read.id, read.code, read.reason))
            continue
        arrival = _Arrival(index, read, read.began_at or now)
        if arrival.id in first:
            _count_repeat(arrival, first[arrival.id].read.digest, receipt)
        else:
            first[arrival.id] = arrival
    # One order for all: two batches that share rows wait for each other instead of locking crosswise.
    return sorted(first.values(), key=lambda arrival: arrival.id)


def _count_repeat(arrival: _Arrival, known_digest: str, receipt: Receipt) -> None:
    if arrival.read.digest == known_digest:
        receipt.duplicates += 1
        return
    reason = f"Episode {arrival.id!r} was already captured with other content. Episodes never change: use a new id."
    receipt.rejected.append(Rejection(arrival.index, arrival.id, "already_captured", reason))


def _store(agent: Agent, arrivals: list[_Arrival], so_far: Receipt) -> Receipt:
    receipt = Receipt(so_far.accepted, so_far.duplicates, [*so_far.rejected])
    known = _digests(agent, arrivals)
    fresh = []
    for arrival in arrivals:
        if arrival.id in known:
            _count_repeat(arrival, known[arrival.id], receipt)
        else:
            fresh.append(arrival)
    talks = _conversations(agent, fresh)
    fresh = _of_one_user(fresh, talks, receipt)
    copy_rows(Conversation, _CONVERSATION, _new_conversations(agent, fresh, talks))
    copy_rows(Episode, _EPISODE, (_episode(agent, arrival, talks[arrival.conversation]) for arrival in fresh))
    _move_conversations(fresh, talks)
    receipt.accepted += len(fresh)
    return receipt


# Both are asked at every report, and a single episode would wait longer for the ORM's compiler than for the database.
_KNOWN = "SELECT external_id, body_digest FROM episodes_episode WHERE agent_id = %s AND external_id = ANY(%s)"
_TALKS = """
SELECT external_id, id, subject FROM episodes_conversation WHERE agent_id = %s AND external_id = ANY(%s)
ORDER BY external_id FOR NO KEY UPDATE
"""


def _digests(agent: Agent, arrivals: Iterable[_Arrival]) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN, [agent.pk, [arrival.id for arrival in arrivals]])
        return dict(cursor.fetchall())


@dataclass
class _Talk:
    """An arrival's conversation: its id and user, and whether this batch begins it."""

    id: UUID
    subject: str
    is_new: bool


def _conversations(agent: Agent, arrivals: list[_Arrival]) -> dict[str, _Talk]:
    """Return the arrivals' conversations by external id; those that exist are locked until the transaction ends."""
    names = sorted({arrival.conversation for arrival in arrivals})
    with connection.cursor() as cursor:
        cursor.execute(_TALKS, [agent.pk, names])
        talks = {name: _Talk(pk, subject, is_new=False) for name, pk, subject in cursor.fetchall()}
    return {name: talks.get(name) or _Talk(uuid7(), "", is_new=True) for name in names}


def _of_one_user(arrivals: list[_Arrival], talks: dict[str, _Talk], receipt: Receipt) -> list[_Arrival]:
    """Refuse episodes that would put a second user into a conversation; an unnamed user is named by the first name."""
    kept = []
    for arrival in sorted(arrivals, key=lambda arrival: (arrival.started_at, arrival.id)):
        talk, subject = talks[arrival.conversation], arrival.read.subject
        if subject and talk.subject and subject != talk.subject:
            reason = (
                f"Conversation {arrival.conversation!r} belongs to another subject. "
                "A conversation has one user: use a new conversation id."
            )
            receipt.rejected.append(Rejection(arrival.index, arrival.id, "other_subject", reason))
            continue
        talk.subject = talk.subject or subject
        kept.append(arrival)
    return kept


_CONVERSATION = ("id", "agent", "external_id", "subject", "split", "attributes", "opening", "started_at", "last_at",
                 "resolution", "resolution_source", "embedding_model")  # fmt: skip


def _new_conversations(agent: Agent, arrivals: list[_Arrival], talks: dict[str, _Talk]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the conversations that these arrivals (oldest first) begin."""
    parts: dict[str, list[_Arrival]] = {}
    for arrival in arrivals:
        if talks[arrival.conversation].is_new:
            parts.setdefault(arrival.conversation, []).append(arrival)
    # One order for all: two batches that begin the same conversations wait instead of locking crosswise.
    for name, own in sorted(parts.items()):
        opening = opening_of(turns_of(own[0].read.content["input"].get("messages")))
        split = split_of(settings.SECRET_KEY, agent.pk, name, opening)
        yield (
            talks[name].id, agent.pk, name, talks[name].subject, split, "{}", opening, own[0].started_at,
            max(arrival.last_at for arrival in own), Conversation.Resolution.OPEN.value, "", "",
        )  # fmt: skip


_EPISODE = ("id", "agent", "body_digest", *CONTENT)


def _episode(agent: Agent, arrival: _Arrival, talk: _Talk) -> tuple[Any, ...]:
    read = arrival.read
    stored = read.content | {"conversation": talk.id, "started_at": arrival.started_at}
    values = (orjson.dumps(stored[name]).decode() if name in JSON_PARTS else stored[name] for name in CONTENT)
    return (arrival.row_id, agent.pk, read.digest, *values)


def conversation_for(agent: Agent, read: Read) -> UUID | None:
    """Return the id of an amended episode's conversation, made or stretched; `None` where it is another user's."""
    arrival = _Arrival(0, read, read.began_at or timezone.now())
    talks = _conversations(agent, [arrival])
    kept = _of_one_user([arrival], talks, Receipt())
    copy_rows(Conversation, _CONVERSATION, _new_conversations(agent, kept, talks))
    _move_conversations(kept, talks)
    return talks[arrival.conversation].id if kept else None


# A conversation that goes on after it had settled is open again: silence is counted anew.
_MOVE = """
UPDATE episodes_conversation AS c SET
  started_at = LEAST(c.started_at, v.started_at),
  last_at = GREATEST(c.last_at, v.last_at),
  settled_at = CASE WHEN v.last_at > c.last_at THEN NULL ELSE c.settled_at END,
  subject = v.subject
FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[]) AS v(id, started_at, last_at, subject)
WHERE c.id = v.id
"""


def _move_conversations(arrivals: list[_Arrival], talks: dict[str, _Talk]) -> None:
    """Stretch the conversations that were there before over what arrived."""
    spans: dict[UUID, tuple[datetime, datetime, str]] = {}
    for arrival in arrivals:
        talk = talks[arrival.conversation]
        if not talk.is_new:
            start, end, _ = spans.get(talk.id, (arrival.started_at, arrival.last_at, ""))
            spans[talk.id] = (min(start, arrival.started_at), max(end, arrival.last_at), talk.subject)
    if spans:
        starts, ends, subjects = (list(column) for column in zip(*spans.values(), strict=True))
        with connection.cursor() as cursor:
            cursor.execute(_MOVE, [list(spans), starts, ends, subjects])


def as_answer(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt as the API answers it."""
    rejected = [vars(rejection) for rejection in receipt.rejected]
    return {"accepted": receipt.accepted, "duplicates": receipt.duplicates, "rejected": rejected}
