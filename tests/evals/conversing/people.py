"""Simulated users, scripts and agents for the tests of conversations."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from evals.conversing.persona import SimulatedUser
from evals.conversing.reading import talk_of
from evals.runners import Played

# A busy machine draws slowly, which says nothing about what is tested.
drawn = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SHOPPER: dict[str, Any] = {
    "kind": "simulated",
    "goal": "Learn how long shoes can be returned.",
    "met_when": {"contains": "30 days"},
    "opening": "Can I still return my shoes?",
    "rephrasings": ["I want to send the shoes back.", "They do not fit, what now?"],
    "facts": {"order number": {"value": "4711-1", "asked_by": ["order number", "order id"]}, "city": "Graz"},
    "patience": 4,
}


def simulated(**changes: Any) -> SimulatedUser:
    """Return the shopper as a value, with other fields."""
    talk = talk_of(SHOPPER | changes)
    assert isinstance(talk, SimulatedUser)
    return talk


class Case:
    """What `converse` plays."""

    def __init__(self, conversation: Any = None, messages: Any = (), cluster: str = "c1", agent: Any = None) -> None:
        self.conversation, self.messages, self.cluster, self.agent = conversation or {}, list(messages), cluster, agent
        self.user_state = {"tier": "gold"}


class Agent:
    """A runner whose replies come from a function of the messages; it remembers what it was asked."""

    def __init__(self, reply: Any) -> None:
        self.reply, self.asked = reply, []

    def play(self, document: Any, messages: Any, *, user_state: Any, seed: int) -> Played:
        self.asked.append((list(messages), dict(user_state), seed))
        said = self.reply(messages)
        if isinstance(said, Played):
            return said
        return Played(output={"text": said, "handoff": False, "sources": []}, latency_ms=10.0, cost_usd=0.5)


def in_turn(*replies: Any) -> Agent:
    """Return an agent that says these in turn, the last one for ever."""
    left = list(replies)
    return Agent(lambda messages: left.pop(0) if len(left) > 1 else left[0])


_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(str.strip)
_conditions = st.fixed_dictionaries({"contains": st.lists(_texts, min_size=1, max_size=3)}) | st.fixed_dictionaries(
    {"asks_for": _texts}, optional={"handoff": st.booleans(), "tool_called": _texts}
)
_turns = st.fixed_dictionaries({"say": _texts}, optional={"unless": _conditions, "if": _conditions})
_reactions = (
    st.lists(st.integers(0, 9), min_size=4, max_size=4)
    .filter(any)
    .map(
        lambda parts: dict(
            zip(("rephrase", "complain", "leave", "ask_person"), (part / sum(parts) for part in parts), strict=True)
        )
    )
)


def personas() -> Any:
    """Return a strategy of descriptions of simulated users."""
    return st.fixed_dictionaries(
        {"kind": st.just("simulated"), "goal": _texts, "met_when": _conditions, "opening": _texts},
        optional={
            "by": st.sampled_from(["rules", "model"]),
            "rephrasings": st.lists(_texts, max_size=3),
            "facts": st.dictionaries(_texts, _texts | st.fixed_dictionaries({"value": _texts}), max_size=3),
            "patience": st.integers(1, 18) | st.tuples(st.integers(1, 9), st.integers(9, 18)).map(list),
            "reactions": _reactions,
            "typo_rate": st.floats(0, 1),
            "says_again": st.floats(0, 1),
            "style": _texts,
        },
    )


def talks() -> Any:
    """Return a strategy of descriptions of scripts and simulated users."""
    scripts = st.fixed_dictionaries({"kind": st.just("scripted"), "turns": st.lists(_turns, min_size=1, max_size=4)})
    return scripts | personas()
