"""Read captured episodes as what draft cases could be made of: which turn is judged, of what kind, expecting what."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils.crypto import salted_hmac
from pgvector.django import CosineDistance

from episodes.door import redacted
from episodes.intents import Anchors
from episodes.models import Conversation, CorrectedEpisode, Episode, Flag, Intent
from episodes.turns import turns_of
from evals.episode_facts import Facts, usual_of
from evals.expecting import Expected, Lived, as_expectations, propose, strength_of
from evals.models import Case
from evals.secrecy import EXAM_SPLITS
from evals.stratifying import Candidate, Place
from harness.models import Agent
from inference.encoder import MODEL_ID, encode

__all__ = ["Source", "draftable", "guarded_intents", "place_of", "read_sources"]

# A want that fewer than this share of conversations have is rare; a way of saying it this far off its center, indirect.
RARE_SHARE = 0.02
INDIRECT_DISTANCE = 0.45


@dataclass(frozen=True)
class Source:
    """One conversation with the episode that would be judged, and the case it would make."""

    candidate: Candidate
    episode: Episode
    intent: Intent | None
    correction_id: UUID | None
    messages: list[dict[str, str]]
    user_state: dict[str, Any]
    expected: list[Expected]

    @property
    def expectations(self) -> dict[str, Any]:
        return as_expectations(self.expected)

    @property
    def judges(self) -> bool:
        """Return whether the gate would read the case: development cases are for drafters."""
        return self.candidate.place.split in EXAM_SPLITS


def draftable(agent: Agent) -> QuerySet[Conversation]:
    """Return the conversations that could make a case: of final split, ended or marked, and of no case yet.

    A conversation whose case was retired was looked at and not wanted.
    """
    taken = Case.objects.filter(benchmark__agent=agent, episode__conversation=OuterRef("pk"))
    ended = ~Q(resolution="open") & Q(settled_at__isnull=False)
    rows = Conversation.objects.filter(agent=agent, embedding_model__gt="")
    return rows.exclude(opening="").filter(ended | _marked()).exclude(Exists(taken))


def _marked() -> Q:
    """Return the condition that a person flagged or corrected an episode of the conversation."""
    flags = Flag.objects.filter(episode__conversation=OuterRef("pk"))
    covers = CorrectedEpisode.objects.filter(episode__conversation=OuterRef("pk"))
    return Q(Exists(flags)) | Q(Exists(covers))


def of_intent(rows: QuerySet[Conversation], intent: Intent | None) -> QuerySet[Conversation]:
    """Return the conversations of an intent; of none: also those whose intent was retired, as traffic is counted."""
    if intent is not None:
        return rows.filter(intent=intent)
    return rows.filter(Q(intent__isnull=True) | Q(intent__state=Intent.State.RETIRED))


def guarded_intents(agent: Agent) -> frozenset[UUID]:
    """Return the intents that the stable version's guardrails speak of: the nearest in meaning to what each says."""
    document = agent.stable.document if agent.stable else {}
    rules = document.get("guardrails", {}).get("rules", {}) if isinstance(document.get("guardrails"), dict) else {}
    said = [
        str(rule["when"]) for rule in rules.values() if isinstance(rule, dict) and str(rule.get("when", "")).strip()
    ]
    if not said:
        return frozenset()
    anchors = Anchors.of(agent.pk)
    return frozenset(found for vector in encode(said) if (found := anchors.nearest(vector)) is not None)


def read_sources(
    agent: Agent, intent: Intent | None, *, limit: int, share: float, guarded: frozenset[UUID]
) -> list[Source]:
    """Return what cases of one intent could be made of its newest conversations.

    Reads up to `limit` marked or failed ones and as many resolved ones; `share` is the intent's part of the traffic.
    """
    center = CosineDistance("embedding", F("intent__centroid"))
    rows = of_intent(draftable(agent), intent).defer("embedding").order_by("-last_at", "-id")
    if intent is not None and intent.embedding_model == MODEL_ID:
        rows = rows.annotate(distance=center)
    failed = ~Q(resolution__in=("resolved", "open")) | _marked()
    chosen = {row.pk: row for part in (rows.filter(failed), rows.filter(resolution="resolved")) for row in part[:limit]}
    facts = Facts.of(chosen.values())
    lived = {key: facts.lived(row) for key, row in chosen.items()}
    usual = usual_of(lived.values())
    is_guarded = intent is not None and intent.pk in guarded
    kinds = agent.current_policy().redaction.kinds
    sources = []
    for key, row in chosen.items():
        readings = [replace(one, usual=usual) for one in lived[key]]
        distance = getattr(row, "distance", None)  # annotated where the intent has a center
        is_indirect = distance is not None and distance > INDIRECT_DISTANCE
        is_rare = intent is None or share < RARE_SHARE or is_indirect or facts.is_rephrased(row)
        made = _source(agent, row, intent, readings, facts, is_guarded=is_guarded, is_rare=is_rare, kinds=kinds)
        sources += [made] if made is not None else []
    return sources


def _source(
    agent: Agent, row: Conversation, intent: Intent | None, readings: Sequence[Lived], facts: "Facts", *,
    is_guarded: bool, is_rare: bool, kinds: Any,
) -> Source | None:  # fmt: skip
    episodes = facts.episodes[row.pk]
    kind = _kind(row, readings, is_guarded=is_guarded, is_rare=is_rare)
    best: tuple[int, int, list[Expected]] | None = None
    for index, (episode, lived) in enumerate(zip(episodes, readings, strict=True)):
        if not episode.last_user_text:
            continue
        expected = propose(replace(lived, is_high_risk=kind == Case.Kind.HIGH_RISK))
        # What a person marked comes before what only happened; then the first turn that tells most.
        strength = strength_of(lived, expected) + (1 if lived.flags else 0)
        if best is None or strength > best[0]:
            best = strength, index, expected
    if best is None:
        return None
    strength, index, expected = best
    judged = episodes[index]
    place = Place(
        intent=intent.slug if intent is not None else "", split=row.split, kind=kind, cluster=cluster_of(agent, row),
        group=row.near_duplicate_of_id or row.pk,
    )  # fmt: skip
    cleaned = [replace(one, value=redacted(one.value, kinds)) for one in expected]
    return Source(
        candidate=Candidate(place, strength, judged.pk.hex), episode=judged, intent=intent,
        correction_id=facts.correction_of(judged), messages=redacted(_messages(episodes[: index + 1]), kinds),
        user_state=redacted(_user_state(judged), kinds), expected=cleaned,
    )  # fmt: skip


def _kind(row: Conversation, readings: Sequence[Lived], *, is_guarded: bool, is_rare: bool) -> str:
    """Return the case's kind: what is dangerous first, then what failed, what is rare, and what simply works."""
    should_escalate = any(
        "should_escalate" in one.flags or (one.correction is not None and one.correction.should_escalate)
        for one in readings
    )
    handed_over = row.resolution in ("escalated", "blocked") and row.resolution_source in ("customer", "staff")
    if should_escalate or is_guarded or (handed_over and any(one.handed_off for one in readings)):
        return Case.Kind.HIGH_RISK
    if row.is_failure or any(one.flags or one.correction for one in readings):
        return Case.Kind.KNOWN_FAILURE
    return Case.Kind.EDGE if is_rare else Case.Kind.SUCCESS


def cluster_of(agent: Agent, row: Conversation) -> str:
    """Return the coarsest unit known: the user, else the conversation; as a keyed hash, which names nobody."""
    unit = f"user:{row.subject}" if row.subject else f"conversation:{row.external_id}"
    digest = salted_hmac("evals.cluster", f"{agent.pk}:{unit}", algorithm="sha256").hexdigest()
    return f"{unit.partition(':')[0]} {digest[:16]}"


def place_of(case: Case) -> Place:
    """Return where an existing case stands; its episode's conversation must be loaded where it has an episode."""
    talk = case.episode.conversation if case.episode is not None else None
    group = None if talk is None else talk.near_duplicate_of_id or talk.pk
    intent = case.intent.slug if case.intent is not None else ""
    return Place(intent=intent, split=case.split, kind=case.kind, cluster=case.cluster, group=group)


def _messages(episodes: Sequence[Episode]) -> list[dict[str, str]]:
    """Return the conversation up to the last words of the user in the last of `episodes`, oldest first."""
    judged = episodes[-1]
    own = turns_of(judged.input.get("messages"))
    if sum(turn.role == "user" for turn in own) == 1:
        # This agent reports each turn by itself: what was said before stands in the episodes before.
        earlier = [(("user", one.last_user_text), ("assistant", one.output_text)) for one in episodes[:-1]]
        said = [pair for pairs in earlier for pair in pairs if pair[1]]
    else:
        said = []
    said += [(turn.role, turn.text) for turn in own]
    while said and said[-1][0] != "user":
        said.pop()
    return [{"role": role, "content": text} for role, text in said]


def _user_state(episode: Episode) -> dict[str, Any]:
    """Return the state of the user that the agent reported with the episode, where it did."""
    for part in (episode.input, episode.attributes):
        state = part.get("user_state") if isinstance(part, dict) else None
        if isinstance(state, dict):
            return state
    return {}
