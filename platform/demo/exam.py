"""Cases made of a scenario's utterances: what is asked, and what a good reply must hold."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.text import slugify

from demo.scenario import Answer, Scenario, Utterance

__all__ = ["cases_of", "intent_of", "order_in", "slug_of", "unrecognized"]

MAX_UNRECOGNIZED = 10


def intent_of(scenario: Scenario, intent: str) -> dict[str, Any]:
    """Return the definition of an intent as people would write it: a name, a sentence, examples of the dev pool.

    The platform makes the slug from the name.
    """
    answer = scenario.answers[intent]
    examples = [
        utterance.text.replace("{order}", "my order")
        for utterance in scenario.pool("dev")
        if utterance.intent == intent
    ]
    return {
        "agent": scenario.agent_slug,
        "name": _name(intent),
        "definition": f"The user wants to know about: {answer.title}.",
        "examples": examples,
    }


def _name(intent: str) -> str:
    return intent.replace("-", " ").replace("_", " ").capitalize()


def slug_of(intent: str) -> str:
    """Return the slug the platform gives an intent defined by `intent_of`."""
    return slugify(_name(intent))


def cases_of(scenario: Scenario, pool: str, *, split: str, recorded: bool) -> list[dict[str, Any]]:
    """Return the pool's utterances as benchmark cases; each names the same order every time."""
    return [_case(scenario, utterance, split, recorded=recorded) for utterance in scenario.pool(pool)]


def unrecognized(
    cases: Sequence[Mapping[str, Any]], recognized: Sequence[bool], *, number: int = MAX_UNRECOGNIZED
) -> list[dict[str, Any]]:
    """Return cases without an intent, for the traffic of which the platform knows none: copies of such cases, spread out.

    A share of what customers say is taken by no intent, whatever they want; the exam asks such things as well.
    """
    found = [case for case, is_recognized in zip(cases, recognized, strict=True) if not is_recognized]
    chosen = found[:: max(1, len(found) // number)][:number]
    return [{**case, "name": f"{case['name']}-unrecognized", "kind": "edge", "intent": ""} for case in chosen]


def _case(scenario: Scenario, utterance: Utterance, split: str, *, recorded: bool) -> dict[str, Any]:
    answer = scenario.answers[utterance.intent]
    order_id, row = _order_for(scenario, answer, utterance, recorded=recorded)
    expectations: dict[str, Any] = {"contains": list(answer.facts_for(row))}
    if answer.handoff_ok:
        expectations["accepts_handoff"] = True
    return {
        "name": utterance.template,
        "kind": "known_failure" if utterance.intent in scenario.missing else "success",
        "split": split,
        "intent": slug_of(utterance.intent),
        "cluster": utterance.template,
        "source": f"{scenario.name}, pool {utterance.pool}",
        "messages": [{"role": "user", "content": utterance.render(order_id)}],
        "expectations": expectations,
    }


def _order_for(
    scenario: Scenario, answer: Answer, utterance: Utterance, *, recorded: bool
) -> tuple[str | None, Mapping[str, Any]]:
    """Return the order an utterance names, fixed by its text, and what the shop knows of it."""
    tool = answer.tool or next(iter(scenario.backend.tables), None)
    if tool is None:
        return None, {}
    table = scenario.backend.tables[tool]
    known = {re.sub(r"\D", "", name) for name in scenario.recordings.get(tool, {})}
    ids = [name for name in sorted(table) if not recorded or re.sub(r"\D", "", name) in known]
    place = int.from_bytes(hashlib.sha256(utterance.text.encode()).digest()[:4]) % len(ids)
    return ids[place], table[ids[place]]


def order_in(scenario: Scenario, text: str) -> tuple[str, str] | None:
    """Return the tool and the order number that a message names, as a support agent would read it; `None` without."""
    words = [word.strip(".,;:!?()\"'").upper() for word in text.split()]
    for tool, table in scenario.backend.tables.items():
        for word in words:
            if word in table:
                return tool, word
    return None
