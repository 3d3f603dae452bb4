"""Reads tau2-bench simulations: one run a line or the benchmark's own file, with clocks and costs, policies and tools."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from episodes.importing.entries import (
    BadLine,
    BadLineError,
    Ending,
    Entry,
    Line,
    Options,
    fingerprint,
    moment,
    number,
    short,
    text_of,
)
from episodes.importing.framing import Record, records
from episodes.importing.harnesses import document_of, json_beside
from episodes.importing.tau_bench import endings_of
from episodes.importing.transcripts import Transcript, read_transcript

__all__ = ["read"]

_CATALOGUE = "tools/tools-data.json"
_NOT_THE_AGENT = frozenset({"infrastructure_error", "user_error"})


def read(lines: Iterable[Line], options: Options) -> Iterator[Entry | BadLine]:
    """Return the simulations in `lines`."""
    for record in records(lines, lists=("simulations",)):
        if isinstance(record, BadLine):
            yield record
            continue
        try:
            yield _entry(record, options)
        except (BadLineError, RecursionError) as error:
            yield BadLine(record.file, record.number, str(error))


def _entry(record: Record, options: Options) -> Entry:
    row = _as_run(record) if "reward_info" in record.value and "domain" not in record.value else record.value
    name, domain = text_of(row, "id"), text_of(row, "domain")
    model = str(row.get("agent_model") or "")
    transcript = read_transcript(_messages(row), model=model)
    started_at = moment(row.get("start_time")) or _first_time(row)
    variant = " ".join(str(row[key]) for key in ("agent_impl", "variant") if row.get(key))
    asked = "" if transcript.has_user else _asked(row)
    kept = ("trial", "reward", "termination", "user_model", "user_cost", "reward_info")
    item = {
        "id": short(name),
        "conversation": short(name),
        # A task is one invented customer's story; its key is all that names them.
        "subject": short(row.get("task_key")),
        "started_at": started_at,
        "ended_at": moment(row.get("end_time")),
        "input": {"messages": ([{"role": "user", "content": asked}] if asked else []) + transcript.messages},
        "output": {"text": transcript.answer, "handoff": transcript.has_handed_off},
        "workflow": variant[:120],
        "steps": transcript.steps,
        "usage": _usage(row, transcript),
        "external_refs": {"task": short(row.get("task_key"))},
        "attributes": {
            "imported_from": str(row.get("source") or "tau2-bench"),
            **({"opening": "the task's, no user took part"} if asked else {}),
            **{key: row[key] for key in kept if row.get(key) is not None},
        },
    }
    document = document_of(
        policy=str(row.get("policy") or "") or options.beside(record.file, f"policies/{domain}_policy.md"),
        tools=_tools(domain, json_beside(options.beside(record.file, _CATALOGUE))),
        model=model,
        variant=variant or "recorded",
    )
    return Entry(record.file, record.number, item, fingerprint(record.value), domain, document, _endings(row, options))


def _as_run(record: Record) -> dict[str, Any]:
    """Return a simulation as the benchmark itself writes it, with what its file says of all of them."""
    row, info = record.value, _object(record.head.get("info"))
    environment, agent, user = (_object(info.get(f"{part}_info")) for part in ("environment", "agent", "user"))
    reward = _object(row.get("reward_info")).get("reward")
    domain = environment.get("domain_name") or "recorded"
    return {
        **row,
        "domain": domain,
        "policy": environment["policy"] if isinstance(environment.get("policy"), str) else "",
        "agent_model": agent.get("llm"),
        "agent_impl": agent.get("implementation"),
        "user_model": user.get("llm"),
        "task_key": f"{domain}:{row.get('task_id')}",
        "reward": reward,
        "termination": row.get("termination_reason"),
        "duration_s": row.get("duration"),
    }


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _messages(row: Mapping[str, Any]) -> object:
    """Return the messages; a run that ended before anyone spoke has none."""
    return [] if row.get("messages") is None and row.get("termination") else row.get("messages")


def _first_time(row: Mapping[str, Any]) -> str | None:
    messages = row.get("messages")
    stamps = [m.get("timestamp") for m in messages if isinstance(m, Mapping)] if isinstance(messages, list) else []
    return moment(next((stamp for stamp in stamps if stamp), None))


def _asked(row: Mapping[str, Any]) -> str:
    """Return what the agent was asked where it works through a ticket alone."""
    task = _object(row.get("task"))
    instructions = _object(_object(task.get("user_scenario")).get("instructions"))
    found = task.get("ticket") or instructions.get("reason_for_call")
    return found.strip() if isinstance(found, str) else ""


def _usage(row: Mapping[str, Any], transcript: Transcript) -> dict[str, Any]:
    seconds = number(row.get("duration_s"))
    counts = [_object(step["output"].get("usage")) for step in transcript.steps if step["kind"] == "model_call"]
    tokens = {
        name: sum(int(number(count.get(source)) or 0) for count in counts)
        for name, source in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens"))
    }
    numbers = {
        "cost_usd": number(row.get("agent_cost")),
        "latency_ms": None if seconds is None else 1_000 * seconds,
        **(tokens if any(counts) else {}),
    }
    return {name: value for name, value in numbers.items() if value is not None}


def _endings(row: Mapping[str, Any], options: Options) -> tuple[Ending, ...]:
    return () if str(row.get("termination")) in _NOT_THE_AGENT else endings_of(row, options)


def _tools(domain: str, catalogue: object) -> dict[str, Any]:
    """Return the domain's tools with their parameter lists written as JSON Schema."""
    listed = _object(_object(catalogue).get(domain)).get("tools")
    return {
        str(tool["name"]): {
            "description": tool.get("description", ""),
            "parameters": _schema(tool.get("parameters")),
        }
        for tool in (listed if isinstance(listed, list) else [])
        if isinstance(tool, Mapping) and tool.get("name")
    }


def _schema(parameters: object) -> dict[str, Any]:
    named = [p for p in parameters if isinstance(p, Mapping) and p.get("name")] if isinstance(parameters, list) else []
    return {
        "type": "object",
        "properties": {
            str(p["name"]): {"type": str(p.get("type", "string")), "description": str(p.get("description", ""))}
            for p in named
        },
        "required": [str(p["name"]) for p in named if p.get("required")],
    }
