"""Lessons found by meaning, posted by agents, and taken out of quarantine by people."""

from typing import Any

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError
from audit.record import record
from harness.exceptions import SelfApprovalError
from harness.models import Agent
from inference.encoder import MODEL_ID, EncoderMissingError, encode
from lessons.models import Lesson

__all__ = ["LessonStateError", "confirm", "meaning", "post", "recall", "retire"]


class LessonStateError(DomainError):
    """The lesson is not in the state this act starts from."""

    code = "lesson_state"


def recall(agent: Agent, question: str = "", *, limit: int = 10) -> list[Lesson]:
    """Return the agent's confirmed lessons nearest in meaning to `question`; without one the newest.

    Quarantined and retired lessons never reach an agent. Without an encoder the newest are returned.
    """
    confirmed = Lesson.objects.filter(agent=agent).confirmed()
    vector = meaning(question)[0] if question.strip() else None
    if vector is None:
        return list(confirmed.order_by("-id")[:limit])
    return list(confirmed.nearest(vector, agent=agent, model=MODEL_ID)[:limit])


def post(agent: Agent, *, text: str, layer: str = "", source_ref: str = "", by: Actor) -> Lesson:
    """Keep what an agent or a person learned, in quarantine until another person confirms it; once per source.

    The source is kept as `posted:…`, so that nobody can take the place of a lesson the platform will learn itself.
    """
    vector, model = meaning(text)
    source_ref = f"posted:{source_ref}" if source_ref else ""
    return Lesson.record(
        agent=agent, text=text, source_ref=source_ref, layer=layer, state=Lesson.State.QUARANTINED, by=by,
        embedding=vector, embedding_model=model,
    )  # fmt: skip


def confirm(lesson: Lesson, *, by: Actor, reason: str) -> None:
    """Let agents read a quarantined lesson; whoever wrote it asks a second person."""
    first = lesson.history.order_by("history_date").first()
    if first is not None and by.user_id is not None and first.history_user_id == by.user_id:
        raise SelfApprovalError(f"{by.name} wrote this lesson and cannot confirm it: ask a second person.")
    _settle(lesson, {Lesson.State.QUARANTINED}, Lesson.State.CONFIRMED, act="confirm", by=by, reason=reason)


def retire(lesson: Lesson, *, by: Actor, reason: str) -> None:
    """Take a lesson out of use; it stays on the record."""
    _settle(
        lesson,
        {Lesson.State.QUARANTINED, Lesson.State.CONFIRMED},
        Lesson.State.RETIRED,
        act="retire",
        by=by,
        reason=reason,
    )


def _settle(lesson: Lesson, sources: set[Any], target: Lesson.State, *, act: str, by: Actor, reason: str) -> None:
    require(by, Permission.TRIAGE_PATTERN, lesson.agent.access_scope(), act=f"{act} this lesson")
    if not reason.strip():
        raise ReasonMissingError(f"Say why you {act} this lesson: the record needs it.")
    with transaction.atomic():
        lesson.refresh_from_db(from_queryset=Lesson.objects.locked())
        if lesson.state not in sources:
            allowed = ", ".join(sorted(sources))
            raise LessonStateError(f"Cannot {act} this lesson: it is {lesson.state!r}; this needs {allowed}.")
        lesson.state = target
        with acting(by, reason=reason):
            lesson.save(update_fields=["state"])
            record(f"lesson.{act}", lesson, team_id=lesson.agent.team_id)


def meaning(text: str) -> tuple[Any, str]:
    """Return the text's vector and its model; nothing where the encoder is not installed."""
    try:
        return encode([text])[0], MODEL_ID
    except EncoderMissingError:
        return None, ""
