"""The agent gave the user to a person, and whether it had tried anything before."""

import re
from collections.abc import Sequence

from episodes.detectors.readings import Found, StepReading

__all__ = ["detect", "is_handoff_name"]

_NAME = re.compile(r"hand_?-?off|transfer_.*(human|agent|person|colleague)|escalate", re.IGNORECASE)
_ATTEMPTS = frozenset({"tool_call", "retrieval"})


def is_handoff_name(name: str) -> bool:
    """Tell whether a tool's name says that it passes the user on to a person."""
    return bool(_NAME.search(name))


def detect(steps: Sequence[StepReading], *, says_handoff: bool = False) -> Found | None:
    """Return the hand-off of an episode, by a step, by a tool made for it, or by the output's own word.

    `attempted` says that a tool or a retrieval came first; a hand-off without any points to the workflow. `guarded`
    names the check that demanded it.
    """
    handoffs = [
        step
        for step in steps
        # Another agent's turn inside the run is a hand-off too, but nobody gave the user away.
        if (step.kind == "handoff" and step.input.get("to") != "agent")
        or (step.kind == "tool_call" and is_handoff_name(step.name))
    ]
    if not handoffs and not says_handoff:
        return None
    end = handoffs[0].position if handoffs else 1 + max((step.position for step in steps), default=0)
    before = [step for step in steps if step.position < end]
    attempted = any(step.kind in _ATTEMPTS for step in before)
    guard = next((step.name for step in before if step.kind == "check" and step.output.get("fired")), "")
    evidence = {
        "steps": [step.position for step in handoffs],
        "quotes": [str(step.output.get("reason", ""))[:300] for step in handoffs if step.output.get("reason")],
        "attempted": attempted,
        "guarded": guard,
    }
    layer = "guardrails" if guard else "context" if attempted else "workflow"
    return Found("handoff", layer, evidence)
