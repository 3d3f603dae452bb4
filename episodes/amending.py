"""Amends an episode whose run said more after it was captured; what it said before stays written down."""

import contextlib
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone

from episodes.capture import conversation_for
from episodes.content import CONTENT, as_json
from episodes.door import Read, Refused, read_item
from episodes.finding import index_words
from episodes.judging import repeat_outcomes
from episodes.locks import in_one_piece
from episodes.models import Conversation, Episode, EpisodeAmendment
from harness.models import Agent

__all__ = ["amend"]

_UNDERSTOOD = ("embedding", "embedding_model", "split", "near_duplicate_of_id", "intent_id")


def amend(agent: Agent, item: dict[str, Any], *, reason: str) -> str:
    """Give a captured episode the content of `item`, which has its id; return why not, empty where it has it now.

    The earlier content and digest stay as an amendment, and the new digest enters the record with the next root. What
    was understood of the episode stays as it is, for analysis runs once, but it is found by its new words. An item the
    door refuses, or that would put a second user into a conversation, changes nothing.
    """
    read = read_item(item, agent_slug=agent.slug, redacted_kinds=agent.current_policy().redaction.kinds)
    if isinstance(read, Refused):
        return read.reason
    return in_one_piece(partial(_amend, agent, read, reason))


def _amend(agent: Agent, read: Read, reason: str) -> str:
    rows = Episode.objects.select_for_update(of=("self",), no_key=True).select_related("conversation")
    episode = rows.defer("conversation__embedding").get(agent=agent, external_id=read.id)
    if episode.body_digest == read.digest:
        return ""
    conversation_id = conversation_for(agent, read)
    if conversation_id is None:
        return f"Conversation {read.conversation!r} belongs to another subject; the episode stays as it was."
    EpisodeAmendment.objects.create(
        episode=episode, previous_content=as_json(episode.content()), previous_digest=episode.body_digest,
        previous_committed_at=episode.committed_at, reason=reason,
    )  # fmt: skip
    left = episode.conversation
    for name in CONTENT:
        if name != "conversation":
            setattr(episode, name, read.content[name])
    episode.started_at = read.began_at or timezone.now()
    episode.conversation_id = conversation_id
    episode.body_digest, episode.committed_at = read.digest, None
    episode.save(update_fields=[*CONTENT, "body_digest", "committed_at"])
    if episode.understood_at is not None:
        index_words([episode])
    if left.pk != conversation_id:
        _move(episode, left)
    return ""


def _move(episode: Episode, left: Conversation) -> None:
    """Take along what was said and understood of the episode in the conversation it leaves, and leave nothing behind."""
    rows = Conversation.objects.select_related("agent__objective").defer("embedding")
    conversation = rows.get(pk=episode.conversation_id)
    repeat_outcomes(episode, left, conversation)
    alone = not conversation.episodes.exclude(pk=episode.pk).exists()
    if episode.understood_at is not None and alone and not conversation.embedding_model:
        # Nobody will read it again. Who may read it was decided, and it may have been read since.
        known = Conversation.objects.filter(pk=left.pk).values(*_UNDERSTOOD).get()
        Conversation.objects.filter(pk=conversation.pk).update(**known)
    _forget_if_empty(left)


def _forget_if_empty(conversation: Conversation) -> None:
    """Remove a conversation that only stood for an episode whose real one became known; one with a past stays."""
    if conversation.episodes.exists():
        return
    with contextlib.suppress(ProtectedError), transaction.atomic():
        conversation.delete()
