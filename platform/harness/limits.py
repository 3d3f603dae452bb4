"""The laws of the small change, as one pure function: which of them a proposed patch breaks.

A proposal changes one layer, within a budget of lines, into a valid document; it carries no secret and nobody's
personal data; a machine leaves guardrails alone. What lies outside the document (objective, policy, benchmark, judges,
log) has no address here, so a patch cannot reach it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness import sensitive
from harness.canonical import DocumentError, Json, JsonObject, canonical_bytes, pointer
from harness.documents import LAYERS, validate_document
from harness.lines import over_budget
from harness.patches import Missing, apply, changes, layer_of, read_patch

__all__ = [
    "BUDGETS",
    "CLAIMS",
    "PatchLimits",
    "Refusal",
    "is_risky_pattern",
    "prompt_characters",
    "prompt_growth_refusals",
    "refusals",
]

CLAIMS = ("fixes", "cheaper", "faster", "simplifies", "enables")

BUDGETS = {
    "prompt": 15,
    "tools": 15,  # descriptions, schemas, settings
    "tools.code": 100,  # a tool's code together with its tests
    "workflow": 15,
    "context": 15,  # how the agent retrieves
    "context.documents": 60,  # a new document, and edits of existing ones
    "memory": 15,
    "guardrails": 15,
    "evals": 15,
    "model": 15,
}
"""Changed lines (`harness.lines`) one proposal may have in each part of the document."""

_GOVERNED = {"objective", "policy", "benchmark", "benchmarks", "scorers", "judges", "detectors", "log", "audit"}


@dataclass(frozen=True)
class Refusal:
    """One reason why something may not happen: a stable code and a sentence that says what, why and what to do."""

    code: str
    sentence: str


class PatchLimits(BaseModel):
    """How large one proposal may be. `lines` overrides single budgets of `BUDGETS`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    lines: dict[str, int] = Field(default_factory=lambda: dict(BUDGETS))
    max_operations: int = Field(default=64, ge=1, le=1000)
    prompt_growth_weekly: float = Field(default=0.05, ge=0, le=1)
    prompt_growth_floor: int = Field(default=600, ge=0)


def refusals(
    base: JsonObject,
    patch: object,
    claim: str,
    author_kind: Literal["person", "machine"],
    limits: PatchLimits,
    *,
    prompt_chars_week_ago: int | None = None,
) -> list[Refusal]:
    """Return every law the patch breaks on this base; an empty list means it may be submitted.

    `author_kind` is "machine" when any author was one. `prompt_chars_week_ago` (`prompt_characters` of the version that
    was stable a week ago) adds the law of prompt growth; None leaves it to the caller.
    """
    try:
        operations = read_patch(patch)
        layer = layer_of(operations)
    except DocumentError as error:
        return [Refusal(error.code, str(error))]
    found = [*_scope(layer, author_kind), *_claim_known(claim)]
    if len(operations) > limits.max_operations:
        sentence = f"The patch has {len(operations)} operations; at most {limits.max_operations} are allowed. Split it."
        found.append(Refusal("too_many_operations", sentence))
    if found:
        return found
    try:
        target = apply(base, operations)
    except DocumentError as error:
        return [Refusal(error.code, str(error))]
    if not changes(base, target):
        return [Refusal("no_change", "The patch leaves the document as it is. Change something or withdraw it.")]
    try:
        validate_document(target)
    except DocumentError as error:
        found.append(Refusal(error.code, str(error)))
    found += _budget(base, target, limits)
    found += _claim_holds(base, target, claim)
    found += _sensitive(base, target)
    found += _patterns(base, target)
    if prompt_chars_week_ago is not None:
        found += prompt_growth_refusals(prompt_chars_week_ago, prompt_characters(target), limits)
    return found


def prompt_characters(document: JsonObject) -> int:
    """Return the characters of all texts and names in the prompt layer, the measure of its growth."""
    return sum(len(text) for _, text in _texts(document.get("prompt"), ()))


def prompt_growth_refusals(week_ago: int, now: int, limits: PatchLimits) -> list[Refusal]:
    """Return the refusal of a prompt of `now` characters that had `week_ago` a week ago, if it grows too fast.

    Allowed is the greater of a share (5 % by default) and a floor (600 characters), so that a short prompt can grow.
    """
    allowance = max(limits.prompt_growth_floor, int(week_ago * limits.prompt_growth_weekly))
    if now - week_ago <= allowance:
        return []
    sentence = (
        f"The prompt would have grown by {now - week_ago} characters within a week; {allowance} are allowed, "
        f"because prompts that only grow stop being read. Shorten it elsewhere or wait."
    )
    return [Refusal("prompt_growth", sentence)]


def is_risky_pattern(pattern: str) -> bool:
    """Tell whether a regular expression may take exponential time, by its form alone.

    True when a group that repeats without bound contains a repetition of varying length or an alternative, as in
    `(a+)+` or `(a|ab)*`. Some harmless patterns have that form too; they can be written without it.
    """
    # Escapes and classes are one atom each, so that brackets and stars inside them mean nothing.
    atoms = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern, flags=re.DOTALL)
    varying: list[bool] = [False]
    for match in re.finditer(r"\((?:\?[:=!>]|\?<[=!]|\?P?<\w+>)?|\)|\||[*+?]|\{\d*,?\d*\}", atoms):
        token = match[0]
        if token.startswith("("):
            varying.append(False)
        elif token == ")" and len(varying) > 1:
            inner = varying.pop()
            if inner and re.match(r"[*+]|\{\d*,\}", atoms[match.end() :]):
                return True
            varying[-1] = varying[-1] or inner
        elif token == "|" or token in "*+?" or "," in token:
            varying[-1] = True
    return False


def _scope(layer: str, author_kind: str) -> Iterator[Refusal]:
    if layer.lower() in _GOVERNED:
        sentence = f"No proposal may touch {layer!r}: it judges or limits proposals. Open a two-person change."
        yield Refusal("immutable", sentence)
    elif layer not in LAYERS:
        yield Refusal("unknown_layer", f"{layer!r} is not a layer. The layers are {', '.join(LAYERS)}.")
    elif layer == "guardrails" and author_kind == "machine":
        sentence = "A machine-written proposal may not touch guardrails. A person must write this change."
        yield Refusal("machine_guardrails", sentence)


def _claim_known(claim: str) -> Iterator[Refusal]:
    if claim not in CLAIMS:
        yield Refusal("unknown_claim", f"{claim!r} is not a claim. Claim one of {', '.join(CLAIMS)}.")


def _claim_holds(base: JsonObject, target: JsonObject, claim: str) -> Iterator[Refusal]:
    if claim == "simplifies" and len(canonical_bytes(target)) >= len(canonical_bytes(base)):
        sentence = "The claim is 'simplifies', but the document does not shrink. Remove something or claim otherwise."
        yield Refusal("not_simpler", sentence)


def _budget(base: JsonObject, target: JsonObject, limits: PatchLimits) -> Iterator[Refusal]:
    for overrun in over_budget(base, target, {**BUDGETS, **limits.lines}):
        sentence = (
            f"The change has {overrun.size} lines in {overrun.part}; {overrun.budget} are allowed, so that a "
            "reviewer can judge all of it. Split it into smaller proposals."
        )
        yield Refusal("too_large", sentence)


def _sensitive(base: JsonObject, target: JsonObject) -> Iterator[Refusal]:
    known = {finding.text for _, text in _texts(base, ()) for finding in sensitive.find(text)}
    for path, text in _changed_texts(base, target):
        for finding in sensitive.find(text):
            if finding.text not in known:
                sentence = (
                    f"{pointer(path)} adds what looks like a {finding.kind.replace('_', ' ')}: {finding.masked}. "
                    "Versions are kept for ever and served to every user. Remove it."
                )
                yield Refusal("sensitive_data", sentence)


def _patterns(base: JsonObject, target: JsonObject) -> Iterator[Refusal]:
    for path, text in _changed_texts(base, target):
        is_schema = len(path) > 2 and path[0] == "tools" and path[2] == "parameters"
        is_pattern = path[-1] == "pattern" or "patternProperties" in path[:-1]
        if is_schema and is_pattern and is_risky_pattern(text):
            sentence = (
                f"{pointer(path)} repeats a group that itself varies ({text!r}), which can take exponential time. "
                "Write it without nested repetition."
            )
            yield Refusal("risky_pattern", sentence)


def _changed_texts(base: JsonObject, target: JsonObject) -> Iterator[tuple[tuple[str, ...], str]]:
    for change in changes(base, target):
        if not isinstance(change.new, Missing):
            yield change.path, change.path[-1]
            yield from _texts(change.new, change.path)


def _texts(value: Json | Missing, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text in a value with its path; names of members count as texts at their own path."""
    match value:
        case str():
            yield path, value
        case list():
            for index, item in enumerate(value):
                yield from _texts(item, (*path, str(index)))
        case dict():
            for name, item in value.items():
                yield (*path, name), name
                yield from _texts(item, (*path, name))
