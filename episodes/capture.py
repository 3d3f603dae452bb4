"""Takes reported episodes in: durable before the answer, each exactly once, the good ones kept whatever the others are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.ids import uuid7
from episodes.door import Read, Refused, read_item
from episodes.exceptions import BatchTooLargeError
from episodes.jobs import understand
from episodes.models import Conversation, Episode, Step
from episodes.splits import split_of
from episodes.turns import opening_of, turns_of
from harness.models import Agent
from jobs.tasks import enqueue

__all__ = ["MAX_EPISODES", "Receipt", "Rejection", "as_answer", "capture"]

MAX_EPISODES = 1_000
_ROWS_PER_INSERT = 500


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
        return self.read.item.id

    @property
    def conversation(self) -> str:
        """The conversation's external id; an episode that names none is a conversation of its own."""
        return self.read.item.conversation or self.read.item.id

    @property
    def last_at(self) -> datetime:
        return self.read.item.ended_at or self.started_at


def capture(agent: Agent, items: Sequence[object]) -> Receipt:
    """Store `items` (plain JSON as reported) as episodes of `agent`; return what became of each.

    One transaction for the batch. Idempotent on (agent, id): the same content again is a duplicate, other content
    under a known id is rejected. An item may also be a `Refused` that the reader of the wire made of it.
    Raises `BatchTooLargeError` beyond `MAX_EPISODES`.
    """
    if len(items) > MAX_EPISODES:
        raise BatchTooLargeError(
            f"{len(items)} episodes in one request; at most {MAX_EPISODES} are taken. Send less at once."
        )
    receipt = Receipt()
    arrivals = _read(agent, items, receipt)
    if arrivals:
        with transaction.atomic():
            _store(agent, arrivals, receipt)
    receipt.rejected.sort(key=lambda rejection: rejection.index)
    return receipt


def _read(agent: Agent, items: Sequence[object], receipt: Receipt) -> list[_Arrival]:
    kinds = agent.current_policy().redaction.kinds
    now = timezone.now()
    first: dict[str, _Arrival] = {}
    for index, raw in enumerate(items):
        read = raw if isinstance(raw, Refused) else read_item(raw, agent_slug=agent.slug, redacted_kinds=kinds)
        if isinstance(read, Refused):
            receipt.rejected.append(Rejection(index, read.id, read.code, read.reason))
            continue
        arrival = _Arrival(index, read, read.item.started_at or read.item.ended_at or now)
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


def _store(agent: Agent, arrivals: list[_Arrival], receipt: Receipt) -> None:
    known = _digests(agent, arrivals)
    fresh = []
    for arrival in arrivals:
        if arrival.id in known:
            _count_repeat(arrival, known[arrival.id][1], receipt)
        else:
            fresh.append(arrival)
    conversations = _conversations(agent, fresh)
    fresh = _of_one_user(fresh, conversations, receipt)
    Episode.objects.bulk_create(
        (_episode(agent, arrival, conversations[arrival.conversation]) for arrival in fresh),
        ignore_conflicts=True,
        batch_size=_ROWS_PER_INSERT,
    )
    # Another request may have stored the same id in the same moment: what is in the table now decides.
    stored = _digests(agent, fresh)
    ours = []
    for arrival in fresh:
        row_id, digest = stored[arrival.id]
        if row_id == arrival.row_id:
            ours.append(arrival)
        else:
            _count_repeat(arrival, digest, receipt)
    Step.objects.bulk_create((step for arrival in ours for step in _steps(arrival)), batch_size=_ROWS_PER_INSERT)
    receipt.accepted += len(ours)
    if ours:
        _move_conversations(ours, conversations)
        enqueue(understand, str(agent.pk), key=str(agent.pk))


def _digests(agent: Agent, arrivals: Iterable[_Arrival]) -> dict[str, tuple[UUID, str]]:
    ids = [arrival.id for arrival in arrivals]
    rows = Episode.objects.filter(agent=agent, external_id__in=ids).values_list("external_id", "pk", "body_digest")
    return {external_id: (pk, digest) for external_id, pk, digest in rows}


def _conversations(agent: Agent, arrivals: list[_Arrival]) -> dict[str, Conversation]:
    """Return the arrivals' conversations by external id, made where new, locked until the transaction ends."""
    first: dict[str, _Arrival] = {}
    for arrival in sorted(arrivals, key=lambda arrival: (arrival.started_at, arrival.id)):
        first.setdefault(arrival.conversation, arrival)
    names = sorted(first)
    Conversation.objects.bulk_create(
        (_conversation(agent, name, first[name]) for name in names), ignore_conflicts=True, batch_size=_ROWS_PER_INSERT
    )
    rows = Conversation.objects.filter(agent=agent, external_id__in=names).order_by("external_id")
    return {row.external_id: row for row in rows.select_for_update(of=("self",), no_key=True).defer("embedding")}


def _conversation(agent: Agent, name: str, arrival: _Arrival) -> Conversation:
    item = arrival.read.item
    opening = opening_of(turns_of(item.input.get("messages")))
    return Conversation(
        agent=agent,
        external_id=name,
        subject=item.subject,
        split=split_of(settings.SECRET_KEY, agent.pk, name, opening),
        opening=opening,
        started_at=arrival.started_at,
        last_at=arrival.last_at,
    )


def _of_one_user(arrivals: list[_Arrival], rows: dict[str, Conversation], receipt: Receipt) -> list[_Arrival]:
    """Refuse episodes that would put a second user into a conversation; an unnamed user is named by the first name."""
    kept = []
    for arrival in arrivals:
        row, subject = rows[arrival.conversation], arrival.read.item.subject
        if subject and row.subject and subject != row.subject:
            reason = (
                f"Conversation {row.external_id!r} belongs to another subject. "
                "A conversation has one user: use a new conversation id."
            )
            receipt.rejected.append(Rejection(arrival.index, arrival.id, "other_subject", reason))
            continue
        row.subject = row.subject or subject
        kept.append(arrival)
    return kept


def _episode(agent: Agent, arrival: _Arrival, conversation: Conversation) -> Episode:
    item = arrival.read.item
    return Episode(
        id=arrival.row_id,
        agent=agent,
        conversation=conversation,
        external_id=item.id,
        input=item.input,
        output=item.output,
        workflow=item.workflow,
        sources=item.sources,
        usage=item.usage,
        external_refs=item.external_refs,
        attributes=item.attributes,
        harness_digest=item.harness_digest,
        release_ref=item.release,
        arm=item.arm,
        weight=item.weight,
        started_at=arrival.started_at,
        ended_at=item.ended_at,
        body_digest=arrival.read.digest,
    )


def _steps(arrival: _Arrival) -> Iterable[Step]:
    for position, step in enumerate(arrival.read.item.steps, start=1):
        yield Step(
            episode_id=arrival.row_id,
            position=position,
            kind=step.kind,
            name=step.name,
            attempt=step.attempt,
            input=step.input,
            output=step.output,
            # A step that names its error has failed, whatever its status says.
            status="error" if step.error else step.status,
            error=step.error,
            latency_ms=step.latency_ms,
        )


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


def _move_conversations(arrivals: list[_Arrival], rows: dict[str, Conversation]) -> None:
    spans: dict[UUID, tuple[datetime, datetime, str]] = {}
    for arrival in arrivals:
        row = rows[arrival.conversation]
        start, end, _ = spans.get(row.pk, (arrival.started_at, arrival.last_at, ""))
        spans[row.pk] = (min(start, arrival.started_at), max(end, arrival.last_at), row.subject)
    with connection.cursor() as cursor:
        starts, ends, subjects = (list(column) for column in zip(*spans.values(), strict=True))
        cursor.execute(_MOVE, [list(spans), starts, ends, subjects])


def as_answer(receipt: Receipt) -> dict[str, Any]:
    """Return the receipt as the API answers it."""
    rejected = [vars(rejection) for rejection in receipt.rejected]
    return {"accepted": receipt.accepted, "duplicates": receipt.duplicates, "rejected": rejected}
