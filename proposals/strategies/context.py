"""An uncovered need plus corrections becomes one knowledge document."""

from collections import Counter

from harness.patches import diff
from harness.sensitive import find
from proposals.strategies.protocol import (
    CorrectedReading,
    Declined,
    DraftedChange,
    PatternReading,
    QuoteOf,
    StrategySpec,
    slug_of,
)

__all__ = ["STRATEGY", "draft"]

MIN_CORRECTED = 3
MIN_SUBJECTS = 2
MIN_AGREEMENT = 0.6
MAX_TAGS = 6
MAX_TAG_CHARACTERS = 120


def draft(reading: PatternReading) -> DraftedChange | Declined:
    """Write one document from corrections that agree, unless the knowledge is there already.

    Corrections that contradict each other are a reason to stop, not to average: someone labeled wrongly.
    """
    answered = [row for row in reading.corrections if row.answer and row.intent == reading.intent]
    if len(answered) < MIN_CORRECTED or len({row.subject for row in answered}) < MIN_SUBJECTS:
        return Declined(f"{len(answered)} corrected episodes for {reading.intent_name!r}; {MIN_CORRECTED} are needed.")
    answer, votes = Counter(_normal(row.answer) for row in answered).most_common(1)[0]
    if votes / len(answered) < MIN_AGREEMENT:
        return Declined(f"Corrections disagree: {votes} of {len(answered)} say the same. A person must sort them out.")
    agreeing = [row for row in answered if _normal(row.answer) == answer]
    documents = reading.document.get("context", {}).get("documents", {})
    known = [name for name, document in documents.items() if answer in _normal(document.get("text", ""))]
    if known:
        return Declined(f"Document {known[0]!r} says this already; what fails is finding it, not knowing it.")
    return _document(reading, agreeing, taken=frozenset(documents))


def _document(reading: PatternReading, agreeing: list[CorrectedReading], taken: frozenset[str]) -> DraftedChange:
    first = agreeing[0]
    title = next((row.title for row in agreeing if row.title), reading.intent_name)
    name = slug_of(title, taken=taken)
    document = {
        "title": title,
        "text": first.answer,
        "tags": _phrasings(agreeing),
        "source": f"corrections of {len(agreeing)} episodes",
        "owner": first.corrected_by,
        "valid_until": None,
    }
    context = dict(reading.document.get("context", {}))
    context["documents"] = {**context.get("documents", {}), name: document}
    patch = diff(dict(reading.document), {**reading.document, "context": context})
    expected = reading.failure_rate
    opening = first.answer.split(". ")[0].rstrip(".")
    return DraftedChange(
        title=f"Add the document {title!r}",
        claim="fixes",
        patch=[dict(operation) for operation in patch],
        rationale=(
            f"{reading.num_subjects} users with the need {reading.intent_name!r} were not helped, and no document "
            f"answers it. {len(agreeing)} corrected episodes agree on the answer, which becomes one document."
        ),
        quotes=tuple(QuoteOf(row.episode_ref, row.user_text) for row in agreeing),
        target_intents=(reading.intent,),
        predicted_effect={
            "gain": round(0.75 * expected, 3),
            "low": round(0.4 * expected, 3),
            "high": round(expected, 3),
        },
        drafted_cases=tuple(
            {"messages": [{"role": "user", "content": row.user_text}], "expectations": {"contains": [opening]}}
            for row in agreeing
        ),
    )


def _phrasings(agreeing: list[CorrectedReading]) -> list[str]:
    """Return ways of asking that users used, without anything personal and without numbers of their own."""
    texts = [row.user_text.strip() for row in agreeing]
    short = [text for text in texts if 0 < len(text) <= MAX_TAG_CHARACTERS and not find(text)]
    return list(dict.fromkeys(short))[:MAX_TAGS]


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


STRATEGY = StrategySpec(
    slug="context",
    name="Knowledge document",
    layer="context",
    description="Turns corrections that agree on an uncovered need into one knowledge document.",
    draft=draft,
)
