"""What a judge and a person are given to grade: a conversation, the steps taken and the reply. No arm, no version, no run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from episodes.models import Episode
from evals.conversing.driver import reply_to
from evals.models import Result
from evals.scoring import Reply

__all__ = ["Item", "Material", "material_of", "material_to", "record_of"]

type Item = Result | Episode

_TURNS = ("turns", "closing", "user")
_MAX_CHARACTERS = 60_000
_STEP_FIELDS = ("kind", "name", "input", "output", "status", "error")


@dataclass(frozen=True)
class Material:
    """One item as data. Nothing in it says which arm, which version or which judge it belongs to."""

    messages: Sequence[Mapping[str, Any]]
    output: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]

    @property
    def reply(self) -> str:
        return str(self.output.get("text", ""))

    @property
    def handed_off(self) -> bool:
        return bool(self.output.get("handoff"))

    def plain_steps(self) -> list[dict[str, Any]]:
        """Return of each step what happened; times, costs and models would tell the arms apart."""
        return [{name: step[name] for name in _STEP_FIELDS if step.get(name) not in (None, "")} for step in self.steps]


def material_of(item: Item) -> Material:
    """Return what is to be graded of a result or an episode; the result's frozen case must be loaded."""
    if isinstance(item, Result):
        row = item.run_case
        return material_to(_dicts(row.messages), reply_to(row, _dict(item.output), _dicts(item.steps)))
    given = item.input.get("messages") if isinstance(item.input, dict) else None
    return Material(_dicts(given), _dict(item.output), _dicts(item.steps))


def material_to(messages: Sequence[Mapping[str, Any]], reply: Reply) -> Material:
    """Return what is to be graded of a reply to `messages`; the turns of a conversation stand among these, untimed."""
    if not reply.messages:
        return Material(messages, reply.answer, reply.acts)
    output = {name: value for name, value in reply.answer.items() if name not in _TURNS}
    return Material([*messages, *reply.messages], output, reply.acts)


def record_of(material: Material) -> str:
    """Return the material as JSON in which no mark of ours can occur; what is too long is cut in the middle, and says so."""
    record = {
        "conversation": list(material.messages), "steps": material.plain_steps(), "reply": dict(material.output),
    }  # fmt: skip
    text = json.dumps(record, ensure_ascii=False, default=str).replace("<", "\\u003c")
    if len(text) <= _MAX_CHARACTERS:
        return text
    half = _MAX_CHARACTERS // 2
    return f"{text[:half]} [… {len(text) - 2 * half} characters are left out here …] {text[-half:]}"


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {"text": str(value)}


def _dicts(values: object) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
