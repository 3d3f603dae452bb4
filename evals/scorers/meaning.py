"""What the reply means, by the bundled sentence encoder."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.scorers.reply import Reply
from evals.scorers.scorer import NEARLY, ONE_OR_MORE_TEXTS, Part, Scorer, as_list, json_object
from inference.encoder import encode

__all__ = ["SIMILAR"]

AT_LEAST = 0.7
_MAX_PASSAGES = 64


def _similar(wanted: Any, reply: Reply) -> Part:
    texts = as_list(wanted["text"] if isinstance(wanted, Mapping) else wanted)
    least = wanted.get("at_least", AT_LEAST) if isinstance(wanted, Mapping) else AT_LEAST
    passages = _passages(reply.said)
    if not passages:
        return Part(0.0, "says nothing")
    vectors = encode([*texts, *passages])
    similarity = float((vectors[: len(texts)] @ vectors[len(texts) :].T).max())
    rationale = f"its nearest passage has similarity {similarity:.2f}, at least {least:.2f} is wanted"
    return Part(1.0 if similarity >= least else min(NEARLY, max(0.0, similarity / least)), rationale)


def _passages(said: Sequence[str]) -> list[str]:
    """Return each answer as a whole and its sentences: what is meant must not drown in what else is said."""
    found: list[str] = []
    for text in said:
        found += [text, *re.split(r"(?<=[.!?])\s+|\n+", text)]
    distinct = dict.fromkeys(passage.strip() for passage in found)
    return [passage for passage in distinct if passage][:_MAX_PASSAGES]


SIMILAR = Scorer(
    "similar",
    f"An answer, or a sentence of it, means what one of these texts means: cosine similarity of the bundled sentence "
    f"encoder (English) of at_least (default {AT_LEAST}); below, the score is the share of it that is reached. Negation it hardly sees: pair it with excludes.",
    {
        "anyOf": [
            *ONE_OR_MORE_TEXTS["anyOf"],
            json_object(
                {"text": ONE_OR_MORE_TEXTS, "at_least": {"type": "number", "minimum": 0.05, "maximum": 1}}, "text"
            ),
        ]
    },
    {"text": "Returns are free within 30 days.", "at_least": 0.75}, _similar,
)  # fmt: skip
