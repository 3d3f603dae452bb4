"""What is said in a turn, read by rules: what is asked for, named, complained of or wished farewell. Pure."""

import re
from collections.abc import Iterable

__all__ = [
    "asks_for", "asks_for_details", "asks_for_person", "closes", "complains", "flat", "holds", "num_words", "specifics",
]  # fmt: skip

_SENTENCE = re.compile(r"[^.!?？\n]+[.!?？]?")
_REQUEST = re.compile(
    r"\b(please|kindly)\b.{0,200}\b(provide|share|give|send|tell|enter|confirm|state|name|type|specify|describe|explain|elaborate|clarify)\b"
    r"|\b(can|could|may|would|will) (you|i|we)\b"
    r"|\b(let me know|tell me|send me|give me|i('| wi)?ll need|i need|we need|what is|what's|which)\b|\bplease\W*$",
    re.IGNORECASE,
)
_DETAILS = re.compile(
    r"\b(more|further|additional|some) (details?|information|context|specifics)\b|\b(elaborate|clarify|describe)\b"
    r"|\bwhat (exactly|precisely)\b|\btell me more\b",
    re.IGNORECASE,
)
_COMPLAINT = re.compile(
    r"\b(not (at all )?(helpful|good enough|acceptable)|useless|ridiculous|terrible|awful|unacceptable|"
    r"waste of (my )?time|disappoint\w*|frustrat\w*|annoy\w*|fed up|worst|(doesn('|’)?t|does not) answer)\b|\bseriously\?",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"\b(real|actual|human|live) (person|agent|being|representative|operator)\b|\b(speak|talk|chat|connect\w*|transfer\w*)\b"
    r"[^.?!]{0,30}\b(human|person|someone|somebody|representative|operator|manager|supervisor|colleague)\b"
    r"|\b(somebody|someone) from (the|your) team\b|\bhuman,? please\b",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"^\W*((ok(ay)?|great|perfect|awesome|alright|got it|no)\W+)*(thanks|thank you|thx|cheers|bye|goodbye|that('|’)?s (all|it|everything)|"
    r"that is (all|it|everything)|all set|solved)\b",
    re.IGNORECASE,
)
_MAX_CLOSING_WORDS = 12
# Bounded, because what an agent says may be one word of any length.
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{0,200}\w")
_CODE = re.compile(r"\w[\w/-]*")
_MIN_CODE_CHARACTERS = 3
_WORD = re.compile(r"\w+")


def flat(text: str) -> str:
    """Return a text in the form in which texts are compared: case and spacing make no difference."""
    return " ".join(text.split()).casefold()


def holds(text: str, phrase: str) -> bool:
    """Tell whether a phrase occurs in a text."""
    return flat(phrase) in flat(text)


def num_words(text: str) -> int:
    return len(_WORD.findall(text))


def asks_for(text: str, names: Iterable[str]) -> bool:
    """Tell whether a text asks for something that goes by one of these names, in a question or a request."""
    asking = [flat(sentence) for sentence in _asking(text)]
    patterns = [re.compile(rf"(?<!\w){re.escape(flat(name))}(?!\w)") for name in names]
    return any(pattern.search(sentence) for pattern in patterns for sentence in asking)


def asks_for_details(text: str) -> bool:
    """Tell whether a text asks for more without saying what."""
    return any(_DETAILS.search(sentence) for sentence in _asking(text))


def _asking(text: str) -> list[str]:
    sentences = _SENTENCE.findall(text)
    return [one for one in sentences if one.rstrip().endswith(("?", "？")) or _REQUEST.search(one)]


def complains(text: str) -> bool:
    """Tell whether a user complains of the agent."""
    return _COMPLAINT.search(text) is not None


def asks_for_person(text: str) -> bool:
    """Tell whether a user wants a person instead."""
    return _PERSON.search(text) is not None


def closes(text: str) -> bool:
    """Tell whether a user only takes leave, content."""
    return num_words(text) <= _MAX_CLOSING_WORDS and _CLOSING.search(text) is not None


def specifics(text: str) -> frozenset[str]:
    """Return the exact particulars a text names: e-mail addresses, and codes or numbers of three characters and more.

    They are what nobody can guess, so that who says one must have been told it. Marks inside make no difference.
    """
    emails = {found.group().casefold() for found in _EMAIL.finditer(text)}
    rest = _EMAIL.sub(" ", text)
    codes = {re.sub(r"[\W_]", "", found.group()).casefold() for found in _CODE.finditer(rest)}
    return frozenset(emails | {code for code in codes if len(code) >= _MIN_CODE_CHARACTERS and re.search(r"\d", code)})
