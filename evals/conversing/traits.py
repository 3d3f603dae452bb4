"""How a conversation went, in numbers that recorded and simulated ones have in common. Pure.

Both are read by the same instruments from what was said, so that an instrument's errors fall on both alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from episodes.detectors import rephrase
from episodes.turns import Turn
from evals.conversing.words import asks_for_person, closes, complains, num_words, specifics

__all__ = ["Traits", "traits_of"]


@dataclass(frozen=True, slots=True)
class Traits:
    """One conversation in numbers.

    `turns` are the user's, a mere farewell left out; `words` their mean words a turn; `specifics` the share of turns
    that name a particular not named before: a number, a code, an address. `left` says that the user fell silent
    without what they came for and without asking for a person. `cluster` is the user or the case, `intent` its want.
    """

    cluster: str
    intent: str
    turns: int
    words: float
    specifics: float
    rephrased: bool
    complained: bool
    left: bool
    asked_person: bool
    resolved: bool


def traits_of(
    said: Sequence[Turn],
    *,
    cluster: str,
    intent: str,
    resolved: bool,
    handed_off: bool,
    vectors: Mapping[str, Any] | None = None,
) -> Traits | None:
    """Return the traits of a conversation; `None` where the user said nothing.

    `vectors` holds unit vectors by text for the detector of rephrasings; without them only the explicit ones are seen.
    """
    texts = [turn.text for turn in said if turn.role == "user"]
    if len(texts) > 1 and closes(texts[-1]):
        texts = texts[:-1]
    if not texts:
        return None
    asked = any(asks_for_person(text) for text in texts)
    return Traits(
        cluster=cluster,
        intent=intent,
        turns=len(texts),
        words=sum(map(num_words, texts)) / len(texts),
        specifics=_specific_share(said, len(texts)),
        rephrased=rephrase.detect(said, vectors) is not None,
        complained=any(complains(text) for text in texts),
        left=not (resolved or handed_off or asked),
        asked_person=asked,
        resolved=resolved,
    )


def _specific_share(said: Sequence[Turn], num_turns: int) -> float:
    heard: set[str] = set()
    number = 0
    for turn in said:
        named = specifics(turn.text)
        number += turn.role == "user" and bool(named - heard)
        heard |= named
    return min(1.0, number / num_turns)
