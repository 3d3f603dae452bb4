"""Recorded conversations: what was said in them, and a case made of one."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from accounts.acting import Actor
from accounts.exceptions import DomainError
from episodes.models import Conversation, Episode
from episodes.turns import Turn, turns_of
from evals.benchmarks import add_cases
from evals.conversing.scripting import script_from
from evals.models import Benchmark, Case

__all__ = ["UnknownConversationError", "add_recorded_case", "said_in", "said_in_each"]


class UnknownConversationError(DomainError):
    """No conversation of the agent has this id, or none that its reader may see."""

    code = "unknown_conversation"
    http_status = 404


def add_recorded_case(
    benchmark: Benchmark, *, conversation: str, name: str, kind: str, expectations: Mapping[str, Any], by: Actor
) -> Case:
    """Add a draft that says what the user of a recorded conversation said, in order, whatever the agent replies.

    `conversation` is the id under which the agent reported it. The case keeps its split, so that nothing a drafter may
    read comes to judge, and is of its user's cluster.
    """
    agent = benchmark.agent
    row = Conversation.objects.visible_to(by).filter(agent=agent, external_id=conversation).select_related("intent")
    found = row.first()
    if found is None:
        raise UnknownConversationError(
            f"Agent {agent.slug!r} has no conversation {conversation!r}: give the id under which it was reported."
        )
    scripted = script_from(said_in(found))
    item = {
        "name": name, "kind": kind, "split": found.split, "expectations": expectations,
        "intent": found.intent.slug if found.intent and found.intent.state != "retired" else None,
        "cluster": _cluster(found), "source": f"conversation {found.external_id}"[:160],
        "messages": scripted.messages, "conversation": scripted.conversation,
    }  # fmt: skip
    return add_cases(benchmark, [item], by=by)[0]


def _cluster(conversation: Conversation) -> str:
    """Return what all cases of this user share, without naming them."""
    if not conversation.subject:
        return f"conversation-{conversation.pk}"
    text = f"{conversation.agent_id}|{conversation.subject}"
    return f"user-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def said_in(conversation: Conversation) -> list[Turn]:
    """Return what was said in a conversation, in order."""
    return said_in_each([conversation.pk])[conversation.pk]


def said_in_each(keys: Iterable[UUID]) -> Mapping[UUID, list[Turn]]:
    """Return what was said in each conversation, in one query; nothing for one without episodes."""
    episodes: dict[UUID, list[Episode]] = defaultdict(list)
    rows = Episode.objects.filter(conversation_id__in=list(keys)).order_by("started_at", "id")
    for episode in rows.only("conversation_id", "input", "output", "started_at"):
        episodes[episode.conversation_id].append(episode)
    said: dict[UUID, list[Turn]] = defaultdict(list)
    for key, own in episodes.items():
        said[key] = _joined(own)
    return said


def _joined(episodes: Sequence[Episode]) -> list[Turn]:
    """Join the turns of episodes, which repeat the history before them or hold the newest message alone."""
    said: list[Turn] = []
    for episode in episodes:
        turns = turns_of(episode.input.get("messages") if isinstance(episode.input, dict) else None)
        before = [turn.text for turn in said if turn.role == "user"]
        repeats = [turn.text for turn in turns if turn.role == "user"][: len(before)] == before
        said = turns if repeats and len(turns) >= len(said) else [*said, *turns]
        answer = episode.output_text.strip()
        if answer and (not said or said[-1].role == "user"):
            said.append(Turn("assistant", answer))
    return said
