"""Reads tau-bench trajectories: one run a line, the wiki as policy, the functions' schemas as tools. Pure."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from episodes.importing.runs import Material, Run, document_of, short, text_of
from episodes.importing.transcripts import read_transcript

__all__ = ["read"]

# The trajectories carry no clock. The domain's policy says it is 2024-05-15; within that day each run has a fixed place.
_DAY = datetime(2024, 5, 15, tzinfo=UTC)
_NOT_THE_AGENT = frozenset({"rate_limit", "infra_provider"})


def read(row: Mapping[str, Any], material: Material) -> Run:
    """Return the run of a line; raise `BadLineError` when it has no id, domain or messages."""
    name, domain, model = text_of(row, "id"), text_of(row, "domain"), str(row.get("agent_model") or "")
    transcript = read_transcript(row.get("messages"), model=model)
    variant = str(row.get("variant") or "")
    started_at = _DAY + timedelta(seconds=int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) % 86_400)
    item = {
        "id": short(name),
        "conversation": short(name),
        "subject": str(row.get("user_id") or row.get("task_key") or "")[:200],
        "started_at": started_at.isoformat(),
        "input": {"messages": transcript.messages},
        "output": {"text": transcript.answer, "handoff": transcript.has_handed_off},
        "workflow": variant[:120],
        "steps": transcript.steps,
        "external_refs": {"task": str(row.get("task_key") or "")},
        "attributes": {
            "imported_from": str(row.get("source") or "tau-bench"),
            "clock": "assumed",
            **{key: row.get(key) for key in ("trial", "reward", "termination", "crash_class")},
        },
    }
    end, reason = _end(row)
    return Run(domain, item, _document(row, domain, model, variant, material), end, reason)


def _end(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return how the benchmark judged the run; a provider's outage is no word on the agent."""
    crash = row.get("crash_class")
    if crash in _NOT_THE_AGENT or row.get("success") is None:
        return "", ""
    reward = row.get("reward")
    reason = f"crashed: {crash}" if crash else f"reward {reward:g}" if isinstance(reward, int | float) else ""
    return ("resolved" if row["success"] else "failed"), reason


def _document(row: Mapping[str, Any], domain: str, model: str, variant: str, material: Material) -> dict[str, Any]:
    reference = row.get("system_ref")
    policy = reference if isinstance(reference, str) and ".." not in reference else f"policies/{domain}_wiki.md"
    listed = material.json(f"tools/{domain}_tools.json") or []
    functions = [tool.get("function", tool) for tool in listed if isinstance(tool, Mapping)]
    tools = {str(function["name"]): function for function in functions if function.get("name")}
    return document_of(policy=material.text(policy), tools=tools, model=model, variant=variant)
