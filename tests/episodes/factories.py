"""The smallest valid objects of this package."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from accounts.acting import MACHINE, Actor
from episodes.capture import capture
from episodes.jobs import enqueue_review, review_conversations, settle_conversations
from episodes.judging import report_outcome
from episodes.models import Conversation, Episode
from episodes.settling import settle_agent
from episodes.understanding import understand_waiting
from harness.models import Agent

LONG_AGO = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def item(name: str, said: str = "Where is my order, please?", **changes: Any) -> dict[str, Any]:
    """One reported episode, long past its maturity, in a conversation of its own."""
    return {
        "id": name,
        "conversation": f"conversation of {name}",
        "subject": f"user of {name}",
        "started_at": LONG_AGO.isoformat(),
        "input": {"messages": [{"role": "user", "content": said}]},
        "output": {"text": "It is on its way."},
        **changes,
    }


def tool_step(name: str = "lookup_order", *, error: str = "", **arguments: Any) -> dict[str, Any]:
    return {"kind": "tool_call", "name": name, "input": arguments, "status": "error" if error else "ok", "error": error}


def retrieval_step(*scores: float, min_score: float = 0.3) -> dict[str, Any]:
    documents = [{"id": f"document-{n}", "score": score} for n, score in enumerate(scores)]
    return {
        "kind": "retrieval",
        "name": "context.documents",
        "output": {"documents": documents, "min_score": min_score},
    }


def captured(agent: Agent, *items: dict[str, Any]) -> list[Episode]:
    receipt = capture(agent, items)
    assert not receipt.rejected, receipt.rejected
    rows = {
        row.external_id: row for row in Episode.objects.filter(agent=agent, external_id__in=[i["id"] for i in items])
    }
    return [rows[i["id"]] for i in items]


def understood(agent: Agent, *items: dict[str, Any]) -> list[Episode]:
    episodes = captured(agent, *items)
    understand_waiting(agent.pk)
    return [Episode.objects.select_related("conversation", "agent").get(pk=episode.pk) for episode in episodes]


def lived(agent: Agent, *items: dict[str, Any], end: str = "") -> list[Episode]:
    """Capture, understand, hear how it ended, settle and review: the whole first stage."""
    episodes = understood(agent, *items)
    for episode in episodes if end else []:
        report_outcome(episode, name=end, source="customer", by=MACHINE, at=LONG_AGO)
    ids = settle_agent(agent, then=enqueue_review)
    review_conversations([str(key) for key in ids])
    return [Episode.objects.select_related("conversation", "agent").get(pk=episode.pk) for episode in episodes]


def conversations(agent: Agent) -> Iterable[Conversation]:
    return Conversation.objects.filter(agent=agent).order_by("id")


def actor(user: Any) -> Actor:
    return user.as_actor()


def settle() -> None:
    settle_conversations()


def later(seconds: float) -> str:
    return (LONG_AGO + timedelta(seconds=seconds)).isoformat()
