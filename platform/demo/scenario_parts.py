"""What a scenario is made of: utterances, answers, customers, backend, people's proposals. Frozen and pure."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonpatch

from demo.scenario_files import ScenarioError

__all__ = [
    "ORDER",
    "POOLS",
    "RESULT_FIELD",
    "Answer",
    "Backend",
    "Customers",
    "PersonProposal",
    "Scenario",
    "Utterance",
    "fill",
]

POOLS = ("live", "dev", "verify", "holdout", "meter")
ORDER = "{order}"
RESULT_FIELD = re.compile(r"\{result\.([a-z_][a-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One way a customer says what they want; `template` is the cluster a gate counts."""

    text: str
    intent: str
    pool: str
    template: str

    @property
    def needs_order(self) -> bool:
        """Whether the customer names one of their own orders."""
        return ORDER in self.text

    def render(self, order_id: str | None) -> str:
        """Return the text with `{order}` replaced; refuse when an order is needed and none is given."""
        if not self.needs_order:
            return self.text
        if order_id is None:
            raise ScenarioError(
                f"Cannot render {self.template!r}: its text names an order. Pass one of the customer's."
            )
        return self.text.replace(ORDER, order_id)


@dataclass(frozen=True, slots=True)
class Answer:
    """The document that satisfies one intent, and the strings a satisfying reply must contain."""

    intent: str
    title: str
    text: str
    facts: tuple[str, ...]
    tags: tuple[str, ...] = ()
    tool: str | None = None
    handoff_ok: bool = False

    def document(self) -> dict[str, Any]:
        """Return the answer as an entry of `context.documents`."""
        entry: dict[str, Any] = {
            "title": self.title,
            "text": self.text,
            "tags": list(self.tags),
            "source": f"answers/{self.intent}.md",
            "owner": "support",
            "valid_until": None,
        }
        return entry | {"tool": self.tool} if self.tool else entry

    def facts_for(self, result: Mapping[str, Any] | None = None) -> tuple[str, ...]:
        """Return the facts with `{result.field}` filled from a tool's result row."""
        return tuple(fill(fact, result or {}) for fact in self.facts)


@dataclass(frozen=True, slots=True)
class Customers:
    """How simulated customers behave: tries before they give up (least, most), reactions to a bad reply, typos."""

    patience: tuple[int, int] = (1, 3)
    reactions: Mapping[str, float] = field(
        default_factory=lambda: {"rephrase": 0.4, "complain": 0.2, "leave": 0.25, "ask_person": 0.15}
    )
    typo_rate: float = 0.05


@dataclass(frozen=True, slots=True)
class Backend:
    """The live systems behind the tools: rows by tool and id, and the id styles they accept today."""

    tables: Mapping[str, Mapping[str, Mapping[str, Any]]]
    accepts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PersonProposal:
    """A change a person writes during the demo; `without_defect` is what it would take to deserve release."""

    name: str
    author_role: str
    title: str
    layer: str
    claim: str
    target_intents: tuple[str, ...]
    patch: tuple[Mapping[str, Any], ...]
    rationale: str
    when: str
    without_defect: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything the demo plays. `missing` names the intents whose document is absent at the start."""

    name: str
    purpose: str
    agent_slug: str
    intents: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    answers: Mapping[str, Answer]
    missing: tuple[str, ...]
    weights: Mapping[str, float]
    customers: Customers
    backend: Backend
    recordings: Mapping[str, Mapping[str, Mapping[str, Any]]]
    harness: Mapping[str, Any]
    ceiling_patch: tuple[Mapping[str, Any], ...]
    people: tuple[PersonProposal, ...]

    def pool(self, name: str) -> tuple[Utterance, ...]:
        """Return the utterances of one pool, in file order."""
        if name not in POOLS:
            raise ScenarioError(f"There is no pool {name!r}; the pools are {', '.join(POOLS)}.")
        return tuple(utterance for utterance in self.utterances if utterance.pool == name)

    def shares(self) -> dict[str, float]:
        """Return each intent's share of traffic; they sum to 1."""
        total = sum(self.weights.values())
        return {intent: weight / total for intent, weight in self.weights.items()}

    def starting_document(self) -> dict[str, Any]:
        """Return the harness document the agent starts with: defects in place, missing documents absent."""
        return self._document([intent for intent in self.intents if intent not in self.missing])

    def ceiling_document(self) -> dict[str, Any]:
        """Return the document with nothing missing and every known defect repaired: the best this agent can do."""
        repaired: dict[str, Any] = jsonpatch.apply_patch(self._document(self.intents), list(self.ceiling_patch))
        return repaired

    def _document(self, intents: Sequence[str]) -> dict[str, Any]:
        document: dict[str, Any] = copy.deepcopy(dict(self.harness))
        documents = document.setdefault("context", {}).setdefault("documents", {})
        documents.update({intent: self.answers[intent].document() for intent in intents})
        return document


def fill(text: str, result: Mapping[str, Any]) -> str:
    """Return `text` with each `{result.field}` replaced; raise `ScenarioError` when the row lacks the field."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in result:
            raise ScenarioError(f"Cannot fill {match[0]!r}: the row has only {sorted(result)!r}.")
        return str(result[match[1]])

    return RESULT_FIELD.sub(value, text)
