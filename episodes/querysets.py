"""Named questions about many episodes and what was said of them."""

import re
from collections.abc import Collection
from typing import Any, Self
from uuid import UUID

from django.db.models import Func, JSONField, Q
from django.db.models.functions import Coalesce, Now
from pgvector.django import CosineDistance

from harness.querysets import OfAgentQuerySet, PlainOfAgentQuerySet

__all__ = [
    "ConversationQuerySet",
    "CorrectionQuerySet",
    "CritiqueQuerySet",
    "EpisodeQuerySet",
    "GovernedOfEpisodeQuerySet",
    "IntentQuerySet",
    "OfEpisodeQuerySet",
    "OfPatternQuerySet",
    "OutcomeQuerySet",
    "PatternQuerySet",
    "RefValues",
    "TraceQuerySet",
    "as_uuid",
]

_FAILURES = ("failed", "abandoned", "escalated", "blocked")
_WHOLE_NUMBER = re.compile(r"-?\d{1,15}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class RefValues(Func):
    """All texts and numbers inside a JSON value, whatever their names and depth, as one JSON list."""

    function = "jsonb_path_query_array"
    template = '%(function)s(%(expressions)s, \'strict $.** ? (@.type() == "string" || @.type() == "number")\')'
    output_field = JSONField()


def as_uuid(text: str) -> UUID | None:
    """Return the id that a text spells, `None` where it spells none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _readable(conversation: str = "") -> Q:
    """Return the condition that a drafter may read what hangs on a conversation: in dev, and surely so.

    Until a conversation's opening was compared with those before it, its split may still follow a near-duplicate's;
    the id of the embedding model says that this was done.
    """
    return Q(**{f"{conversation}split": "dev", f"{conversation}embedding_model__gt": ""})


class ConversationQuerySet(PlainOfAgentQuerySet):
    """Conversations: their split, their end."""

    def readable_by_proposer(self) -> Self:
        """Return the dev split: all that drafters, strategies and retries ever read."""
        return self.filter(_readable())

    def failing(self) -> Self:
        return self.filter(resolution__in=_FAILURES)

    def settled(self) -> Self:
        return self.filter(settled_at__isnull=False)

    def nearest(self, vector: Any, *, agent_id: Any, model: str) -> Self:
        """Order one agent's conversations of one embedding model by meaning, nearest first."""
        return (
            self.filter(agent_id=agent_id, embedding_model=model, embedding__isnull=False)
            .annotate(distance=CosineDistance("embedding", vector))
            .order_by("distance")
        )


class EpisodeQuerySet(PlainOfAgentQuerySet):
    """Episodes: waiting, readable, flagged, found by what is known of them."""

    def waiting(self) -> Self:
        """Return those whose analysis is still to come."""
        return self.filter(understood_at__isnull=True, analysis_failed_at__isnull=True)

    def not_analyzed(self) -> Self:
        """Return those whose analysis failed; `analysis_error` says why."""
        return self.filter(analysis_failed_at__isnull=False)

    def with_ref(self, value: str, *, by_index: bool = True) -> Self:
        """Return those that carry `value` somewhere in `external_refs`: by the index, or reading one row by one."""
        holds = Q(ref_values__contains=[value])
        if _WHOLE_NUMBER.fullmatch(value):
            holds |= Q(ref_values__contains=[int(value)])
        # The index holds no empty references, and serves only who asks for none.
        refs = "external_refs" if by_index else Coalesce("external_refs", "external_refs")
        return self.exclude(external_refs={}).alias(ref_values=RefValues(refs)).filter(holds)

    def called(self, name: str, agent_ids: Collection[UUID]) -> list[Self]:
        """Return the episodes of these agents that are called `name`: by the agent, by the platform.

        One queryset for each kind of id: apart, each is one index lookup; joined by OR, they read the whole table.
        """
        key, own = as_uuid(name), self.filter(agent_id__in=agent_ids)
        return [own.filter(external_id=name), *([own.filter(pk=key)] if key else [])]

    def around(self, name: str, agent_ids: Collection[UUID]) -> list[Self]:
        """Return the episodes of the conversation, of the user, under the version called `name`, as `called` does."""
        key, own = as_uuid(name), self.filter(agent_id__in=agent_ids)
        talks = self.filter(conversation__agent_id__in=agent_ids)
        found = [talks.filter(conversation__external_id=name), talks.filter(conversation__subject=name)]
        if key:
            found.append(own.filter(conversation=key))
        if _DIGEST.fullmatch(name):
            found.append(own.filter(harness_digest=name))
        return found

    def readable_by_proposer(self) -> Self:
        return self.filter(_readable("conversation__"))

    def failing(self) -> Self:
        return self.filter(conversation__resolution__in=_FAILURES)

    def flagged(self) -> Self:
        return self.filter(flags__isnull=False).distinct()


class OfEpisodeQuerySet(PlainOfAgentQuerySet):
    """Facts that hang on an episode (steps, signals)."""

    def readable_by_proposer(self) -> Self:
        return self.filter(_readable("episode__conversation__"))


class OutcomeQuerySet(PlainOfAgentQuerySet):
    """Outcomes: what may be believed."""

    def truthful(self) -> Self:
        """Leave out what the agent says of itself: gate, guard and meter never read it."""
        return self.exclude(source="agent")


class GovernedOfEpisodeQuerySet(OfAgentQuerySet):
    """Flags and coverage: governed rows that hang on an episode."""

    def readable_by_proposer(self) -> Self:
        return self.filter(_readable("episode__conversation__"))


class CorrectionQuerySet(OfAgentQuerySet):
    """Corrections with at least one covered episode a drafter may read."""

    def readable_by_proposer(self) -> Self:
        return self.filter(_readable("coverage__episode__conversation__")).distinct()


class CritiqueQuerySet(OfAgentQuerySet):
    """Critiques: failures, places."""

    def failures(self) -> Self:
        return self.filter(is_failure=True)

    def readable_by_proposer(self) -> Self:
        return self.filter(_readable("episode__conversation__"))

    def outside_patterns(self) -> Self:
        return self.filter(is_failure=True, membership__isnull=True)


class TraceQuerySet(PlainOfAgentQuerySet):
    """Traces: which are to be made into episodes."""

    def waiting(self) -> Self:
        """Return those with records that are in no episode yet."""
        return self.filter(due_at__isnull=False)

    def due(self) -> Self:
        """Return those that have been quiet for long enough."""
        return self.filter(due_at__lte=Now())


class IntentQuerySet(OfAgentQuerySet):
    """Intents in use."""

    def current(self) -> Self:
        return self.exclude(state="retired")

    def live(self) -> Self:
        return self.filter(state="live")


class PatternQuerySet(OfAgentQuerySet):
    """Patterns that want something done."""

    def open(self) -> Self:
        return self.filter(status__in=("new", "escalating", "regressed"))

    def fixable(self, *, min_subjects: int) -> Self:
        return self.open().filter(num_subjects__gte=min_subjects)


class OfPatternQuerySet(PlainOfAgentQuerySet):
    """Members of patterns."""

    def readable_by_proposer(self) -> Self:
        return self.filter(_readable("critique__episode__conversation__"))
