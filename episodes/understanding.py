"""Reads captured episodes once: signals, the meaning of the opening, the final split, the intent, the words."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.exceptions import DomainError
from episodes.detecting import in_steps, signals_of
from episodes.detectors import rephrase
from episodes.detectors.readings import StepReading
from episodes.finding import index_words
from episodes.intents import Anchors, count_assigned
from episodes.locks import in_one_piece, lock_understanding
from episodes.models import Conversation, Episode, Signal
from episodes.turns import Turn, say_something, turns_of
from inference.encoder import MODEL_ID, Vectors, encode

__all__ = ["NEAR_DUPLICATE_COSINE", "understand_carefully", "understand_waiting"]

NEAR_DUPLICATE_COSINE = 0.97
_BATCH = 100
# What an odd episode makes of code that reads it. All else (database, memory, a stopped worker) is not its fault.
_ODDITIES = (
    ArithmeticError, AssertionError, AttributeError, DataError, DomainError, IntegrityError, LookupError, RecursionError,
    TypeError, ValueError,
)  # fmt: skip
_STOPPED = "The worker died or was stopped while it analyzed this episode."
_MAX_REASON = 500


def understand_waiting(agent_id: UUID, *, batch: int = _BATCH) -> int:
    """Analyze every waiting episode of an agent; return how many were.

    Each batch is one transaction, so a killed worker leaves its batch waiting, and an episode is understood once. Where
    an episode of the batch cannot be read, it alone fails, with its reason; the others are understood one by one.
    """
    total = 0
    while True:
        try:
            done = in_one_piece(partial(_understand_batch, agent_id, batch))
        except _ODDITIES:
            done = understand_carefully(agent_id, batch=batch)
        if not done:
            return total
        total += done


def understand_carefully(agent_id: UUID, *, batch: int = _BATCH) -> int:
    """Analyze the next waiting episodes of an agent one by one; return how many are no longer waiting.

    Each counts as failed before it is looked at, so that one which takes the worker with it is not met again.
    """
    waiting = Episode.objects.filter(agent_id=agent_id).waiting().order_by("id")
    keys = list(waiting.values_list("pk", flat=True)[:batch])
    for key in keys:
        one = Episode.objects.filter(pk=key)
        if not one.waiting().update(analysis_failed_at=timezone.now(), analysis_error=_STOPPED):
            continue  # another worker was quicker
        try:
            _understand_one(agent_id, key)
        except _ODDITIES as oddity:
            one.not_analyzed().update(analysis_error=f"{type(oddity).__name__}: {oddity}"[:_MAX_REASON])
        except Exception:
            one.not_analyzed().update(analysis_failed_at=None, analysis_error="")
            raise
    return len(keys)


@transaction.atomic
def _understand_one(agent_id: UUID, key: UUID) -> None:
    lock_understanding(agent_id)
    marked = Episode.objects.filter(pk=key).not_analyzed().select_for_update(of=("self",), no_key=True)
    _understand(agent_id, list(marked))


@dataclass
class _Case:
    """One episode of the batch with what is said in it."""

    episode: Episode
    steps: list[StepReading]
    turns: list[Turn]
    newest_only: bool

    @property
    def last_said(self) -> str:
        return self.episode.last_user_text.strip()

    def texts_to_compare(self) -> list[str]:
        said = [turn.text for turn in self.turns if turn.role == "user"]
        if len(said) < 2:  # nothing to compare one turn with
            return []
        return said[-2:] if self.newest_only else said


def _understand_batch(agent_id: UUID, batch: int) -> int:
    # Near-duplicates must see each other, so one worker at a time compares an agent's conversations.
    lock_understanding(agent_id)
    waiting = Episode.objects.filter(agent_id=agent_id).waiting().order_by("id")
    episodes = list(waiting.select_for_update(skip_locked=True, of=("self",), no_key=True)[:batch])
    if episodes:
        _understand(agent_id, episodes)
    return len(episodes)


def _understand(agent_id: UUID, episodes: Sequence[Episode]) -> None:
    # The order of capture's locks, so that neither waits for the other crosswise.
    rows = Conversation.objects.filter(pk__in={episode.conversation_id for episode in episodes}).order_by("external_id")
    conversations = {row.pk: row for row in rows.select_for_update(of=("self",), no_key=True)}
    cases = _cases(episodes)
    vectors = _encoded(cases, conversations.values())
    _place(agent_id, cases, conversations, vectors)
    _detect(cases, vectors)
    index_words(episodes)
    Episode.objects.filter(pk__in=[episode.pk for episode in episodes]).update(
        understood_at=timezone.now(), analysis_failed_at=None, analysis_error=""
    )


def _cases(episodes: Sequence[Episode]) -> list[_Case]:
    earlier = _earlier(episodes)
    cases = []
    for episode in episodes:
        own = turns_of(episode.input.get("messages"))
        before = [other for other in earlier[episode.conversation_id] if other.started_at < episode.started_at]
        if before and sum(turn.role == "user" for turn in own) == 1:
            own = [Turn("user", before[-1].last_user_text), Turn("assistant", before[-1].output_text), *own]
        cases.append(_Case(episode, episode.step_readings(), own, newest_only=bool(before)))
    return cases


def _earlier(episodes: Sequence[Episode]) -> Mapping[UUID, list[Episode]]:
    """Return the episodes of the same conversations, oldest first; they hold the turns before these."""
    found: dict[UUID, list[Episode]] = defaultdict(list)
    ids = {episode.conversation_id for episode in episodes}
    rows = Episode.objects.filter(conversation_id__in=ids).only("conversation_id", "started_at", "input", "output")
    for row in rows.order_by("started_at", "id"):
        found[row.conversation_id].append(row)
    return found


def _encoded(cases: Sequence[_Case], conversations: Iterable[Conversation]) -> dict[str, Vectors]:
    wanted = {row.opening for row in conversations if not row.embedding_model and row.opening}
    for case in cases:
        wanted.update(text for text in (*case.texts_to_compare(), case.last_said) if text)
    texts = sorted(wanted)
    return dict(zip(texts, encode(texts), strict=True)) if texts else {}


def _place(
    agent_id: UUID, cases: Sequence[_Case], conversations: Mapping[UUID, Conversation], vectors: Mapping[str, Vectors]
) -> None:
    """Give new conversations their vector and final split, and every conversation the intent it still lacks."""
    anchors = Anchors.of(agent_id)
    assigned: Counter[UUID] = Counter()
    seen: list[Conversation] = []
    for row in sorted(conversations.values(), key=lambda row: row.pk):
        if not row.embedding_model:
            _compare(row, vectors.get(row.opening), seen)
            seen.append(row)
    for case in cases:
        row = conversations[case.episode.conversation_id]
        for text in (row.opening, case.last_said):
            if row.intent_id is None and text in vectors:
                row.intent_id = anchors.nearest(vectors[text])
                assigned.update([row.intent_id] if row.intent_id else [])
    fields = ["embedding", "embedding_model", "split", "near_duplicate_of", "intent"]
    Conversation.objects.bulk_update(conversations.values(), fields, batch_size=_BATCH)
    count_assigned(assigned)


def _compare(row: Conversation, vector: Vectors | None, seen: Sequence[Conversation]) -> None:
    """Set the vector and, for a near-duplicate, the first one's split: from here on the split never changes."""
    row.embedding, row.embedding_model = vector, MODEL_ID
    if vector is None or not say_something(row.opening):
        return
    first = _nearest_seen(vector, seen) or _nearest_stored(row, vector)
    if first is not None:
        row.near_duplicate_of_id = first.near_duplicate_of_id or first.pk
        row.split = first.split


def _nearest_seen(vector: Vectors, seen: Sequence[Conversation]) -> Conversation | None:
    near = [row for row in seen if row.embedding is not None and float(row.embedding @ vector) >= NEAR_DUPLICATE_COSINE]
    return next((row for row in near if say_something(row.opening)), None)


def _nearest_stored(row: Conversation, vector: Vectors) -> Conversation | None:
    with connection.cursor() as cursor:
        # Without it the index gives up before it has met rows of this agent.
        cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
    nearest = Conversation.objects.nearest(vector, agent_id=row.agent_id, model=MODEL_ID).exclude(pk=row.pk)
    found = nearest.only("pk", "agent_id", "split", "near_duplicate_of_id", "opening").first()
    if found is None or 1 - found.distance < NEAR_DUPLICATE_COSINE or not say_something(found.opening):
        return None
    return found  # type: ignore[no-any-return]  # the queryset is generic over Any


def _detect(cases: Sequence[_Case], vectors: Mapping[str, Vectors]) -> None:
    """Write the signals. Those of the steps are mostly there already; here none of them is missed."""
    signals: list[Signal] = []
    for case in cases:
        found = in_steps(case.steps, case.episode.output)
        said_again = rephrase.detect(case.turns, vectors, newest_only=case.newest_only)
        signals += signals_of(case.episode.pk, [*found, *([said_again] if said_again else [])])
    Signal.objects.bulk_create(signals, ignore_conflicts=True)
