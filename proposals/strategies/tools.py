"""Bad arguments become a tightened JSON Schema."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness.patches import diff
from proposals.strategies.protocol import (
    CorrectedReading,
    Declined,
    DraftedChange,
    PatternReading,
    QuoteOf,
    StrategySpec,
)

__all__ = ["STRATEGY", "draft", "shape_of"]

MIN_CORRECTED = 4
MIN_SAID = 0.8
MAX_QUOTES = 12


def draft(reading: PatternReading) -> DraftedChange | Declined:
    """Give one string property of one tool the pattern that right values share and refused values lack.

    Right values come from people's corrections and must have been said by the users: a value nobody said could not
    have been extracted, and a correction that belongs to another episode shows itself that way.
    """
    used = Counter(row.tool for row in reading.corrections if row.tool and row.arguments)
    if not used:
        return Declined("No correction names the tool and arguments that would have been right.")
    tool = used.most_common(1)[0][0]
    schema = reading.document.get("tools", {}).get(tool, {}).get("parameters", {})
    rows = [row for row in reading.corrections if row.tool == tool and row.arguments]
    reasons = []
    for name, wanted in schema.get("properties", {}).items():
        if wanted.get("type") != "string" or "pattern" in wanted or "enum" in wanted:
            continue
        outcome = _tighten(reading, tool, name, [row for row in rows if isinstance(row.arguments.get(name), str)])
        if isinstance(outcome, DraftedChange):
            return outcome
        reasons.append(f"{name}: {outcome.reason}")
    return Declined(" ".join(reasons) or f"Tool {tool!r} has no free string property left to tighten.")


def _tighten(reading: PatternReading, tool: str, name: str, rows: list[CorrectedReading]) -> DraftedChange | Declined:
    if len(rows) < MIN_CORRECTED:
        return Declined(f"{len(rows)} corrected calls; {MIN_CORRECTED} are needed.")
    said = [row for row in rows if str(row.arguments[name]).casefold() in row.user_text.casefold()]
    if len(said) / len(rows) < MIN_SAID:
        return Declined(f"only {len(said)} of {len(rows)} right values occur in what the user said.")
    pattern = shape_of(str(row.arguments[name]) for row in said)
    if pattern is None:
        return Declined("the right values share no shape.")
    refused = [str(call[name]) for row in said for call in row.failed_arguments if name in call]
    wrongly_fine = [value for value in refused if re.fullmatch(pattern, value)]
    if not refused or len(wrongly_fine) > 0.2 * len(refused):
        return Declined(f"the shape {pattern!r} would not have refused the calls that failed.")
    return _change(reading, tool, name, pattern, said, refused)


def _change(
    reading: PatternReading, tool: str, name: str, pattern: str, said: list[CorrectedReading], refused: list[str]
) -> DraftedChange:
    document = dict(reading.document)
    before = document["tools"][tool]
    wanted = {**before["parameters"]["properties"][name], "pattern": f"^{pattern}$"}
    parameters = {**before["parameters"], "properties": {**before["parameters"]["properties"], name: wanted}}
    target = {**document, "tools": {**document["tools"], tool: {**before, "parameters": parameters}}}
    expected = reading.failure_rate
    return DraftedChange(
        title=f"Tell {tool} what {name} looks like",
        claim="fixes",
        patch=[dict(operation) for operation in diff(document, target)],
        rationale=(
            f"Calls of {tool} failed with {_samples(refused)} as {name}. In {len(said)} corrected episodes the right "
            f"value was there and always looked like {pattern}; the schema allows anything."
        ),
        quotes=tuple(QuoteOf(row.episode_ref, row.user_text) for row in said[:MAX_QUOTES]),
        target_intents=tuple(sorted({row.intent for row in said if row.intent})),
        predicted_effect={
            "gain": round(0.8 * expected, 3),
            "low": round(0.4 * expected, 3),
            "high": round(expected, 3),
        },
        drafted_cases=tuple(
            {
                "messages": [{"role": "user", "content": row.user_text}],
                "expectations": {"tool_called": {"name": tool, "arguments": dict(row.arguments)}},
            }
            for row in said[:MAX_QUOTES]
        ),
    )


def _samples(values: Iterable[str]) -> str:
    common = [value for value, _ in Counter(values).most_common(3)]
    return ", ".join(repr(value) for value in common)


def shape_of(values: Iterable[str]) -> str | None:
    """Return the regular expression of the runs of letters, digits and signs that all values share.

    Runs of one class may differ in length; values whose runs differ in class or sign share no shape: `None`.
    """
    runs = [[(kind, "".join(group)) for kind, group in itertools.groupby(value, _kind)] for value in values]
    if not runs or any([kind for kind, _ in row] != [kind for kind, _ in runs[0]] for row in runs):
        return None
    parts = []
    for place, (kind, text) in enumerate(runs[0]):
        texts = {row[place][1] for row in runs}
        if kind in _CLASSES:
            lengths = {len(text) for text in texts}
            parts.append(_CLASSES[kind] + _count(min(lengths), max(lengths)))
        elif len(texts) == 1:
            parts.append(re.escape(text))
        else:
            return None
    return "".join(parts)


_CLASSES: Mapping[str, str] = {"upper": "[A-Z]", "lower": "[a-z]", "digit": "[0-9]"}


def _kind(letter: str) -> Any:
    if letter.isascii() and letter.isdigit():
        return "digit"
    if letter.isascii() and letter.isalpha():
        return "upper" if letter.isupper() else "lower"
    return "sign"


def _count(low: int, high: int) -> str:
    if low == high:
        return "" if low == 1 else f"{{{low}}}"
    return f"{{{low},{high}}}"


STRATEGY = StrategySpec(
    slug="tools",
    name="Tightened schema",
    layer="tools",
    description="Turns refused tool arguments and their corrections into a pattern in the tool's JSON Schema.",
    draft=draft,
)
