"""What people and systems say of episodes: outcomes, flags, corrections. The same functions for page, API and shell."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.record import record
from episodes.exceptions import BadCorrectionError, BadOutcomeError, UntrustedSourceError
from episodes.intents import count_assigned
from episodes.jobs import enqueue_review
from episodes.models import Conversation, CorrectedEpisode, Correction, Episode, Flag, Intent, Outcome
from episodes.patterns import adopt
from episodes.resolution import Reading
from episodes.settling import end_of, ends_of, truth_order
from harness.canonical import clean_json
from harness.models import Agent
from harness.sensitive import redact

__all__ = ["CorrectionText", "Said", "correct", "flag", "repeat_outcomes", "report_outcome", "report_outcomes"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_MAX_AHEAD = timedelta(days=1)
MAX_CORRECTED = 500


def report_outcome(
    episode: Episode,
    *,
    name: str,
    source: str,
    by: Actor,
    value: float = 1.0,
    at: datetime | None = None,
    reason: str = "",
) -> tuple[Outcome, bool]:
    """Add a statement of how the episode's conversation ended; return it and whether it is new.

    The same statement again (name, source, value, time) is recognized, so reporting twice is safe; without a time
    every report is a new one. The conversation's resolution follows at once, and a settled one is reviewed again.
    Raises `UntrustedSourceError`, `BadOutcomeError`, `NotPermittedError`.
    """
    _authorize_source(episode.agent, source, by)
    _check_outcome(name, value, at, reason)
    # One report at a time per conversation: twins see each other, and the last one derives from all.
    with transaction.atomic():
        rows = Conversation.objects.select_for_update(of=("self",), no_key=True).select_related("agent__objective")
        conversation = rows.defer("embedding").get(pk=episode.conversation_id)
        if at is not None:
            twins = Outcome.objects.filter(episode=episode, name=name, source=source, value=value, at=at)
            if known := twins.first():
                return known, False
        outcome = Outcome.objects.create(
            conversation=conversation, episode=episode, name=name, value=value, source=source,
            reason=_cut(reason, episode.agent), at=at or timezone.now(), recorded_by=by.name[:200],
        )  # fmt: skip
        _resolve(conversation, end_of(conversation, truth_order(conversation.agent)))
    return outcome, True


@dataclass(frozen=True)
class Said:
    """One statement among many; `at` is needed, since it is by its time that a repeated one is recognized."""

    episode: Episode
    name: str
    source: str
    at: datetime
    value: float = 1.0
    reason: str = ""


def report_outcomes(told: Sequence[Said], *, by: Actor) -> int:
    """Add many statements as `report_outcome` adds one, in one transaction; return how many were new.

    Raises what `report_outcome` raises, for the first that is refused, and adds none then.
    """
    for one in told:
        _authorize_source(one.episode.agent, one.source, by)
        _check_outcome(one.name, one.value, one.at, one.reason)
    with transaction.atomic():
        rows = Conversation.objects.filter(pk__in={one.episode.conversation_id for one in told})
        rows = rows.select_for_update(of=("self",), no_key=True).select_related("agent__objective").defer("embedding")
        conversations = list(rows.order_by("external_id"))
        there = Outcome.objects.filter(episode__in={one.episode.pk for one in told})
        known = set(there.values_list("episode_id", "name", "source", "value", "at"))
        fresh = {(one.episode.pk, one.name, one.source, one.value, one.at): one for one in told}
        outcomes = [
            Outcome(
                conversation_id=one.episode.conversation_id, episode=one.episode, name=one.name, value=one.value,
                source=one.source, reason=_cut(one.reason, one.episode.agent), at=one.at, recorded_by=by.name[:200],
            )
            for key, one in fresh.items() if key not in known
        ]  # fmt: skip
        Outcome.objects.bulk_create(outcomes)
        ends = ends_of(conversations)
        for conversation in conversations:
            _resolve(conversation, ends[conversation.pk])
    return len(outcomes)


def repeat_outcomes(episode: Episode, left: Conversation, conversation: Conversation) -> None:
    """Say of the conversation an episode moved to what was said of the episode in the one it left.

    Statements are never changed, so they are repeated. What a detector concluded it concludes anew; a conversation that
    is left without episodes ended in no way.
    """
    told = Outcome.objects.filter(episode=episode, conversation=left).exclude(source=Outcome.Source.DETECTOR)
    Outcome.objects.bulk_create(
        Outcome(
            conversation=conversation, episode=episode, name=one.name, value=one.value, source=one.source,
            reason=one.reason, at=one.at, recorded_by=one.recorded_by,
        )
        for one in told.order_by("id")
    )  # fmt: skip
    _resolve(conversation, end_of(conversation, truth_order(conversation.agent)))
    if not left.episodes.exists():
        _resolve(left, Reading())


def _resolve(conversation: Conversation, end: Reading) -> None:
    if (end.resolution, end.source) == (conversation.resolution, conversation.resolution_source):
        return
    rows = Conversation.objects.filter(pk=conversation.pk)
    rows.update(resolution=end.resolution, resolution_source=end.source)
    if conversation.settled_at is not None:
        enqueue_review([conversation.pk])


def _authorize_source(agent: Agent, source: str, by: Actor) -> None:
    """Let each source speak for itself only; the machine carries what importers and detectors say."""
    if source not in Outcome.Source.values:
        raise BadOutcomeError(
            f"{source!r} is no source of outcomes; the sources are {', '.join(Outcome.Source.values)}."
        )
    if by.is_machine:
        return
    if source == Outcome.Source.STAFF:
        require(by, Permission.FLAG_EPISODE, agent.access_scope(), act="report an outcome as staff")
        return
    scope = {Outcome.Source.CUSTOMER: "outcome:truth", Outcome.Source.AGENT: "outcome:write"}.get(
        Outcome.Source(source)
    )
    if scope is None or by.agent_id != agent.pk or scope not in (by.scopes or ()):
        needed = f"a key of this agent with the scope {scope!r}" if scope else "the platform itself"
        raise UntrustedSourceError(f"{by.name} cannot speak as {source!r}: that takes {needed}.")


def _check_outcome(name: str, value: float, at: datetime | None, reason: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadOutcomeError(f"{name!r} is no outcome's name: use small letters, digits and _, at most 60 characters.")
    clean_json({"value": value, "reason": reason})
    if len(reason) > 300:  # the column's length
        raise BadOutcomeError(f"The reason has {len(reason)} characters; at most 300 are kept. Shorten it.")
    if at is not None and at > timezone.now() + _MAX_AHEAD:
        raise BadOutcomeError(f"The outcome's time {at.isoformat()} lies in the future. Send it in UTC.")


def _cut(text: str, agent: Agent) -> str:
    return redact(text, agent.current_policy().redaction.kinds)


def flag(episode: Episode, *, reason: str, by: Actor, note: str = "") -> Flag:
    """Mark an episode; the same mark by the same person again is the one that is there.

    A settled conversation is reviewed again, so that the episode gets its critique. Raises `NotPermittedError`.
    """
    agent = episode.agent
    require(by, Permission.FLAG_EPISODE, agent.access_scope(), act=f"flag an episode of {agent.slug!r}")
    if reason not in Flag.Reason.values:
        raise BadOutcomeError(f"{reason!r} is no reason for a flag; the reasons are {', '.join(Flag.Reason.values)}.")
    clean_json(note)
    with transaction.atomic(), acting(by):
        _lock_conversations([episode])
        known = Flag.objects.filter(episode=episode, reason=reason, flagged_by_id=by.user_id).first()
        if known is not None:
            return known  # type: ignore[no-any-return]  # the queryset is generic over Any
        mark = Flag(
            episode=episode,
            reason=reason,
            note=_cut(note, agent),
            flagged_by_id=by.user_id,
            flagged_by_name=by.name[:200],
        )
        mark.save(force_insert=True)
        record("episode.flag", episode, team_id=agent.team_id, facts={"flag": str(mark.pk), "reason": reason})
        _review_again([episode])
    return mark


@dataclass(frozen=True)
class CorrectionText:
    """What should have happened: an answer, a tool call, or a hand-over to a person."""

    title: str = ""
    answer: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    should_escalate: bool = False
    intent: Intent | None = None


def correct(
    episodes: Sequence[Episode],
    text: CorrectionText,
    *,
    by: Actor,
    per_episode_arguments: Mapping[UUID, Mapping[str, Any]] | None = None,
) -> Correction:
    """Say once what should have happened in `episodes` of one agent.

    `per_episode_arguments` maps an episode's id to the tool's right arguments in that episode, over `text.arguments`.
    Conversations without an intent take the correction's. Raises `BadCorrectionError`, `NotPermittedError`.
    """
    distinct = {episode.pk: episode for episode in episodes}
    own = per_episode_arguments or {}
    agent = _agent_of(list(distinct.values()))
    require(by, Permission.CORRECT_EPISODE, agent.access_scope(), act=f"correct episodes of {agent.slug!r}")
    _check_correction(text, agent, distinct, own)
    with transaction.atomic(), acting(by):
        ids = _lock_conversations(list(distinct.values()))
        correction = Correction(
            agent=agent, intent=text.intent, title=text.title, answer=text.answer, tool=text.tool,
            arguments=dict(text.arguments), should_escalate=text.should_escalate,
            corrected_by_id=by.user_id, corrected_by_name=by.name[:200],
        )  # fmt: skip
        correction.save(force_insert=True)
        for pk, episode in distinct.items():
            CorrectedEpisode(correction=correction, episode=episode, arguments=dict(own.get(pk, {}))).save(
                force_insert=True
            )
        if text.intent is not None:
            named = Conversation.objects.filter(pk__in=ids, intent__isnull=True).update(intent=text.intent)
            count_assigned(Counter({text.intent.pk: named}))
            adopt(text.intent)
        facts = {
            "episodes": len(distinct),
            "answer": bool(text.answer),
            "tool": text.tool,
            "should_escalate": text.should_escalate,
        }
        record("episode.correct", correction, team_id=agent.team_id, facts=facts)
        _review_again(list(distinct.values()))
    return correction


def _agent_of(episodes: Sequence[Episode]) -> Agent:
    if not episodes:
        raise BadCorrectionError("A correction covers at least one episode; name the episodes it speaks of.")
    if len(episodes) > MAX_CORRECTED:
        raise BadCorrectionError(f"One correction covers at most {MAX_CORRECTED} episodes, not {len(episodes)}.")
    if len({episode.agent_id for episode in episodes}) > 1:
        raise BadCorrectionError("These episodes belong to several agents; write one correction for each agent.")
    return episodes[0].agent


def _check_correction(
    text: CorrectionText, agent: Agent, episodes: Mapping[UUID, Episode], own: Mapping[UUID, Mapping[str, Any]]
) -> None:
    clean_json(
        {"title": text.title, "answer": text.answer, "tool": text.tool, "arguments": dict(text.arguments),
         "own": [dict(arguments) for arguments in own.values()]}
    )  # fmt: skip
    if not (text.answer.strip() or text.tool.strip() or text.should_escalate):
        raise BadCorrectionError("Say what should have happened: an answer, a tool with its arguments, or a hand-over.")
    if (text.arguments or own) and not text.tool.strip():
        raise BadCorrectionError("Arguments need the name of the tool they belong to.")
    if own.keys() - episodes.keys():
        raise BadCorrectionError("per_episode_arguments names an episode that the correction does not cover.")
    if text.intent is not None and text.intent.agent_id != agent.pk:
        raise BadCorrectionError(f"Intent {text.intent.name!r} belongs to another agent.")
    if len(text.title) > 200 or len(text.tool) > 120:  # the columns' lengths
        raise BadCorrectionError("A title has at most 200 characters, a tool's name 120. Shorten it.")


def _lock_conversations(episodes: Sequence[Episode]) -> list[UUID]:
    """Hold the episodes' conversations: one that settles in this moment would be reviewed without what is said here."""
    rows = Conversation.objects.filter(pk__in={episode.conversation_id for episode in episodes}).order_by("external_id")
    return list(rows.select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))


def _review_again(episodes: Sequence[Episode]) -> None:
    """Ask for another look at the settled ones; the others are looked at when they settle."""
    ids = {episode.conversation_id for episode in episodes}
    enqueue_review(
        list(
            Conversation.objects.filter(pk__in=ids, settled_at__isnull=False)
            .order_by("pk")
            .values_list("pk", flat=True)
        )
    )
