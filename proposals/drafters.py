"""Reads what a drafter may read, lets the strategies of a layer write, and submits what they wrote."""

import logging
from collections.abc import Iterable, Iterator, Mapping

from django.db import transaction
from django.db.models import Count, Q

from accounts.acting import MACHINE, Actor, acting
from accounts.exceptions import DomainError
from episodes.models import CorrectedEpisode, Episode, Pattern
from harness.models import Agent
from proposals.drafting import Quote, Sketch, draft
from proposals.models import Proposal, Strategy
from proposals.strategies import STRATEGIES
from proposals.strategies.protocol import CorrectedReading, Declined, DraftedChange, PatternReading, StrategySpec
from proposals.twins import twin_of

__all__ = ["draft_for_agent", "draft_for_pattern", "read_pattern", "strategy_row"]

logger = logging.getLogger("proposals")

MIN_SUBJECTS = 3


def strategy_row(spec: StrategySpec) -> Strategy:
    """Return the row that carries a strategy's record, made on first use."""
    row, _ = Strategy.objects.get_or_create(
        slug=spec.slug, defaults={"name": spec.name, "layer": spec.layer, "description": spec.description}
    )
    return row


def draft_for_agent(agent: Agent, *, by: Actor = MACHINE) -> list[Proposal]:
    """Let strategies write for every open pattern that has enough users and no pending proposal."""
    written = []
    for pattern in Pattern.objects.filter(agent=agent).fixable(min_subjects=MIN_SUBJECTS).order_by("-num_subjects"):
        written += draft_for_pattern(pattern, by=by)[0]
    return written


def draft_for_pattern(pattern: Pattern, *, by: Actor = MACHINE) -> tuple[list[Proposal], list[str]]:
    """Let the strategies of the pattern's layer write; return what was submitted and why others declined.

    A pattern with a pending proposal, or whose candidate is pending or was refused already, gets nothing new:
    the same change is not judged twice.
    """
    written: list[Proposal] = []
    declined: list[str] = []
    for spec in STRATEGIES:
        if spec.layer != pattern.layer or not strategy_row(spec).is_enabled:
            continue
        outcome = _draft_once(pattern, spec, by)
        if isinstance(outcome, Proposal):
            written.append(outcome)
        else:
            declined.append(f"{spec.name}: {outcome}")
    return written, declined


@transaction.atomic
def _draft_once(pattern: Pattern, spec: StrategySpec, by: Actor) -> Proposal | str:
    # One drafter per agent at a time: two patterns may ask for the same change.
    agent = Agent.objects.locked().get(pk=pattern.agent_id)
    if Proposal.objects.on_pattern(pattern.pk).pending().exists():
        return "a proposal for this pattern is pending."
    change = spec.draft(read_pattern(pattern))
    if isinstance(change, Declined):
        return change.reason
    sketch = Sketch(
        title=change.title, claim=change.claim, patch=change.patch, rationale=change.rationale,
        evidence=_quotes(change), target_intents=change.target_intents,
        predicted_effect=dict(change.predicted_effect), drafted_cases=[dict(case) for case in change.drafted_cases],
    )  # fmt: skip
    try:
        with transaction.atomic(), acting(by, reason=f"strategy {spec.slug}"):
            proposal = draft(agent, sketch, by=MACHINE, pattern=pattern, strategy=strategy_row(spec), source="rules")
            twin = twin_of(proposal)
            if twin is not None:
                message = f"the same change is {twin.get_status_display().lower()} already: {twin}."
                raise DomainError(message)
            proposal.submit(by=MACHINE, reason=change.rationale)
    except DomainError as refusal:
        logger.info("proposal.not_drafted", extra={"pattern": str(pattern.pk), "refusal": str(refusal)})
        return str(refusal)
    return proposal


def _quotes(change: DraftedChange) -> list[Quote]:
    episodes = Episode.objects.readable_by_proposer().in_bulk([quote.episode_ref for quote in change.quotes])
    by_ref = {str(key): episode for key, episode in episodes.items()}
    return [Quote(by_ref[quote.episode_ref], quote.text) for quote in change.quotes if quote.episode_ref in by_ref]


def read_pattern(pattern: Pattern) -> PatternReading:
    """Return the dev split's view of a pattern: nothing of verify or hold-out conversations is in it."""
    stable = pattern.agent.stable
    covered = (
        CorrectedEpisode.objects.readable_by_proposer()
        .filter(episode__agent_id=pattern.agent_id)
        .select_related("correction__intent", "episode__conversation__intent", "correction")
        .order_by("id")
    )
    if pattern.layer == "context":
        covered = covered.filter(
            Q(correction__intent_id=pattern.intent_id)
            | Q(correction__intent__isnull=True, episode__conversation__intent_id=pattern.intent_id)
        )
    rows = list(covered[:2_000])
    return PatternReading(
        document=stable.document if stable else {},
        layer=pattern.layer,
        kind=pattern.kind,
        intent=pattern.intent.slug if pattern.intent else "",
        intent_name=pattern.intent.name if pattern.intent else pattern.title,
        num_subjects=pattern.num_subjects,
        failure_rate=_failure_rate(pattern),
        corrections=tuple(_corrected(rows)),
    )


def _corrected(rows: Iterable[CorrectedEpisode]) -> Iterable[CorrectedReading]:
    rows = list(rows)
    for row in rows:
        intent = row.correction.intent or row.episode.conversation.intent
        yield CorrectedReading(
            episode_ref=str(row.episode_id),
            subject=row.episode.conversation.subject,
            user_text=row.episode.first_user_text,
            intent=intent.slug if intent else "",
            title=row.correction.title,
            answer=row.correction.answer,
            tool=row.correction.tool,
            arguments=row.arguments or row.correction.arguments,
            corrected_by=row.correction.corrected_by_name,
            failed_arguments=tuple(_refused_arguments(row.episode)),
        )


def _refused_arguments(episode: Episode) -> Iterator[Mapping[str, object]]:
    for step in episode.step_readings():
        if step.kind == "tool_call" and step.status == "error":
            yield step.input.get("arguments", step.input)


def _failure_rate(pattern: Pattern) -> float:
    """Return the share of this need's settled dev conversations that failed; 0 where none is settled.

    A pattern that spans wants is measured on the wants of its members.
    """
    conversations = pattern.agent.conversations.readable_by_proposer().settled()
    members = pattern.members.values_list("critique__episode__conversation__intent", flat=True)
    wants = {pattern.intent_id} if pattern.intent_id is not None else set(members) - {None}
    if wants:
        conversations = conversations.filter(intent__in=wants)
    counts = conversations.aggregate(
        total=Count("id"), failed=Count("id", filter=Q(resolution__in=("failed", "abandoned", "escalated", "blocked")))
    )
    return counts["failed"] / counts["total"] if counts["total"] else 0.0
