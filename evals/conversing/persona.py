"""Simulated users as they are written down: the goal, what they know, how long they stay and how they react. Pure."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from evals.conversing.script import MAX_TURNS, Condition, Part, Text, Texts
from evals.conversing.words import holds
from harness.canonical import digest_of

__all__ = ["ENGINES", "MAX_PATIENCE", "Fact", "Phrases", "Reactions", "SimulatedUser"]

MAX_PATIENCE = MAX_TURNS - 2
"""Who has run out of patience may ask for a person, which takes one turn more."""
ENGINES = {"rules": "rules-1", "model": "model-1"}
"""How simulated users are played now. A new way of playing them is a new name, and calibrated anew."""

type Share = Annotated[float, Field(ge=0, le=1)]
type Turns = Annotated[int, Field(ge=1, le=MAX_PATIENCE)]


def _ranged(value: object) -> object:
    return [value, value] if isinstance(value, int) else value


def _valued(value: object) -> object:
    return {"value": value} if isinstance(value, str) else value


class Fact(Part):
    """Something the user knows, and the words in which they say it once they are asked by one of these names."""

    value: Text
    say: Text | None = None
    asked_by: Texts | None = None

    @model_validator(mode="after")
    def _says_its_value(self) -> "Fact":
        if self.say is not None and not holds(self.say, self.value):
            message = f"says {self.say!r}, which does not hold its value {self.value!r}"
            raise ValueError(message)
        return self


class Reactions(Part):
    """How often a user who got no use out of a reply reacts in each way; the shares sum to 1."""

    rephrase: Share = 0.0
    complain: Share = 0.0
    leave: Share = 0.0
    ask_person: Share = 0.0

    @model_validator(mode="after")
    def _is_everything(self) -> "Reactions":
        total = math.fsum(self.shares().values())
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            message = f"sum to {total:g}; the shares of rephrase, complain, leave and ask_person sum to 1"
            raise ValueError(message)
        return self

    def shares(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in type(self).model_fields}


class Phrases(Part):
    """The words of a user played by rules; replace them for another language or voice."""

    again: Texts = Field(default=["No, that is not it.", "Not what I asked.", "Let me say it again:", "Sorry, but no."])
    complain: Texts = Field(
        default=["This is really not helpful.", "What a waste of my time.", "That does not answer my question at all."]
    )
    ask_person: Texts = Field(
        default=["Can I talk to a real person please?", "I would rather speak to a human.", "A real person, please."]
    )
    thank: Texts = Field(default=["Thanks, that is all.", "Thank you, that helps.", "Great, thanks."])


class SimulatedUser(Part):
    """A user with a goal, played by rules or by a model, the same in both arms.

    The user opens with `opening` (or with the case's last message), is content once `met_when` holds of a reply, tells
    a fact when asked for it or for details, and otherwise reacts: after `patience` replies (a number, or two between
    which it is drawn) they leave or ask for a person. `style` is for a model to write in; by rules `typo_rate` is the
    share of messages with a slip and `says_again` that of rephrasings that say so.
    """

    kind: Literal["simulated"]
    by: Literal["rules", "model"] = "rules"
    goal: Text
    met_when: Condition
    opening: Text | None = None
    rephrasings: list[Text] = Field(default=[], max_length=40)
    facts: dict[Text, Annotated[Fact, BeforeValidator(_valued)]] = Field(default={}, max_length=40)
    patience: Annotated[list[Turns], Field(min_length=2, max_length=2), BeforeValidator(_ranged)] = [4, 4]
    reactions: Reactions = Reactions(rephrase=0.6, complain=0.2, leave=0.1, ask_person=0.1)
    style: str = Field(default="", max_length=1_000)
    typo_rate: Share = 0.0
    says_again: Share = 0.4
    phrases: Phrases = Phrases()

    @field_validator("patience")
    @classmethod
    def _is_a_range(cls, patience: list[int]) -> list[int]:
        if patience[0] > patience[1]:
            message = f"runs from {patience[0]} to {patience[1]}; give the smaller number first"
            raise ValueError(message)
        return patience

    def manner(self, model: str = "") -> dict[str, Any]:
        """Return how this user behaves, without what they want and know: what a calibration holds for.

        `model` is the name of the model that plays it; empty by rules.
        """
        described: Mapping[str, Any] = self.model_dump(mode="json")
        ways = ("by", "patience", "reactions", "style", "typo_rate", "says_again", "phrases")
        return {name: described[name] for name in ways} | {"engine": ENGINES[self.by], "model": model}

    def manner_digest(self, model: str = "") -> str:
        """Return the digest that names the manner."""
        return digest_of(self.manner(model))
