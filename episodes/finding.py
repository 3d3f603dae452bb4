"""Finds episodes by a whole id, by any reference from outside, or by words: newest first, at a bounded price.

Words live in a table that analysis fills, so a word is found once its episode has been analyzed.
"""

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from django.contrib.postgres.search import SearchQuery
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from accounts.acting import Actor
from audit.spans import Span
from episodes.models import Conversation, Episode, EpisodeText
from episodes.querysets import as_uuid
from episodes.words import searchable_text
from harness.models import Agent

__all__ = ["MAX_LISTED", "Found", "by_name", "carrying", "conversations_called", "index_words", "matches"]

# What a list over REST holds of a search: the newest.
MAX_LISTED = 2_000

_MAX_NAME = 200
_CHUNK, _SMALL_CHUNK = 2_000, 100
# So many of the newest are read, whatever they say, as long as one in `_DENSE` of them is found: what is rarer, the
# inverted index finds faster.
_WALKS, _DENSE = (250, 2_000, 4_000), 200
_CONFIG = "simple"
_LOOKS_LIKE_ID = re.compile(r"[\d\-_/:.@#]")
_OF_CONVERSATION = ("conversation__opening", "conversation__resolution")
_A_MARK = re.compile(r"agent[0-9a-f]{32}", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """Episodes of one name, newest first, and the conversation where the name is only a conversation's id."""

    episodes: Sequence[Episode]
    has_more: bool = False
    conversation: Conversation | None = None


def by_name(actor: Actor, name: str, *, limit: int = 50) -> Found:
    """Return the visible episodes whose own id, platform id or any reference is `name`; else the conversation's."""
    name, agent_ids = name.strip(), _agents_of(actor)
    if not _is_name(name):
        return Found([])
    ids = list(islice(_merged(_called(name, agent_ids, Span()), Span()), limit + 1))
    if not ids:
        talks = Conversation.objects.filter(agent_id__in=agent_ids, external_id=name).defer("embedding")
        return Found([], conversation=talks.order_by("-id").first())
    rows = Episode.objects.filter(pk__in=ids[:limit]).select_related("agent", "conversation").order_by("-id")
    shown = rows.only("external_id", "started_at", "agent__name", "agent__slug", *_OF_CONVERSATION)
    return Found(list(shown), has_more=len(ids) > limit)


def matches(actor: Actor, text: str, span: Span) -> Iterator[UUID]:
    """Yield the ids within `span`, in its order, of the visible episodes that `text` finds.

    Where `text` is a whole id or a reference, those it names; otherwise those that hold all its words. What has the
    look of an id is tried as one first, what looks like words only when no episode holds them.
    """
    text, agent_ids = text.strip(), _agents_of(actor)
    if not agent_ids or not _is_text(text):
        return
    ways = [_named, _saying] if _LOOKS_LIKE_ID.search(text) else [_saying, _named]
    for way in ways:
        found = way(text, agent_ids, span)
        first = next(found, None)
        if first is not None:
            yield first
            yield from found
            return
        if not span.is_everything and next(way(text, agent_ids, Span()), None) is not None:
            return  # this way finds something, but nothing within the span


def carrying(actor: Actor, ref: str, span: Span) -> Iterator[UUID]:
    """Yield the ids within `span`, in its order, of the visible episodes that carry `ref` in their references."""
    if _is_name(ref):
        yield from _carrying(ref, _agents_of(actor), span)


def conversations_called(actor: Actor, name: str, span: Span) -> Iterator[UUID]:
    """Yield the ids within `span`, in its order, of the visible conversations of that id or user."""
    name = name.strip()
    if _is_name(name):
        rows, key = Conversation.objects.filter(agent_id__in=_agents_of(actor)), as_uuid(name)
        kinds = [rows.filter(external_id=name), rows.filter(subject=name), *([rows.filter(pk=key)] if key else [])]
        yield from _merged([_in_order(kind, span) for kind in kinds], span)


_INDEX = """
INSERT INTO episodes_episodetext (episode_id, words)
SELECT id, strip(to_tsvector(%s::regconfig, said)) FROM unnest(%s::uuid[], %s::text[]) AS fresh (id, said)
ON CONFLICT (episode_id) DO UPDATE SET words = EXCLUDED.words
"""


def index_words(episodes: Iterable[Episode]) -> None:
    """Make episodes findable by their words; a repeat replaces them. 1,000 of 2 KB take about 0.4 s of one core."""
    rows = [
        # Nobody's words may pass for the mark of an agent.
        (row.pk, f"{_mark(row.agent_id)} {_A_MARK.sub(' ', searchable_text(row.input, row.output))}")
        for row in episodes
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INDEX, [_CONFIG, [key for key, _ in rows], [said for _, said in rows]])


def _agents_of(actor: Actor) -> list[UUID]:
    """Return the ids of the agents an actor may see: as plain ids they let each lookup use its index."""
    return list(Agent.objects.visible_to(actor).values_list("pk", flat=True))


def _mark(agent_id: UUID) -> str:
    """Return the word that stands for an agent in the index, so that a search skips what others said."""
    return f"agent{agent_id.hex}"


def _query(text: str, agent_ids: Sequence[UUID]) -> Any:
    """Return the query for all words of `text` at these agents; `None` where it holds no word."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT numnode(plainto_tsquery(%s::regconfig, %s))", [_CONFIG, text])
        row = cursor.fetchone()
    if not row or not row[0]:
        return None
    marks = " | ".join(_mark(agent_id) for agent_id in agent_ids)
    return SearchQuery(text, config=_CONFIG) & SearchQuery(marks, config=_CONFIG, search_type="raw")


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME and _is_text(text)


def _is_text(text: str) -> bool:
    """Return whether the database takes the text: there is one, without NUL and halves of characters."""
    return bool(text) and not any(character == "\x00" or "\ud800" <= character <= "\udfff" for character in text)


def _called(name: str, agent_ids: Sequence[UUID], span: Span) -> list[Iterator[UUID]]:
    called = [_in_order(rows, span) for rows in Episode.objects.called(name, agent_ids)]
    return [*called, _carrying(name, agent_ids, span)]


def _carrying(ref: str, agent_ids: Sequence[UUID], span: Span) -> Iterator[UUID]:
    own = Episode.objects.filter(agent_id__in=agent_ids)
    return _dense_or_rare(own.with_ref(ref), own.with_ref(ref, by_index=False), span)


def _named(text: str, agent_ids: Sequence[UUID], span: Span) -> Iterator[UUID]:
    if not _is_name(text):
        return iter(())
    around = [_in_order(rows, span) for rows in Episode.objects.around(text, agent_ids)]
    return _merged([*_called(text, agent_ids, span), *around], span)


def _saying(text: str, agent_ids: Sequence[UUID], span: Span) -> Iterator[UUID]:
    if (query := _query(text, agent_ids)) is None:
        return iter(())
    texts = EpisodeText.objects.alias(read=Coalesce("words", "words"))
    return _dense_or_rare(texts.filter(words=query), texts.filter(read=query), span)


def _merged(sorted_ids: Sequence[Iterator[UUID]], span: Span) -> Iterator[UUID]:
    """Yield what several searches found in the span's order, each id once."""
    return (key for key, _ in groupby(heapq.merge(*sorted_ids, reverse=span.is_newest_first)))


def _in_order(rows: QuerySet[Any], span: Span) -> Iterator[UUID]:
    """Yield the ids of rows that an index holds in the order of their ids."""
    while True:
        ids = list(span.of(rows).values_list("pk", flat=True)[:_SMALL_CHUNK])
        yield from ids
        if len(ids) < _SMALL_CHUNK:
            return
        span = span.after(ids[-1])


def _dense_or_rare(rows: QuerySet[Any], read: QuerySet[Any], span: Span) -> Iterator[UUID]:
    """Yield the ids of rows that an inverted index finds, which knows no order; `read` finds the same without it.

    What many rows hold is among the newest few thousand, whose walk ends soon; what few hold is sorted after the index
    has found all of it.
    """
    everything = rows.model._default_manager.all()
    for length in _WALKS:
        edge = span.edge(everything, length)
        ids = list(span.of(span.up_to(read, edge)).values_list("pk", flat=True))
        yield from ids
        if edge is None:
            return
        span = span.after(edge)
        if len(ids) * _DENSE < length:
            break
    while True:
        with _by_inverted_index():
            ids = list(span.of(rows).values_list("pk", flat=True)[:_CHUNK])
        yield from ids
        if len(ids) < _CHUNK:
            return
        span = span.after(ids[-1])


@contextmanager
def _by_inverted_index() -> Iterator[None]:
    """Keep the planner from reading rows in order until enough are found: of a rare word those are all rows.

    The memory is for the places of a million rows, which are read once more if they do not fit.
    """
    settings = {"enable_indexscan": "off", "enable_seqscan": "off", "work_mem": "'64MB'"}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items()))
        yield
        cursor.execute("; ".join(f"SET LOCAL {name} TO DEFAULT" for name in settings))
