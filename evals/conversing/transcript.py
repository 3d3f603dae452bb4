"""What was said in a played conversation, turn by turn, and what a result keeps of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from episodes.turns import Turn
from evals.conversing.script import Reply

__all__ = ["Act", "End", "Exchange", "Move", "reply_of", "turns_said"]

type Act = Literal["opening", "script", "fact", "rephrase", "complain", "ask_person"]
type End = Literal["goal", "patience", "left", "person", "script", "limit"]


@dataclass(frozen=True)
class Move:
    """What the user does next: says something, or ends the conversation.

    With `ended_by`, `say` is a last word that nobody answers, or empty. `place` counts a script's turns; `facts` names
    what the user tells; `flaws` says in which way a model playing the user broke character.
    """

    say: str = ""
    act: Act = "opening"
    ended_by: End | None = None
    facts: tuple[str, ...] = ()
    place: int = -1
    flaws: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exchange:
    """What the user said, and the agent's reply to it with its time and price."""

    move: Move
    reply: Reply
    latency_ms: float = 0.0
    cost_usd: float = 0.0

    def as_mapping(self, number: int) -> dict[str, Any]:
        """Return plain JSON for the transcript; `number` counts from 1."""
        kept = {
            "turn": number, "user": self.move.say, "act": self.move.act, "reply": self.reply.text,
            "latency_ms": round(self.latency_ms, 3), "cost_usd": self.cost_usd,
        }  # fmt: skip
        seldom = {
            "handoff": self.reply.handoff, "facts": list(self.move.facts), "broke_character": list(self.move.flaws)
        }  # fmt: skip
        return kept | {name: value for name, value in seldom.items() if value}


def reply_of(output: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> Reply:
    """Return an agent's turn as its user sees it."""
    tools = tuple(str(step.get("name", "")) for step in steps if step.get("kind") == "tool_call")
    return Reply(str(output.get("text") or ""), bool(output.get("handoff")), tools)


def turns_said(output: Mapping[str, Any]) -> list[Turn]:
    """Return the played turns in order, the user's unanswered last word at the end."""
    said: list[Turn] = []
    for turn in output.get("turns", ()):
        said += [Turn("user", turn["user"]), Turn("assistant", turn["reply"])]
    closing = output.get("closing", "")
    return [turn for turn in (*said, Turn("user", closing)) if turn.text]
