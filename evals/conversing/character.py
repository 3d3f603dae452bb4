"""Whether a model that plays a user stayed that user: it says nothing it was not told and is no assistant. Pure."""

import re
from collections.abc import Iterable

from evals.conversing.persona import SimulatedUser
from evals.conversing.words import specifics

__all__ = ["flaws_of"]

_ASSISTANT = re.compile(
    r"\b(as an ai|language model|how (can|may) i (help|assist) you|i('| a)m (here to help|an assistant)|"
    r"happy to (help|assist) you|simulated user)\b",
    re.IGNORECASE,
)


def flaws_of(message: str, claimed: Iterable[str], persona: SimulatedUser, heard: Iterable[str]) -> tuple[str, ...]:
    """Return what is wrong with a message as words of this user; empty when nothing is.

    `claimed` names the facts the model says it gives, `heard` is all that was said before. What makes the user content
    is no knowledge of theirs: who names the answer's particulars before the agent does is out of character too.
    """
    flaws = [f"gives the fact {name!r}, which it does not have" for name in claimed if name not in persona.facts]
    known = specifics("\n".join([*_known(persona), *heard]))
    flaws += [f"names {one!r}, which nobody told it" for one in sorted(specifics(message) - known)]
    if _ASSISTANT.search(message):
        flaws.append("speaks as an assistant, not as the user")
    return tuple(flaws)


def _known(persona: SimulatedUser) -> list[str]:
    facts = [text for fact in persona.facts.values() for text in (fact.value, fact.say or "")]
    return [persona.goal, persona.opening or "", *persona.rephrasings, *facts]
