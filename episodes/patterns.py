"""Failures that recur: each critique joins the pattern of its place and meaning, or starts one. Never two for one."""

from datetime import timedelta
from uuid import UUID

import numpy as np
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Least

from accounts.acting import MACHINE, acting
from audit.record import record
from episodes.locks import lock_patterns
from episodes.models import Critique, Episode, Intent, Pattern, PatternMember
from inference.encoder import MODEL_ID, Vectors

__all__ = ["ESCALATE_SUBJECTS", "ESCALATE_WINDOW", "REGRESS_EPISODES", "adopt", "place"]

ESCALATE_SUBJECTS = 10
ESCALATE_WINDOW = timedelta(days=14)
REGRESS_EPISODES = 3
# Where the intent is known it says the want already, and meaning only keeps strangers out; where it is not, meaning
# is all there is (same-want pairs of the CLINC set at .60: precision .99).
MIN_COSINE_SAME_INTENT = 0.30
MIN_COSINE = 0.60
_MAX_TITLE = 240
_NAMELESS = "a want without a name yet"
_SAMPLE_CHARACTERS = 90


@transaction.atomic
def place(critique: Critique, *, kind: str, vector: Vectors | None, spans_intents: bool = False) -> Pattern | None:
    """Put a failure into its pattern; return it, or `None` when the critique is a member already or not for drafters.

    Patterns are read by whoever drafts, so they are made of dev conversations alone. Placing is serialized per agent:
    two workers with the same new failure make one pattern.
    """
    episode = critique.episode
    if not Episode.objects.readable_by_proposer().filter(pk=episode.pk).exists():
        return None
    lock_patterns(episode.agent_id)
    if PatternMember.objects.filter(critique=critique).exists():
        return None
    intent_id = None if spans_intents else episode.conversation.intent_id
    nearest, similarity = _nearest(critique, kind, intent_id, vector)
    with acting(MACHINE, reason="a failure that recurs"):
        pattern = nearest or _start(critique, kind, intent_id, vector)
        _join(pattern, critique, similarity, vector)
        _move(pattern)
    return pattern


def adopt(intent: Intent) -> None:
    """Give patterns of a want without a name the intent that most of their members turned out to have."""
    lock_patterns(intent.agent_id)
    nameless = Pattern.objects.filter(agent_id=intent.agent_id, intent__isnull=True).exclude(
        kind__startswith="tool_error:"
    )
    with acting(MACHINE, reason=f"most of its members mean {intent.name!r}"):
        for pattern in nameless.filter(members__critique__episode__conversation__intent=intent).distinct():
            wants = pattern.members.values_list("critique__episode__conversation__intent", flat=True)
            if 2 * list(wants).count(intent.pk) > pattern.num_episodes:
                pattern.intent = intent
                pattern.title = pattern.title.replace(_NAMELESS, intent.name)[:_MAX_TITLE]
                pattern.save(update_fields=["intent", "title"])


def _nearest(
    critique: Critique, kind: str, intent_id: UUID | None, vector: Vectors | None
) -> tuple[Pattern | None, float | None]:
    threshold = MIN_COSINE if intent_id is None else MIN_COSINE_SAME_INTENT
    of_intent = Q(intent__isnull=True) if intent_id is None else Q(intent_id=intent_id)
    rows = Pattern.objects.filter(of_intent, agent_id=critique.episode.agent_id, layer=critique.layer, kind=kind)
    best: tuple[Pattern | None, float | None] = (None, None)
    for pattern in rows.order_by("id"):
        cosine = _cosine(pattern, vector)
        if cosine is None:
            # Nothing to compare by: the place alone decides, after any pattern whose meaning fits.
            best = best if best[0] is not None else (pattern, None)
        elif cosine >= threshold and cosine > (best[1] or -1.0):
            best = (pattern, cosine)
    return best


def _cosine(pattern: Pattern, vector: Vectors | None) -> float | None:
    if vector is None or pattern.centroid is None or pattern.embedding_model != MODEL_ID:
        return None
    center = np.asarray(pattern.centroid, dtype=np.float32)
    return float(center @ vector / np.linalg.norm(center))


def _start(critique: Critique, kind: str, intent_id: UUID | None, vector: Vectors | None) -> Pattern:
    episode = critique.episode
    pattern = Pattern(
        agent_id=episode.agent_id,
        layer=critique.layer,
        kind=kind,
        intent_id=intent_id,
        title=_title(critique, kind, intent_id),
        centroid=vector,
        embedding_model=MODEL_ID if vector is not None else "",
        first_seen_at=episode.started_at,
        last_seen_at=episode.started_at,
    )
    pattern.save(force_insert=True)
    record("pattern.start", pattern, team_id=episode.agent.team_id, facts={"layer": pattern.layer, "kind": kind})
    return pattern


def _title(critique: Critique, kind: str, intent_id: UUID | None) -> str:
    conversation = critique.episode.conversation
    circumstance, _, subject = kind.partition(":")
    want = subject or (conversation.intent.name if intent_id and conversation.intent else _NAMELESS)
    sample = critique.what if subject else conversation.opening or critique.what
    sample = " ".join(sample.split())
    cut = sample if len(sample) <= _SAMPLE_CHARACTERS else sample[: _SAMPLE_CHARACTERS - 1] + "…"
    return f"{critique.get_layer_display()} · {circumstance.replace('_', ' ')} · {want}: “{cut}”"[:_MAX_TITLE]


def _join(pattern: Pattern, critique: Critique, similarity: float | None, vector: Vectors | None) -> None:
    episode = critique.episode
    is_new_subject = not _same_subject(pattern, episode)
    PatternMember.objects.create(pattern=pattern, critique=critique, similarity=similarity)
    changes: dict[str, object] = {}
    if (
        vector is not None
        and pattern.num_episodes
        and pattern.centroid is not None
        and pattern.embedding_model == MODEL_ID
    ):
        center = np.asarray(pattern.centroid, dtype=np.float32)
        changes["centroid"] = center + (vector - center) / (pattern.num_episodes + 1)
    elif vector is not None:
        changes |= {"centroid": vector, "embedding_model": MODEL_ID}
    # Counters and center are derived numbers, left out of the history; the patterns' lock makes this safe.
    Pattern._base_manager.filter(pk=pattern.pk).update(
        num_episodes=F("num_episodes") + 1,
        num_subjects=F("num_subjects") + int(is_new_subject),
        first_seen_at=Least("first_seen_at", episode.started_at),
        last_seen_at=Greatest("last_seen_at", episode.started_at),
        **changes,
    )
    pattern.refresh_from_db()


def _same_subject(pattern: Pattern, episode: Episode) -> bool:
    """Tell whether this user is counted already; who is not named counts as a user per conversation."""
    conversation = episode.conversation
    members = PatternMember.objects.filter(pattern=pattern)
    if conversation.subject:
        return members.filter(critique__episode__conversation__subject=conversation.subject).exists()
    return members.filter(critique__episode__conversation=conversation).exists()


def _move(pattern: Pattern) -> None:
    """Walk the edges that membership alone decides: many users escalate, a return after the fix regresses."""
    if pattern.status == Pattern.Status.NEW and _recent_subjects(pattern) >= ESCALATE_SUBJECTS:
        days = ESCALATE_WINDOW.days
        pattern.escalate(by=MACHINE, reason=f"{ESCALATE_SUBJECTS} users or more within {days} days")
    elif pattern.status == Pattern.Status.RESOLVED and _returned(pattern) >= REGRESS_EPISODES:
        pattern.regress(by=MACHINE, reason=f"{REGRESS_EPISODES} episodes or more that began after it was resolved")


def _recent_subjects(pattern: Pattern) -> int:
    if pattern.num_subjects < ESCALATE_SUBJECTS:
        return 0
    since = pattern.last_seen_at - ESCALATE_WINDOW
    members = PatternMember.objects.filter(pattern=pattern, critique__episode__started_at__gte=since)
    pairs = members.values_list("critique__episode__conversation__subject", "critique__episode__conversation_id")
    return len({subject or conversation for subject, conversation in pairs})


def _returned(pattern: Pattern) -> int:
    """Return how many of the members began after the pattern was last resolved."""
    rows = pattern.history.order_by("-history_date")
    before = rows.exclude(status=Pattern.Status.RESOLVED).first()
    resolved = rows.filter(status=Pattern.Status.RESOLVED)
    if before is not None:
        resolved = resolved.filter(history_date__gte=before.history_date)
    since = resolved.last()
    if since is None:
        return 0
    return PatternMember.objects.filter(pattern=pattern, critique__episode__started_at__gt=since.history_date).count()
