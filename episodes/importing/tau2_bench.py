"""Reads tau2-bench simulations: one run a line, with clocks and costs, policies and a catalogue of tools. Pure."""

from collections.abc import Mapping
from typing import Any

from episodes.importing.runs import Material, Run, document_of, short, text_of
from episodes.importing.transcripts import read_transcript

__all__ = ["read"]

_CATALOGUE = "tools/tools-data.json"


def read(row: Mapping[str, Any], material: Material) -> Run:
    """Return the run of a line; raise `BadLineError` when it has no id, domain, messages or start."""
    name, domain, started_at = text_of(row, "id"), text_of(row, "domain"), text_of(row, "start_time")
    model = str(row.get("agent_model") or "")
    transcript = read_transcript(row.get("messages"), model=model)
    variant = " ".join(str(row[key]) for key in ("agent_impl", "variant") if row.get(key))
    item = {
        "id": short(name),
        "conversation": short(name),
        # A task is one invented customer's story; its key is all that names them.
        "subject": short(str(row.get("task_key") or "")),
        "started_at": started_at,
        "ended_at": row.get("end_time"),
        "input": {"messages": transcript.messages},
        "output": {"text": transcript.answer, "handoff": transcript.has_handed_off},
        "workflow": variant[:120],
        "steps": transcript.steps,
        "usage": _usage(row),
        "external_refs": {"task": str(row.get("task_key") or "")},
        "attributes": {
            "imported_from": str(row.get("source") or "tau2-bench"),
            **{key: row.get(key) for key in ("trial", "reward", "termination", "user_model")},
        },
    }
    document = document_of(
        policy=material.text(f"policies/{domain}_policy.md"),
        tools=_tools(domain, material),
        model=model,
        variant=variant,
    )
    end, reason = _end(row)
    return Run(domain, item, document, end, reason)


def _usage(row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {"cost_usd": row.get("agent_cost"), "latency_ms": _milliseconds(row.get("duration_s"))}
    return {name: value for name, value in numbers.items() if isinstance(value, int | float)}


def _milliseconds(seconds: object) -> float | None:
    return 1_000 * seconds if isinstance(seconds, int | float) else None


def _end(row: Mapping[str, Any]) -> tuple[str, str]:
    if row.get("success") is None:
        return "", ""
    reward = row.get("reward")
    return ("resolved" if row["success"] else "failed"), f"reward {reward:g}" if isinstance(reward, int | float) else ""


def _tools(domain: str, material: Material) -> dict[str, Any]:
    """Return the domain's tools with their parameter lists written as JSON Schema."""
    catalogue = material.json(_CATALOGUE)
    entry = catalogue.get(domain) if isinstance(catalogue, Mapping) else None
    listed = entry.get("tools", []) if isinstance(entry, Mapping) else []
    return {
        str(tool["name"]): {
            "description": tool.get("description", ""),
            "parameters": _schema(tool.get("parameters") or []),
        }
        for tool in listed
        if isinstance(tool, Mapping) and tool.get("name")
    }


def _schema(parameters: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            str(p["name"]): {"type": str(p.get("type", "string")), "description": str(p.get("description", ""))}
            for p in parameters
        },
        "required": [str(p["name"]) for p in parameters if p.get("required")],
    }
