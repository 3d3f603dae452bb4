"""A user who had to say it again."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from episodes.detectors.readings import Found
from episodes.turns import Turn

__all__ = ["MIN_COSINE", "detect"]

# Same-want pairs of the CLINC set: precision .99, recall .35 at this cosine; precise rather than complete.
MIN_COSINE = 0.60

_EXPLICIT = re.compile(
    r"\b(not what I (asked|meant|want(ed)?|said)|that('|’)?s not (it|what|right)|I (already )?(said|told you|asked)|"
    r"as I (said|wrote)|like I said|you (didn('|’)?t|did not) (answer|understand|read|listen)|I meant|wrong answer|"
    r"let me (rephrase|say (it|that) again))\b",
    re.IGNORECASE,
)
_ASKS_TO_REPHRASE = re.compile(
    r"rephrase|in other words|(say|put) (it|that) (again|differently|another way)|not sure (I|what)|"
    r"did(n('|’)t| not) (quite )?(get|understand|catch)",
    re.IGNORECASE,
)


def detect(
    turns: Sequence[Turn], vectors: Mapping[str, Any] | None = None, *, newest_only: bool = False
) -> Found | None:
    """Return the first rephrasing among the user's turns; `None` when there is none.

    Either the user says so, or two adjacent turns mean the same (cosine of `vectors`, unit vectors by text) and the
    second is no answer to the agent's question. `newest_only` looks at the last turn alone, for an episode that
    repeats the history before it.
    """
    said = [index for index, turn in enumerate(turns) if turn.role == "user"]
    pairs = list(pairwise(said))
    for before, after in pairs[-1:] if newest_only else pairs:
        cosine = _cosine(turns[before].text, turns[after].text, vectors)
        explicit = _EXPLICIT.search(turns[after].text) is not None
        similar = cosine is not None and cosine >= MIN_COSINE and not _answers_question(turns[before + 1 : after])
        if explicit or similar:
            evidence = {
                "turns": [before, after],
                "quotes": [turns[before].text[:300], turns[after].text[:300]],
                "cosine": None if cosine is None else round(cosine, 3),
                "explicit": explicit,
            }
            return Found("rephrase", "context", evidence)
    return None


def _answers_question(between: Sequence[Turn]) -> bool:
    asked = next((turn.text for turn in reversed(between) if turn.role == "assistant"), "")
    return asked.rstrip().endswith("?") and not _ASKS_TO_REPHRASE.search(asked)


def _cosine(left: str, right: str, vectors: Mapping[str, Any] | None) -> float | None:
    if vectors is None or left not in vectors or right not in vectors:
        return None
    return float(np.dot(vectors[left], vectors[right]))
