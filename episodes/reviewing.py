"""Looks back at settled conversations: which of their episodes deserve a critique, and which pattern it belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.acting import MACHINE, acting
from episodes.critiques import CaseReading, Judgment, judge, praise
from episodes.model_critic import ask, may_ask
from episodes.models import Conversation, CorrectedEpisode, Critique, Episode, Flag, Signal
from episodes.patterns import place
from episodes.splits import unit_hash
from harness.models import HarnessVersion
from inference.encoder import Vectors, encode

__all__ = ["AUDIT_SHARE", "review"]

# A fifth of what nobody complained about is looked at all the same: the only unbiased view of the silent majority.
AUDIT_SHARE = 0.2
_SUSPICIOUS = frozenset({Signal.Kind.LOOP, Signal.Kind.REPHRASE})


@dataclass(frozen=True)
class _Target:
    episode: Episode
    case: CaseReading
    judgment: Judgment
    is_failure: bool
    audited_at_random: bool = False


def review(conversation_id: UUID) -> list[Critique]:
    """Write the critiques that a settled conversation deserves and place failures into patterns; return the critiques.

    Reviewing again after a flag, a correction or a late outcome adds what is new: one critique per episode, amended
    when the episode turns out to have failed, and one membership per critique.
    """
    rows = Conversation.objects.select_related("agent", "intent")
    conversation = rows.filter(pk=conversation_id, settled_at__isnull=False).first()
    if conversation is None:
        return []
    written = []
    for target in _targets(conversation):
        critique, judgment = _written(target)
        written.append(critique)
        if critique.is_failure:
            vector = _meaning(judgment, conversation)
            place(critique, kind=judgment.kind, vector=vector, spans_intents=judgment.spans_intents)
    return written


def _targets(conversation: Conversation) -> list[_Target]:
    episodes = list(conversation.episodes.select_related("agent", "conversation__intent").order_by("started_at", "id"))
    for episode in episodes:
        episode.conversation = conversation
    cases = _cases(conversation, episodes)
    marked = [e for e in episodes if cases[e.pk].flags or _is_corrected(cases[e.pk])]
    if marked:
        return [_Target(e, cases[e.pk], judge(cases[e.pk]), is_failure=True) for e in marked]
    if conversation.is_failure:
        return _decisive(episodes, cases, is_failure=True)
    if any(_is_suspicious(case) for case in cases.values()):
        return _decisive(episodes, cases, is_failure=False)
    if (
        episodes
        and unit_hash(settings.SECRET_KEY, "audit", str(conversation.agent_id), conversation.external_id) < AUDIT_SHARE
    ):
        last = episodes[-1]
        return [_Target(last, cases[last.pk], praise(cases[last.pk]), is_failure=False, audited_at_random=True)]
    return []


def _is_corrected(case: CaseReading) -> bool:
    return bool(case.corrected_tool or case.corrected_answer or case.should_escalate)


def _is_suspicious(case: CaseReading) -> bool:
    lost = case.signals.get(Signal.Kind.TOOL_ERROR, {"recovered": True})
    return not lost.get("recovered") or bool(_SUSPICIOUS & case.signals.keys())


def _decisive(episodes: Sequence[Episode], cases: Mapping[UUID, CaseReading], *, is_failure: bool) -> list[_Target]:
    """Return the earliest episode with the strongest evidence: a conversation fails once, however long it drags on."""
    targets = [_Target(e, cases[e.pk], judge(cases[e.pk]), is_failure) for e in episodes]
    return [min(targets, key=lambda target: target.judgment.rank)] if targets else []


def _cases(conversation: Conversation, episodes: Sequence[Episode]) -> dict[UUID, CaseReading]:
    ids = [episode.pk for episode in episodes]
    signals: dict[UUID, dict[str, Mapping[str, object]]] = {key: {} for key in ids}
    for signal in Signal.objects.filter(episode_id__in=ids):
        signals[signal.episode_id][signal.kind] = signal.evidence
    flags: dict[UUID, set[str]] = {key: set() for key in ids}
    for flag in Flag.objects.filter(episode_id__in=ids):
        flags[flag.episode_id].add(flag.reason)
    covered = {
        row.episode_id: row for row in CorrectedEpisode.objects.filter(episode_id__in=ids).select_related("correction")
    }
    min_scores = _min_scores(episodes)
    return {
        episode.pk: _case(
            conversation, episode, signals[episode.pk], frozenset(flags[episode.pk]),
            covered.get(episode.pk), min_scores.get(episode.harness_digest),
        )
        for episode in episodes
    }  # fmt: skip


def _case(
    conversation: Conversation, episode: Episode, signals: Mapping[str, Mapping[str, object]],
    flags: frozenset[str], covered: CorrectedEpisode | None, min_score: float | None,
) -> CaseReading:  # fmt: skip
    correction = covered.correction if covered else None
    return CaseReading(
        user_text=episode.last_user_text or conversation.opening,
        output_text=episode.output_text,
        steps=episode.step_readings(),
        sources=episode.sources if isinstance(episode.sources, list) else [],
        signals=signals,
        resolution=conversation.resolution,
        resolution_source=conversation.resolution_source,
        flags=flags,
        corrected_tool=correction.tool if correction else "",
        corrected_answer=bool(correction and correction.answer),
        should_escalate=bool(correction and correction.should_escalate),
        min_score=min_score,
    )


def _min_scores(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return what each harness demands of a retrieval, by digest, where its document says."""
    digests = {episode.harness_digest for episode in episodes if episode.harness_digest}
    agent_ids = {episode.agent_id for episode in episodes}
    rows = HarnessVersion.objects.filter(agent_id__in=agent_ids, digest__in=digests)
    demanded = rows.values_list("digest", "document__context__retrieval__min_score")
    return {digest: float(score) for digest, score in demanded if isinstance(score, int | float)}


def _written(target: _Target) -> tuple[Critique, Judgment]:
    """Store the target's critique, or bring the one it has up to date; return it with the judgment to place it by."""
    known = _known(target.episode)
    if known is None:
        return _create(target)
    if target.is_failure and not known.is_failure:
        _fill(known, target.judgment)
        known.source, known.is_failure = Critique.Source.RULES, True
        with acting(MACHINE, reason="the episode turned out to have failed"):
            known.save()
    return known, _as_placed(known, target.judgment)


def _known(episode: Episode) -> Critique | None:
    machine = (Critique.Source.RULES, Critique.Source.MODEL)
    found = Critique.objects.filter(episode=episode, source__in=machine).select_related("episode__agent").first()
    if found is not None:
        found.episode = episode
    return found


def _create(target: _Target) -> tuple[Critique, Judgment]:
    critique = Critique(
        episode=target.episode, source=Critique.Source.RULES,
        is_failure=target.is_failure, audited_at_random=target.audited_at_random,
    )  # fmt: skip
    _fill(critique, target.judgment)
    if target.is_failure and may_ask(target.episode.agent):
        opinion = ask(target.episode, target.case, target.judgment)
        if opinion is not None:
            critique.source = Critique.Source.MODEL
            for name, value in opinion.model_dump().items():
                setattr(critique, name, value)
    try:
        with transaction.atomic(), acting(MACHINE, reason="reviewed after settling"):
            critique.save(force_insert=True)
    except IntegrityError:
        # Another worker reviewed the same conversation in the same moment; its critique is as good.
        known = _known(target.episode)
        if known is None:
            raise
        critique = known
    return critique, _as_placed(critique, target.judgment)


def _fill(critique: Critique, judgment: Judgment) -> None:
    for name in ("what", "why", "prevention", "counterfactual", "layer"):
        setattr(critique, name, getattr(judgment, name))
    critique.evidence = [{"kind": judgment.kind, **judgment.evidence}]


def _as_placed(critique: Critique, judgment: Judgment) -> Judgment:
    """Return the judgment to place a critique by: a model that names another layer starts a place of its own."""
    if critique.layer == judgment.layer:
        return judgment
    return Judgment(
        f"{critique.source}:{critique.layer}", critique.layer, critique.what, critique.why,
        critique.prevention, critique.counterfactual, judgment.rank,
    )  # fmt: skip


def _meaning(judgment: Judgment, conversation: Conversation) -> Vectors | None:
    if judgment.meaning:
        return np.asarray(encode([judgment.meaning])[0])
    return None if conversation.embedding is None else np.asarray(conversation.embedding, dtype=np.float32)
