"""What a tool gives back in validation: what the case recorded or scripts, or what its code makes of it. Never live.

A case says what its tools give in `user_state["tools"]`, by the tool's name:

    {"lookup_order": {"recorded": [{"arguments": {"id": "7"}, "result": {…}}, {"arguments": {…}, "error": "…"}]},
     "refund": {"scripted": [{"result": {…}}, {"error": "…"}]}}

Scripted results come in the order of the calls, whatever is asked; recorded ones belong to their arguments. Only a tool
that the served version marks safe (`settings.safe` with its `settings.url`) is asked live, and then where that version
says: a change under validation cannot open a door for itself.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import jsonschema
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from evals.runners.sandbox import CodeFailedError, Sandbox
from harness.canonical import DocumentError, Json, clean_json

__all__ = ["ToolResult", "Toolbox", "safe_tools"]

type Source = Literal["recorded", "scripted", "sandboxed", "live", "none"]

_MAX_ANSWER_BYTES = 1024 * 1024
_SHOWN = 300


@dataclass(frozen=True)
class ToolResult:
    """What a call gave back, or why it gave nothing; `source` says where from."""

    value: Json = None
    error: str = ""
    source: Source = "none"
    latency_ms: float = 0.0


def safe_tools(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the tools a served document marks safe to be asked live, each with its address."""
    settings = {name: tool.get("settings", {}) for name, tool in document.get("tools", {}).items()}
    return {
        name: str(one["url"])
        for name, one in settings.items()
        if one.get("safe") is True and str(one.get("url", "")).startswith(("http://", "https://"))
    }


class Toolbox:
    """The tools of one trial: a document's, with the results of one case."""

    def __init__(
        self,
        tools: Mapping[str, Mapping[str, Any]],
        user_state: Mapping[str, Any],
        *,
        safe: Mapping[str, str],
        sandbox: Sandbox,
        http: httpx.Client,
        seed: int,
    ) -> None:
        self._tools, self._safe, self._sandbox, self._http, self._seed = tools, safe, sandbox, http, seed
        given = user_state.get("tools")
        self._given: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        self._state = {name: value for name, value in user_state.items() if name != "tools"}
        self._calls: Counter[str] = Counter()

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Return the result of a call; what does not fit the tool's schema is an error, as the tool would say."""
        problem = _misfit(self._tools[name].get("parameters") or {}, arguments)
        if problem:
            return ToolResult(error=f"The arguments do not fit: {problem}")
        given = self._given.get(name)
        given = given if isinstance(given, Mapping) else {}
        self._calls[name] += 1
        if "scripted" in given:
            return _scripted(given["scripted"], self._calls[name])
        if "recorded" in given:
            return _recorded(given["recorded"], arguments)
        if code := self._tools[name].get("code"):
            return self._sandboxed(code, arguments)
        if name in self._safe:
            return self._live(self._safe[name], arguments)
        return ToolResult(error=f"{name} has no recorded result here")

    def _sandboxed(self, code: str, arguments: Mapping[str, Any]) -> ToolResult:
        started = time.perf_counter()
        try:
            value = self._sandbox.call(code, arguments, state=self._state, seed=self._seed)
        except CodeFailedError as error:
            return ToolResult(error=str(error), source="sandboxed", latency_ms=_since(started))
        return ToolResult(value, source="sandboxed", latency_ms=_since(started))

    def _live(self, url: str, arguments: Mapping[str, Any]) -> ToolResult:
        started = time.perf_counter()
        try:
            answer = self._http.post(url, json=dict(arguments))
            answer.raise_for_status()
            if len(answer.content) > _MAX_ANSWER_BYTES:
                raise ValueError(f"it answered with more than {_MAX_ANSWER_BYTES} bytes")
            value = clean_json(answer.json())
        except (httpx.HTTPError, DocumentError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"[:_SHOWN]
            return ToolResult(error=said, source="live", latency_ms=_since(started))
        return ToolResult(value, source="live", latency_ms=_since(started))


def _misfit(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Return what is wrong with the arguments; a schema that is none itself lets everything through."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        # The empty registry keeps a reference from being fetched.
        found = best_match(jsonschema.Draft202012Validator(schema, registry=Registry()).iter_errors(dict(arguments)))
    except (SchemaError, Unresolvable):
        return ""
    return "" if found is None else str(found.message)[:_SHOWN]


def _scripted(script: Any, number: int) -> ToolResult:
    results = script if isinstance(script, list) else []
    if number > len(results):
        return ToolResult(error=f"the script has {len(results)} results", source="scripted")
    return _result(results[number - 1], "scripted")


def _recorded(recordings: Any, arguments: Mapping[str, Any]) -> ToolResult:
    for recording in recordings if isinstance(recordings, list) else []:
        if isinstance(recording, Mapping) and _alike(recording.get("arguments", {}), arguments):
            return _result(recording, "recorded")
    return ToolResult(error=f"no recorded result for {dict(arguments)!r}"[:_SHOWN], source="recorded")


def _result(row: Any, source: Source) -> ToolResult:
    if not isinstance(row, Mapping):
        return ToolResult(error="the case gives no result here", source=source)
    return ToolResult(row.get("result"), str(row.get("error") or ""), source)


def _alike(left: Any, right: Any) -> bool:
    """Compare arguments as people would: case and blanks aside. Signs count: a live tool may refuse a wrong one."""
    return bool(_plain(left) == _plain(right))


def _plain(value: Any) -> Any:
    match value:
        case str():
            return re.sub(r"\s+", " ", value).strip().casefold()
        case Mapping():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case _:
            return value


def _since(started: float) -> float:
    return 1_000 * (time.perf_counter() - started)
