"""What a strategy reads and what it returns: values only, all of them from the dev split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CorrectedReading", "Declined", "DraftedChange", "PatternReading", "QuoteOf", "StrategySpec", "slug_of"]


@dataclass(frozen=True)
class CorrectedReading:
    """One dev episode and what a person said should have happened in it."""

    episode_ref: str
    subject: str
    user_text: str
    intent: str
    title: str = ""
    answer: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    corrected_by: str = ""
    failed_arguments: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class PatternReading:
    """A recurring failure as a drafter may see it: the stable document, the place, and the corrections around it."""

    document: Mapping[str, Any]
    layer: str
    kind: str
    intent: str
    intent_name: str
    num_subjects: int
    failure_rate: float
    corrections: tuple[CorrectedReading, ...]


@dataclass(frozen=True)
class QuoteOf:
    """Words of an episode."""

    episode_ref: str
    text: str


@dataclass(frozen=True)
class DraftedChange:
    """One small change with its claim, reasons and evidence."""

    title: str
    claim: str
    patch: list[dict[str, Any]]
    rationale: str
    quotes: tuple[QuoteOf, ...]
    target_intents: tuple[str, ...]
    predicted_effect: Mapping[str, float]
    drafted_cases: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Declined:
    """Why a strategy writes nothing; shown to people, so that silence has a reason."""

    reason: str


@dataclass(frozen=True)
class StrategySpec:
    """A strategy: its slug, the layer whose patterns it reads, and the pure function that drafts."""

    slug: str
    name: str
    layer: str
    description: str
    draft: Callable[[PatternReading], DraftedChange | Declined]


def slug_of(text: str, *, taken: frozenset[str] = frozenset(), limit: int = 48) -> str:
    """Return a lower-case id made of the words of `text`, with a number when it is taken."""
    words = "".join(letter if letter.isalnum() and letter.isascii() else " " for letter in text.lower()).split()
    stem = "-".join(words)[:limit].strip("-") or "item"
    slug, count = stem, 2
    while slug in taken:
        slug, count = f"{stem}-{count}", count + 1
    return slug
