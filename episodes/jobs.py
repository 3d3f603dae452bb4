"""Jobs of episodes: what capture sets off, and what the clock does. Couriers only."""

from itertools import batched
from uuid import UUID

from django.db.models import Exists, OuterRef

from episodes.commitments import commit_waiting
from episodes.completeness import count_captured, is_count_due
from episodes.detecting import agents_to_read, detect_captured
from episodes.gaps import stuck
from episodes.models import Conversation, Episode
from episodes.reviewing import review
from episodes.settling import settle_agent
from episodes.understanding import understand_carefully, understand_waiting
from harness.models import Agent
from jobs.tasks import enqueue, job

__all__ = [
    "commit_captured", "detect", "enqueue_review", "pass_stuck", "read_captured", "review_conversations",
    "settle_conversations", "take_account", "understand", "understand_captured", "understand_one_by_one",
]  # fmt: skip

_REVIEWS_PER_TASK = 50


@job(timeout_s=600, is_urgent=True)
def detect(agent_id: str) -> None:
    """Read an agent's captured episodes for signals. A repeat finds none unread; a killed batch is read again."""
    detect_captured(UUID(agent_id))


def read_captured() -> None:
    """Ask for the reading of what was captured since; one task an agent, however much is unread."""
    for agent_id in agents_to_read():
        enqueue(detect, str(agent_id), key=str(agent_id))


@job(queue="embedding", timeout_s=600, is_urgent=True)
def understand(agent_id: str) -> None:
    """Understand an agent's waiting episodes. A repeat finds none waiting; a killed batch waits again."""
    understand_waiting(UUID(agent_id))


def understand_captured() -> None:
    """Ask for the understanding of what was captured since; one task an agent, however much waits."""
    waiting = Episode.objects.filter(agent_id=OuterRef("pk")).waiting()
    for agent_id in Agent.objects.filter(Exists(waiting)).values_list("pk", flat=True):
        enqueue(understand, str(agent_id), key=str(agent_id))


@job(queue="embedding", timeout_s=600)
def understand_one_by_one(agent_id: str) -> None:
    """Get past the episode at which the worker died, then go on as usual. A repeat goes on behind it."""
    understand_carefully(UUID(agent_id))
    understand_waiting(UUID(agent_id))


@job(queue="embedding", timeout_s=900)
def review_conversations(conversation_ids: list[str]) -> None:
    """Review settled conversations. A repeat finds their critiques and memberships and adds nothing."""
    for conversation_id in conversation_ids:
        review(UUID(conversation_id))


def enqueue_review(conversation_ids: list[UUID]) -> None:
    """Ask for reviews in tasks of a size that a lost worker costs little."""
    for chunk in batched(conversation_ids, _REVIEWS_PER_TASK, strict=False):
        enqueue(review_conversations, [str(conversation_id) for conversation_id in chunk])


def settle_conversations() -> None:
    """Settle what fell silent and ask, in the same transaction, for its review. A repeat finds nothing silent."""
    unsettled = Conversation.objects.filter(agent_id=OuterRef("pk"), settled_at__isnull=True)
    for agent in Agent.objects.filter(Exists(unsettled)).select_related("objective"):
        settle_agent(agent, then=enqueue_review)


def commit_captured() -> None:
    """Enter captured episodes into the record. A repeat finds none uncommitted."""
    while commit_waiting():
        pass


def pass_stuck() -> None:
    """Get agents going whose analysis failed as a whole, as a worker's death makes it. A repeat finds the task."""
    for agent_id in stuck():
        enqueue(understand_one_by_one, str(agent_id), key=str(agent_id))


def take_account() -> None:
    """Count what was captured and what became of it. A repeat counts again, or not yet if counting takes long."""
    if is_count_due():
        count_captured()
