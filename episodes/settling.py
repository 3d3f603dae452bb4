"""Conversations that fell silent: how they ended, by whose word, and what a detector makes of it where nobody said."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from accounts.acting import MACHINE
from episodes.detecting import signals_of
from episodes.detectors import abandonment
from episodes.detectors.readings import Found
from episodes.models import Conversation, Episode, Outcome, Signal
from episodes.resolution import RESOLUTIONS, Reading, Statement, derive
from episodes.turns import Turn, turns_of
from harness.models import Agent

__all__ = ["end_of", "ends_of", "settle_agent", "truth_order"]

_BATCH = 200


def truth_order(agent: Agent) -> tuple[str, ...]:
    """Return whose word counts for an agent, strongest first; the agent's own comes last, wherever it counts at all."""
    return (*agent.current_objective().truth_sources, Outcome.Source.AGENT.value)


def end_of(conversation: Conversation, order: Sequence[str]) -> Reading:
    """Return how a conversation ended by what was said of it so far."""
    return derive(_statements([conversation.pk])[conversation.pk], last_at=conversation.last_at, order=order)


def ends_of(conversations: Sequence[Conversation]) -> Mapping[UUID, Reading]:
    """Return how each conversation ended by what was said of it so far, in one query; agents come with objectives."""
    statements = _statements([row.pk for row in conversations])
    return {
        row.pk: derive(statements[row.pk], last_at=row.last_at, order=truth_order(row.agent)) for row in conversations
    }


def settle_agent(agent: Agent, *, then: Callable[[list[UUID]], None], batch: int = _BATCH) -> list[UUID]:
    """Settle an agent's conversations after `maturity_s` of silence; return their ids.

    A conversation with episodes that nobody has read yet waits. Each batch is one transaction, in which `then` is
    called with its ids, so that whoever is asked to look at them surely is. Two workers take different conversations.
    """
    settled: list[UUID] = []
    while ids := _settle_batch(agent, then, batch):
        settled += ids
    return settled


@transaction.atomic
def _settle_batch(agent: Agent, then: Callable[[list[UUID]], None], batch: int) -> list[UUID]:
    silent_since = timezone.now() - timedelta(seconds=agent.current_objective().maturity_s)
    unread = Episode.objects.waiting().filter(conversation_id=OuterRef("pk"))
    silent = Conversation.objects.filter(agent=agent, settled_at__isnull=True, last_at__lt=silent_since)
    rows = list(
        silent.exclude(Exists(unread)).order_by("last_at")
        .select_for_update(skip_locked=True, of=("self",), no_key=True).defer("embedding")[:batch]
    )  # fmt: skip
    if not rows:
        return []
    statements = _statements([row.pk for row in rows])
    order = truth_order(agent)
    unspoken = [row for row in rows if derive(statements[row.pk], last_at=row.last_at, order=order[:-1]).source == ""]
    for outcome in _detected(unspoken):
        statements[outcome.conversation_id].append(_statement(outcome))
    now = timezone.now()
    for row in rows:
        end = derive(statements[row.pk], last_at=row.last_at, order=order)
        row.settled_at, row.resolution, row.resolution_source = now, end.resolution, end.source
    Conversation.objects.bulk_update(rows, ["settled_at", "resolution", "resolution_source"], batch_size=batch)
    ids = [row.pk for row in rows]
    then(ids)
    return ids


def _detected(conversations: Sequence[Conversation]) -> list[Outcome]:
    """Return and store what detectors conclude of conversations that nobody else has spoken about."""
    lasts = _last_episodes(conversations)
    handed = set(
        Signal.objects.filter(episode__in=lasts.values(), kind=Signal.Kind.HANDOFF).values_list("episode_id", flat=True)
    )
    outcomes, signals = [], []
    for row in conversations:
        episode = lasts.get(row.pk)
        if episode is None:
            continue
        left = abandonment.detect(_whole(episode), episode.step_readings())
        if episode.pk in handed:
            outcomes.append(_outcome(row, episode, "escalated", "handed off to a person"))
        elif left is not None:
            signals += signals_of(episode.pk, [left])
            outcomes.append(_outcome(row, episode, "abandoned", _cause(left)))
    Signal.objects.bulk_create(signals, ignore_conflicts=True)
    return Outcome.objects.bulk_create(outcomes)


def _last_episodes(conversations: Sequence[Conversation]) -> Mapping[UUID, Episode]:
    rows = Episode.objects.filter(conversation__in=conversations).order_by("conversation_id", "-started_at", "-id")
    return {episode.conversation_id: episode for episode in rows.distinct("conversation_id")}


def _whole(episode: Episode) -> list[Turn]:
    """Return the turns of a conversation up to its last answer."""
    turns, answer = turns_of(episode.input.get("messages")), episode.output_text.strip()
    if answer and (not turns or turns[-1].role == "user") and answer not in {turn.text for turn in turns}:
        turns.append(Turn("assistant", answer))
    return turns


def _cause(found: Found) -> str:
    return f"silent after the agent's {found.evidence['cause']}"


def _outcome(row: Conversation, episode: Episode, name: str, reason: str) -> Outcome:
    return Outcome(
        conversation=row, episode=episode, name=name, source=Outcome.Source.DETECTOR, reason=reason,
        at=row.last_at, recorded_by=MACHINE.name,
    )  # fmt: skip


def _statements(conversation_ids: Iterable[UUID]) -> Mapping[UUID, list[Statement]]:
    found: dict[UUID, list[Statement]] = defaultdict(list)
    for outcome in Outcome.objects.filter(conversation_id__in=list(conversation_ids), name__in=RESOLUTIONS):
        found[outcome.conversation_id].append(_statement(outcome))
    return found


def _statement(outcome: Outcome) -> Statement:
    return Statement(outcome.name, outcome.value, outcome.source, outcome.at, str(outcome.pk))
