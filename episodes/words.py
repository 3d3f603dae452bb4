"""What of an episode can be searched: a bounded extract of what was said in it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["MAX_CHARACTERS", "searchable_text"]

# Of the input and of the output each: enough for a talk, and far below the 1 MB that a tsvector may take.
MAX_CHARACTERS = 4_000
# The system's prompt is the same in every episode: whoever searches a word wants to know who said it.
# A tuple: what stands under `role` may be any JSON, and not all of it can be looked up in a set.
_NOT_SAID = ("system", "developer")
_LABELS = frozenset({"role", "type", "id", "name", "tool_call_id", "finish_reason"})


def searchable_text(heard: object, answered: object) -> str:
    """Return the texts of an episode's input and output, each cut to its last `MAX_CHARACTERS`: the newest words."""
    return " ".join(text for part in (heard, answered) if (text := _newest(part)))


def _newest(value: object) -> str:
    kept: list[str] = []
    room = MAX_CHARACTERS
    for text in _texts(value):
        kept.append(text[-room:])
        room -= len(kept[-1]) + 1
        if room <= 0:
            break
    return " ".join(reversed(kept))


def _texts(value: object) -> Iterator[str]:
    """Yield the texts inside a JSON value, the last first; labels of messages and the system's words left out."""
    stack: list[Any] = [value]
    while stack:
        match stack.pop():
            case str() as text if text.strip():
                yield text
            case Mapping() as members if members.get("role") not in _NOT_SAID:
                stack += [part for name, part in members.items() if name not in _LABELS]
            case list() as parts:
                stack += parts
