"""Reads Langfuse scores as outcomes: by whose hand they were given, and which of them says that the user was helped."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from episodes.importing.entries import BadLineError, Ending, Options, moment, number, outcome_name, reason_of
from episodes.importing.langfuse_steps import at
from episodes.resolution import RESOLUTIONS

__all__ = ["endings_of", "flattened_scores"]

# A person's annotation is staff's word, an evaluator's is a detector's; the API is how the customer's systems speak.
_SOURCES = {"ANNOTATION": "staff", "EVAL": "detector", "API": "customer"}
_SUCCESS = frozenset(
    {"success", "successful", "passed", "pass", "solved", "is_resolved", "task_success", "task_completed"}
)
_HALF = 0.5

# What an exported row of the traces table holds beside its scores.
_COLUMNS = frozenset(
    {
        "id", "timestamp", "name", "userId", "sessionId", "release", "version", "environment", "tags", "bookmarked",
        "public", "input", "output", "metadata", "latency", "usage", "inputCost", "outputCost", "totalCost", "level",
        "errorCount", "warningCount", "defaultCount", "debugCount", "observationCount", "inputTokens", "outputTokens",
        "totalTokens", "comments", "scores", "observations", "createdAt", "updatedAt", "projectId", "externalId",
        "htmlPath", "usageDetails", "costDetails",
    }
)  # fmt: skip


def flattened_scores(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scores that the export of the traces table writes as columns of their own; who gave them is lost."""
    columns = {name: value for name, value in trace.items() if name not in _COLUMNS and isinstance(value, list)}
    return [
        {"name": name, "value": one if number(one) is not None else None, "stringValue": one if isinstance(one, str) else None,
         "source": "EVAL", "timestamp": trace.get("timestamp")}
        for name, values in columns.items() for one in values if isinstance(one, str) or number(one) is not None
    ]  # fmt: skip


def endings_of(scores: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Ending]:
    """Return what scores say, each by its source; one that says nothing readable raises `BadLineError`."""
    for score in scores:
        name = outcome_name(score.get("name") or "")
        if not name:
            raise BadLineError("one of its scores has no name")
        source = options.outcome_source or _SOURCES.get(str(score.get("source")).upper(), "detector")
        value, word = number(score.get("value")), at(score, "stringValue")
        is_category = str(at(score, "dataType")).upper() in {"CATEGORICAL", "TEXT"} or value is None
        ending = (
            _of_category(name, str(word or ""), options)
            if is_category
            else _of_number(name, float(value or 0), options)
        )
        reason = reason_of(score.get("comment")) or ending.reason or f"score {score.get('name')}"
        yield Ending(ending.name, source, ending.value, reason_of(reason), moment(score.get("timestamp")))


def _of_number(name: str, value: float, options: Options) -> Ending:
    if name == outcome_name(options.success_score):
        return Ending("resolved" if value >= options.success_at else "failed", "", reason=f"{name} {value:g}")
    if name in _SUCCESS and not options.success_score:
        return Ending("resolved" if value >= _HALF else "failed", "", reason=f"{name} {value:g}")
    return Ending(name, "", value)


def _of_category(name: str, word: str, options: Options) -> Ending:
    meant = outcome_name(options.outcomes.get(word, word))
    if meant in RESOLUTIONS:
        return Ending(meant, "", reason=f"{name} {word}")
    return Ending(name if name not in RESOLUTIONS else f"{name}_score", "", reason=f"{name} {word}")
