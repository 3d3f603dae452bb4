"""Turn what was recorded into a script: the user's turns, in order. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from episodes.turns import Turn
from evals.conversing.reading import ConversationError, validate_conversation
from evals.conversing.script import MAX_TURNS
from evals.conversing.words import closes

__all__ = ["Scripted", "script_from"]


class Scripted(NamedTuple):
    """A case's `messages` and `conversation`; the latter is empty where the user spoke once."""

    messages: list[dict[str, Any]]
    conversation: dict[str, Any]


def script_from(said: Sequence[Turn]) -> Scripted:
    """Return the opening and the script of a conversation; a mere farewell at the end is left out.

    Raise `ConversationError` where nobody said anything, or more than a script holds.
    """
    texts = [turn.text for turn in said if turn.role == "user"]
    if len(texts) > 1 and closes(texts[-1]):
        texts = texts[:-1]
    if not texts:
        raise ConversationError("The user of this conversation said nothing: there is nothing to script.")
    if len(texts) > MAX_TURNS:
        raise ConversationError(
            f"The user of this conversation spoke {len(texts)} times; a script plays {MAX_TURNS} turns at most. Take a "
            "shorter one, or write a simulated user with the same goal."
        )
    messages: list[dict[str, Any]] = [{"role": "user", "content": texts[0]}]
    turns = [{"say": text} for text in texts[1:]]
    conversation: dict[str, Any] = {"kind": "scripted", "turns": turns} if turns else {}
    validate_conversation(conversation, messages)
    return Scripted(messages, conversation)
