"""Compare two texts word by word, for two columns that mark what only one of them says."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

__all__ = ["Passage", "word_diff"]

# Comparing is quadratic at worst: texts beyond this are shown whole, as different where they differ at all.
MAX_WORDS = 2_000


@dataclass(frozen=True, slots=True)
class Passage:
    """A run of words that both texts share, or that only this one has."""

    kind: Literal["same", "own"]
    text: str


def word_diff(first: str, second: str) -> tuple[list[Passage], list[Passage]]:
    """Return both texts cut into passages; joined, each side's passages are its text, character by character."""
    if first == second:
        return _passages(("same", first)), _passages(("same", second))
    left, right = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (first, second))
    if max(len(left), len(right)) > MAX_WORDS:
        return _passages(("own", first)), _passages(("own", second))
    matches = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    sides: tuple[list[Passage], list[Passage]] = ([], [])
    for number, (tag, i, j, k, m) in enumerate(matches):
        # A space that both have between two changes is no agreement.
        is_same = tag == "equal" and not (0 < number < len(matches) - 1 and "".join(left[i:j]).isspace())
        for side, words in zip(sides, (left[i:j], right[k:m]), strict=True):
            _add(side, "same" if is_same else "own", "".join(words))
    return sides


def _add(side: list[Passage], kind: Literal["same", "own"], text: str) -> None:
    """Add a passage, or lengthen the last one of its kind."""
    if side and side[-1].kind == kind:
        side[-1] = Passage(kind, side[-1].text + text)
    elif text:
        side.append(Passage(kind, text))


def _passages(*parts: tuple[Literal["same", "own"], str]) -> list[Passage]:
    return [Passage(kind, text) for kind, text in parts if text]
