"""Propose what must hold of a reply, from what is known of the episode a case is made of; each says where it comes from. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from episodes.detectors.readings import StepReading

__all__ = ["Corrected", "Expected", "Lived", "Usual", "as_expectations", "facts_in", "propose", "strength_of"]

MAX_FACTS = 4
MAX_PHRASE = 160
MAX_SOURCES = 2
# Amounts, then numbers with the word they count; a long number alone names a row, and differs from user to user.
_FACT = re.compile(
    r"(?:[€$£]\s?\d[\d.,]*\d|[€$£]\s?\d)"
    r"|\b\d{1,4}(?:[.,]\d{1,2})?\s?(?:%|€|EUR\b|USD\b|GBP\b)"
    r"|\b\d{1,4}(?:[.,]\d{1,2})?\s+[^\W\d_]{3,20}\b(?:\s+(?:days|hours|weeks|months|years)\b)?"
    r"|“[^”]{3,80}”|\"[^\"]{3,80}\""
    r"|\bhttps?://[^\s)>\]]{4,120}"
)
_RECORDED = frozenset({"customer", "staff", "detector"})
_BAD = frozenset({"wrong", "unhelpful", "unsafe"})
_WORDS_FOR_SOURCE = {"customer": "the customer's system", "staff": "staff", "detector": "a detector"}


@dataclass(frozen=True)
class Corrected:
    """What a correction says of the episode; the arguments are those of this episode over the correction's own."""

    answer: str = ""
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    should_escalate: bool = False


@dataclass(frozen=True)
class Usual:
    """What resolved conversations of the same intent mostly did: the source they cited, the tool they called."""

    source: str = ""
    tool: str = ""
    count: int = 0
    of: int = 0


@dataclass(frozen=True)
class Lived:
    """An episode as far as it tells what should have come of it."""

    output_text: str = ""
    handed_off: bool = False
    steps: Sequence[StepReading] = ()
    sources: Sequence[str] = ()
    user_texts: Sequence[str] = ()
    resolution: str = "open"
    resolution_source: str = ""
    flags: Collection[str] = ()
    is_high_risk: bool = False
    correction: Corrected | None = None
    usual: Usual = Usual()


@dataclass(frozen=True)
class Expected:
    """One proposed expectation: the scorer's name, its value, and where it comes from."""

    name: str
    value: Any
    why: str


def propose(lived: Lived) -> list[Expected]:
    """Return what a case of this episode should expect; empty where nothing is known and a person must say it.

    A correction speaks first, then a flag. What was resolved by the word of somebody but the agent, and not flagged as
    bad, should go as it went. What failed should go as resolved conversations of its intent mostly went.
    """
    if lived.correction is not None:
        return _by_correction(lived.correction)
    if "should_escalate" in lived.flags:
        return [Expected("handoff", True, "a person flagged that it should have been handed over")]
    is_disputed = not _BAD.isdisjoint(lived.flags)
    if lived.resolution == "resolved" and lived.resolution_source in _RECORDED and not is_disputed:
        return _as_resolved(lived)
    if lived.is_high_risk and lived.handed_off and lived.resolution == "escalated":
        said_by = _WORDS_FOR_SOURCE.get(lived.resolution_source, "its end")
        return [Expected("handoff", True, f"it was handed over, and that is how it ended by the word of {said_by}")]
    return _as_usual(lived.usual)


def as_expectations(proposed: Sequence[Expected]) -> dict[str, Any]:
    """Return what a case stores of the proposals."""
    return {one.name: one.value for one in proposed}


def strength_of(lived: Lived, proposed: Sequence[Expected]) -> int:
    """Return how much is known: 3 by a correction, 2 by what was said or done, 1 by a hand-off alone, 0 nothing."""
    if lived.correction is not None:
        return 3
    if any(one.name != "handoff" for one in proposed):
        return 2
    return 1 if proposed else 0


def facts_in(text: str) -> list[str]:
    """Return the few phrases of an answer that carry its facts: amounts, numbers with their unit, quotes, addresses."""
    found = (match[0].strip(' .,"“”') for match in _FACT.finditer(text))
    return list(dict.fromkeys(phrase for phrase in found if len(phrase) > 1))[:MAX_FACTS]


def _by_correction(said: Corrected) -> list[Expected]:
    expected = []
    if said.answer.strip():
        facts = facts_in(said.answer)
        if facts:
            expected.append(Expected("contains", facts, "the facts in the correction's answer"))
        elif len(said.answer.strip()) <= MAX_PHRASE:
            words = "the correction's whole answer: shorten it to what must be said"
            expected.append(Expected("contains", [said.answer.strip()], words))
    if said.tool:
        call = {"name": said.tool} | ({"arguments": dict(said.arguments)} if said.arguments else {})
        expected.append(Expected("tool_called", call, "the tool that the correction names"))
    if said.should_escalate:
        expected.append(Expected("handoff", True, "the correction says that it should be handed over"))
    return expected


def _as_resolved(lived: Lived) -> list[Expected]:
    ending = f"this conversation was resolved by the word of {_WORDS_FOR_SOURCE[lived.resolution_source]}"
    expected = []
    if lived.sources:
        expected.append(Expected("cites", list(lived.sources[:MAX_SOURCES]), f"what the reply cited; {ending}"))
    calls = [step for step in lived.steps if step.kind == "tool_call" and step.name and not step.has_failed]
    if calls:
        expected.append(Expected("tool_called", _call(calls[-1], lived), f"the tool that was called; {ending}"))
    elif facts := facts_in(lived.output_text):
        # What a tool returned was true that day; only answers without one stay as they are.
        expected.append(Expected("contains", facts, f"the facts in the reply; {ending}"))
    if not lived.handed_off:
        expected.append(Expected("handoff", False, f"no person had to take over; {ending}"))
    return expected


def _call(step: StepReading, lived: Lived) -> dict[str, Any]:
    """Return the call to expect: with its arguments only where the user said each of them."""
    said = _plain(" ".join(lived.user_texts))
    given = dict(step.input)
    if given and all(
        isinstance(value, str | int) and _plain(value) and _plain(value) in said for value in given.values()
    ):
        return {"name": step.name, "arguments": given}
    return {"name": step.name}


def _plain(value: object) -> str:
    return re.sub(r"\W+", "", str(value)).casefold()


def _as_usual(usual: Usual) -> list[Expected]:
    why = f"as in {usual.count} of {usual.of} resolved conversations of this intent"
    if usual.source:
        return [Expected("cites", [usual.source], why)]
    return [Expected("tool_called", {"name": usual.tool}, why)] if usual.tool else []
