"""The formats that can be imported: what each is, an example, and its reader. Help and documentation are made of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from episodes.importing import langfuse, openai_chat, openai_evals, tables, tau2_bench, tau_bench
from episodes.importing.entries import Reader

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True)
class Format:
    """One format. With `keeps_versions`, each harness that the records tell of becomes a version of its agent."""

    name: str
    summary: str
    reads: str
    outcome: str
    example: str
    read: Reader
    keeps_versions: bool = False


_ALL = (
    Format(
        "openai-chat",
        "chats in OpenAI's forms, one JSON object a line",
        "fine-tuning lines (`messages`, `tools`, `metadata`), stored completions, `request` and `response` pairs, "
        "batch results",
        "`metadata.outcome`, where it names an end; the word of the agent's own program",
        '{"messages": [{"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "On its way."}]}',
        openai_chat.read,
    ),
    Format(
        "openai-evals",
        "OpenAI Evals: output items of hosted runs, logs of the open-source framework",
        "lists or lines of output items (`datasource_item`, `sample`, `results`), `oaieval` event logs",
        "the graders together: resolved or failed; each grader's score as an outcome of its name; a detector's word",
        '{"object": "eval.run.output_item", "id": "o-1", "status": "pass", "datasource_item": {"input": "2 + 2?"}, '
        '"sample": {"output": [{"role": "assistant", "content": "4"}]}, '
        '"results": [{"name": "exact", "passed": true, "score": 1.0}]}',
        openai_evals.read,
    ),
    Format(
        "langfuse",
        "Langfuse: traces, observations and scores, in any number of files",
        "exports of the tables (JSON, JSONL), downloads of a trace, pages of `/api/public/traces`, `/observations` "
        "and `/scores`, blob exports",
        "every score: annotations are staff's word, evaluators' a detector's, the API's the customer's system's",
        '{"id": "t-1", "timestamp": "2025-03-01T12:00:00Z", "sessionId": "s-1", "userId": "u-1", '
        '"input": "Where is my parcel?", "output": "On its way."}',
        langfuse.read,
    ),
    Format(
        "csv",
        "a table with a header: input, output, outcome and more",
        "commas, semicolons, tabs or bars between cells, quoted newlines, UTF-8 with or without mark, UTF-16, Windows-1252",
        "a word (resolved, failed, yes, no, …), a share from 0 to 1, or a word of yours by `--outcome`; the customer's "
        "system's word unless `--outcome-source` says otherwise",
        "input,output,outcome\nWhere is my parcel?,On its way.,resolved",
        tables.read,
    ),
    Format(
        "tau-bench",
        "tau-bench trajectories",
        "one run a line, or the benchmark's own list of runs; policies and tools that lie beside the file",
        "the reward, which compares databases: the customer's system's word; none where the provider failed",
        '{"id": "r-1", "domain": "retail", "reward": 1.0, "success": true, "messages": '
        '[{"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "On its way."}]}',
        tau_bench.read,
        keeps_versions=True,
    ),
    Format(
        "tau2-bench",
        "tau2-bench simulations",
        "one simulation a line, or the benchmark's own file; policies and tools that lie beside the file",
        "the reward, which compares databases: the customer's system's word; none where the simulation failed",
        '{"id": "s-1", "domain": "telecom", "start_time": "2025-08-01T16:20:44", "reward": 0.0, "success": false, '
        '"messages": [{"role": "user", "content": "I have no signal."}, {"role": "assistant", "content": "Sorry."}]}',
        tau2_bench.read,
        keeps_versions=True,
    ),
)
FORMATS: Mapping[str, Format] = {one.name: one for one in _ALL}
