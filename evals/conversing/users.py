"""Users played by rules: what a script says next, and how a simulated user reacts. Pure.

A user keeps no state: what they do follows from who they are and from what was said, so that equal replies meet equal
behavior. Every chance is drawn by itself from key, turn and purpose; the draws of one turn do not depend on what the
other arm's agent said before.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evals.conversing.persona import Fact, SimulatedUser
from evals.conversing.script import Reply, Script
from evals.conversing.transcript import Exchange, Move
from evals.conversing.words import asks_for, asks_for_details
from harness.canonical import Json, digest_of

__all__ = ["Chance", "RuledUser", "ScriptedUser", "User", "chance_of"]

_TYPO_LETTERS = 5


class User(Protocol):
    """Somebody who talks to an agent."""

    def open(self, said_before: str) -> Move:
        """Return the first thing said; `said_before` is the message the case ends with, empty where it has none."""

    def answer(self, exchanges: Sequence[Exchange]) -> Move:
        """Return what the user does after the last reply."""


@dataclass(frozen=True)
class Chance:
    """A source of draws named by purpose: equal keys draw alike, in any order, on every machine."""

    key: str

    def share(self, *purpose: object) -> float:
        """Return a number from 0 up to 1."""
        text = "|".join([self.key, *map(str, purpose)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / 2**56

    def among[T](self, options: Sequence[T], *purpose: object) -> T:
        return options[int(self.share(*purpose) * len(options))]

    def weighted(self, shares: Mapping[str, float], *purpose: object) -> str:
        """Return a name, each as often as its share; the shares have a positive sum."""
        left = self.share(*purpose) * sum(shares.values())
        for name, share in shares.items():
            left -= share
            if left < 0:
                return name
        return [name for name, share in shares.items() if share][-1]


def chance_of(seed: int, conversation: Mapping[str, Any], messages: Json, cluster: str) -> Chance:
    """Return the chance of one trial of a case: equal in both arms, independent of that of every other case.

    All cases of a trial share its seed. Were it the only key, users of all cases would lose patience together, and
    clusters would no longer count as independent.
    """
    return Chance(f"{seed}|{digest_of({'talk': dict(conversation), 'messages': messages, 'cluster': cluster})}")


@dataclass(frozen=True)
class ScriptedUser:
    """Says what is written, in order."""

    script: Script

    def open(self, said_before: str) -> Move:
        if said_before:
            return Move(said_before, "opening")
        return Move(self.script.turns[0].say, "script", place=0)

    def answer(self, exchanges: Sequence[Exchange]) -> Move:
        last = exchanges[-1]
        if last.reply.handoff:
            return Move(ended_by="person")
        for place in range(last.move.place + 1, len(self.script.turns)):
            turn = self.script.turns[place]
            if turn.is_said_after(last.reply):
                return Move(turn.say, "script", place=place)
        return Move(ended_by="script")


@dataclass(frozen=True)
class RuledUser:
    """Plays a simulated user by rules."""

    persona: SimulatedUser
    chance: Chance

    @property
    def patience(self) -> int:
        """Return how many replies this user waits for."""
        low, high = self.persona.patience
        return low + int(self.chance.share("patience") * (high - low + 1))

    def open(self, said_before: str) -> Move:
        if self.persona.opening is None:
            return Move(said_before, "opening")
        return Move(self._typed(self.persona.opening, 0), "opening")

    def answer(self, exchanges: Sequence[Exchange]) -> Move:
        last, number = exchanges[-1], len(exchanges)
        if self.persona.met_when.is_met(last.reply):
            return Move(self.chance.among(self.persona.phrases.thank, number, "thank"), ended_by="goal")
        if last.reply.handoff or last.move.act == "ask_person":
            return Move(ended_by="person")
        if number >= self.patience:
            return self._give_up(number)
        if told := self.facts_wanted(exchanges):
            return Move(" ".join(self._told(name) for name in told), "fact", facts=told)
        return self._react(exchanges)

    def facts_wanted(self, exchanges: Sequence[Exchange]) -> tuple[str, ...]:
        """Return the facts the last reply asks for by name; where it asks for details, the first not yet told."""
        reply = exchanges[-1].reply
        named = tuple(name for name, fact in self.persona.facts.items() if _is_asked(name, fact, reply))
        if named or not asks_for_details(reply.text):
            return named
        told = {name for exchange in exchanges for name in exchange.move.facts}
        return tuple(name for name in self.persona.facts if name not in told)[:1]

    def _told(self, name: str) -> str:
        fact = self.persona.facts[name]
        return fact.say or f"My {name} is {fact.value}."

    def _give_up(self, number: int) -> Move:
        shares = self.persona.reactions
        ways = {"ask_person": shares.ask_person, "leave": shares.leave or float(shares.ask_person == 0)}
        if self.chance.weighted(ways, number, "give up") == "ask_person":
            return self._ask_person(number)
        return Move(ended_by="patience")

    def _react(self, exchanges: Sequence[Exchange]) -> Move:
        number = len(exchanges)
        match self.chance.weighted(self.persona.reactions.shares(), number, "reaction"):
            case "leave":
                return Move(ended_by="left")
            case "ask_person":
                return self._ask_person(number)
            case "complain":
                return Move(self.chance.among(self.persona.phrases.complain, number, "complain"), "complain")
            case _:
                return self._rephrase(exchanges)

    def _ask_person(self, number: int) -> Move:
        return Move(self.chance.among(self.persona.phrases.ask_person, number, "person"), "ask_person")

    def _rephrase(self, exchanges: Sequence[Exchange]) -> Move:
        number, used = len(exchanges), sum(exchange.move.act == "rephrase" for exchange in exchanges)
        ways = self.persona.rephrasings
        if used < len(ways):
            text = self._typed(ways[(used + int(self.chance.share("rephrase") * len(ways))) % len(ways)], number)
            if self.chance.share(number, "again") >= self.persona.says_again:
                return Move(text, "rephrase")
        else:
            text = exchanges[0].move.say
        return Move(f"{self.chance.among(self.persona.phrases.again, number, 'lead')} {text}", "rephrase")

    def _typed(self, text: str, number: int) -> str:
        """Return the text as typed: now and then two inner letters of a longer word change places."""
        if self.chance.share(number, "typo") >= self.persona.typo_rate:
            return text
        words = text.split(" ")
        places = [place for place, word in enumerate(words) if len(word) >= _TYPO_LETTERS and word.isalpha()]
        if not places:
            return text
        place = self.chance.among(places, number, "word")
        word = words[place]
        cut = 1 + int(self.chance.share(number, "letter") * (len(word) - 3))
        words[place] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
        return " ".join(words)


def _is_asked(name: str, fact: Fact, reply: Reply) -> bool:
    return asks_for(reply.text, fact.asked_by or [name])
