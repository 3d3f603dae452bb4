"""What came of a case, as one value: the answer, every step, the state left behind, and all turns of a conversation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from episodes.detectors.handoff import is_handoff_name

__all__ = ["Reply"]

_NAMES_OF_SOURCES = ("id", "name", "source", "title", "url")
_NAMES_OF_RECEIVERS = ("to", "queue", "team", "target", "department")


@dataclass(frozen=True, slots=True)
class Reply:
    """All that a scorer may look at. What an agent sends has any shape; the properties read it without trusting it.

    `messages` holds the turns that were played, the agent's with role `assistant`, and is empty where a single turn was
    played: the messages a case begins with are the question, not the reply. An agent's message may carry `sources` and
    `handoff` of its own. `state` is the final state of what the tools work on; an agent may also report it as `state`
    of its output.
    """

    output: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] = ()

    @property
    def answer(self) -> dict[str, Any]:
        """The output as an object; a bare text is an object with that text."""
        told: object = self.output  # as it came, whatever the type promises
        return dict(told) if isinstance(told, Mapping) else {"text": told}

    @property
    def text(self) -> str:
        """The last answer."""
        return _text_of(self.answer.get("text"))

    @property
    def said(self) -> tuple[str, ...]:
        """Every answer of the conversation, the last one at the end; the only one of a single turn."""
        spoken = [_text_of(message.get("content")) for message in self.own_messages]
        return tuple(spoken) if spoken and spoken[-1] == self.text else (*spoken, self.text)

    @property
    def turns(self) -> tuple[Mapping[str, Any], ...]:
        """The messages, without what is none."""
        return _objects(self.messages)

    @property
    def own_messages(self) -> tuple[Mapping[str, Any], ...]:
        """What the agent said in the turns that were played."""
        return tuple(one for one in self.turns if one.get("role") == "assistant")

    @property
    def acts(self) -> tuple[Mapping[str, Any], ...]:
        """The steps, without what is none."""
        return _objects(self.steps)

    @property
    def calls(self) -> tuple[Mapping[str, Any], ...]:
        """The tool calls among the steps."""
        return tuple(step for step in self.acts if step.get("kind") == "tool_call")

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of what any of the answers cites, each once."""
        found = [_name_of(one) for told in (*self.own_messages, self.answer) for one in _items(told.get("sources"))]
        return tuple(dict.fromkeys(name for name in found if name))

    @property
    def final_state(self) -> Mapping[str, Any]:
        """The state the case left behind: the runner's word, else the agent's."""
        told = self.answer.get("state")
        return self.state or (told if isinstance(told, Mapping) else {})

    @property
    def handed_off(self) -> bool:
        """Whether the user was given to a person, by an answer's own word, by a step or by a tool made for it."""
        spoken = any(told.get("handoff") for told in (*self.own_messages, self.answer))
        return spoken or bool(self.handoffs)

    @property
    def handoffs(self) -> tuple[Mapping[str, Any], ...]:
        """The steps that gave the user to a person; another agent's turn inside the run is none of them."""
        return tuple(step for step in self.acts if _is_handoff(step))

    @property
    def receivers(self) -> tuple[str, ...]:
        """The names of those to whom the user was handed, as far as steps and answers tell them."""
        told: list[Any] = [
            one.get(name) for one in (*self.own_messages, self.answer) for name in ("handoff", "handoff_to")
        ]
        for step in self.handoffs:
            told.append(step.get("name"))
            for side in (step.get("input"), step.get("output")):
                told += [side.get(name) for name in _NAMES_OF_RECEIVERS] if isinstance(side, Mapping) else []
        told += [one.get(name) for one in told if isinstance(one, Mapping) for name in _NAMES_OF_RECEIVERS]
        return tuple(dict.fromkeys(one for one in told if isinstance(one, str) and one))


def _objects(values: object) -> tuple[Mapping[str, Any], ...]:
    return tuple(one for one in _items(values) if isinstance(one, Mapping))


def _items(values: object) -> Sequence[Any]:
    return values if isinstance(values, list | tuple) else ()


def _text_of(content: object) -> str:
    """Return a message's text; of content in parts, the parts that are text."""
    if isinstance(content, list | tuple):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        return "\n".join(part for part in parts if isinstance(part, str))
    return "" if content is None else str(content)


def _name_of(source: object) -> str:
    if isinstance(source, Mapping):
        return next((str(source[name]) for name in _NAMES_OF_SOURCES if source.get(name)), "")
    return "" if source is None else str(source)


def _is_handoff(step: Mapping[str, Any]) -> bool:
    given = step.get("input")
    receiver = given.get("to") if isinstance(given, Mapping) else None
    name = step.get("name")
    by_tool = step.get("kind") == "tool_call" and isinstance(name, str) and is_handoff_name(name)
    return by_tool or (step.get("kind") == "handoff" and receiver != "agent")
