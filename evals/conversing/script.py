"""Scripted conversations: what the user says next, in order, and when a turn is left out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from evals.conversing.words import asks_for, holds

__all__ = ["MAX_TURNS", "Condition", "Part", "Reply", "Script", "ScriptedTurn", "Text", "Texts"]

MAX_TURNS = 20
"""Replies an agent gives in one conversation at most."""
_MAX_TEXT = 4_000


class Part(BaseModel):
    """A part of a conversation's description; names nobody knows are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


def _says_something(text: str) -> str:
    if not text.strip():
        message = "is empty; write what is said"
        raise ValueError(message)
    return text


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


type Text = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(_says_something)]
type Texts = Annotated[list[Text], Field(min_length=1, max_length=40), BeforeValidator(_listed)]


@dataclass(frozen=True)
class Reply:
    """What an agent's turn came to, as its user sees it; `tools` names those it called."""

    text: str
    handoff: bool = False
    tools: Sequence[str] = ()


class Condition(Part):
    """What holds of a reply: all that is named here.

    `contains`: every phrase occurs in it. `asks_for`: it asks for something by one of these names. `handoff`: it gives
    the user to a person, or does not. `tool_called`: the turn called this tool.
    """

    contains: Texts | None = None
    asks_for: Texts | None = None
    handoff: bool | None = None
    tool_called: Text | None = None

    @model_validator(mode="after")
    def _names_something(self) -> "Condition":
        if not self.model_fields_set or all(getattr(self, name) is None for name in self.model_fields_set):
            message = "names no condition; give one or more of contains, asks_for, handoff, tool_called"
            raise ValueError(message)
        return self

    def is_met(self, reply: Reply) -> bool:
        """Tell whether a reply fulfills every part of the condition."""
        return (
            all(holds(reply.text, phrase) for phrase in self.contains or ())
            and (self.asks_for is None or asks_for(reply.text, self.asks_for))
            and (self.handoff is None or reply.handoff == self.handoff)
            and (self.tool_called is None or self.tool_called in reply.tools)
        )

    @property
    def words(self) -> str:
        """Return the condition as people read it."""
        parts = []
        if self.contains:
            parts.append(f"says {_quoted(self.contains, ' and ')}")
        if self.asks_for:
            parts.append(f"asks for {_quoted(self.asks_for, ' or ')}")
        if self.handoff is not None:
            parts.append("hands off" if self.handoff else "does not hand off")
        if self.tool_called:
            parts.append(f"calls {self.tool_called!r}")
        return " and ".join(parts)


def _quoted(texts: Sequence[str], between: str) -> str:
    return between.join(repr(text) for text in texts)


class ScriptedTurn(Part):
    """One thing the user says next, unless the last reply makes it needless, or only if it asks for it."""

    say: Text
    unless: Condition | None = None
    only_if: Condition | None = Field(default=None, alias="if")

    def is_said_after(self, reply: Reply) -> bool:
        """Tell whether the user says this after the reply."""
        wanted = self.only_if is None or self.only_if.is_met(reply)
        return wanted and (self.unless is None or not self.unless.is_met(reply))


class Script(Part):
    """What the user says in order. A turn that is not said is passed over; a hand-off ends the conversation."""

    kind: Literal["scripted"]
    turns: Annotated[list[ScriptedTurn], Field(min_length=1, max_length=MAX_TURNS)]
