"""Read a scenario folder: what customers want, how they say it, which answers exist and what is broken at the start.

Pure: files in, frozen dataclasses out. The folder format is documented in `README.md` beside this module.
"""

import copy
import csv
import hashlib
import hmac
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from demo.scenario_files import (
    Config,
    ScenarioError,
    front_matter,
    line_of,
    read,
    read_json,
    read_json_object,
    refuse,
)
from demo.scenario_parts import (
    ORDER,
    POOLS,
    RESULT_FIELD,
    Answer,
    Backend,
    Customers,
    PersonProposal,
    Scenario,
    Utterance,
    fill,
)

__all__ = [
    "LAYERS",
    "POOLS",
    "REACTIONS",
    "Answer",
    "Backend",
    "Customers",
    "PersonProposal",
    "Scenario",
    "ScenarioError",
    "Utterance",
    "fill",
    "load",
    "without_defect",
]

POOL_SHARES = {"live": 0.30, "dev": 0.10, "verify": 0.25, "holdout": 0.15, "meter": 0.20}
REACTIONS = ("rephrase", "complain", "leave", "ask_person")
STYLES = ("dashed", "plain")
LAYERS = ("prompt", "tools", "workflow", "context", "memory", "guardrails", "evals", "model")
CLAIMS = ("fixes", "cheaper", "faster", "simplifies", "enables")

_POOL_KEY = b"scenario pools 1"
_FIRST_SENTENCE = re.compile(r".*?[.!?](?=\s|$)", re.DOTALL)
_FILE_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_GENERIC_HARNESS: dict[str, Any] = {
    "prompt": {"system": "You are a support agent. Answer from the documents you find.", "rules": {}, "examples": {}},
    "tools": {},
    "workflow": {"settings": {"handoff_confidence": 0.1}, "nodes": {}, "routes": {}},
    "context": {"documents": {}, "retrieval": {"top_k": 3, "min_score": 0.2}},
    "memory": {"rules": {}},
    "guardrails": {"rules": {}},
    "evals": {"checks": {}},
    "model": {"name": "rules", "parameters": {"temperature": 0}},
}


def without_defect(scenario: Scenario, name: str) -> Scenario:
    """Return the scenario in which one person's proposal is sound: its narrower patch, or a backend that agrees."""
    proposal = next((person for person in scenario.people if person.name == name), None)
    if proposal is None or proposal.without_defect is None:
        raise ScenarioError(f"People write no proposal {name!r} with a `without_defect`; see people/*.json.")
    cure = proposal.without_defect
    sound = replace(proposal, patch=tuple(cure.get("patch", proposal.patch)), without_defect=None)
    people = tuple(sound if person.name == name else person for person in scenario.people)
    accepts = tuple(cure.get("backend", {}).get("accepts", scenario.backend.accepts))
    return replace(scenario, people=people, backend=replace(scenario.backend, accepts=accepts))


def load(folder: Path) -> Scenario:
    """Read and check a scenario folder; only `utterances.csv` and `answers/` are required.

    Raises `ScenarioError` for the first fault, as `file:line: what, why, what to do`.
    """
    folder = Path(folder)
    if not (folder / "utterances.csv").is_file():
        raise ScenarioError(f"{folder}: no utterances.csv. A scenario is a folder with utterances.csv and answers/.")
    config = Config(folder / "scenario.toml")
    utterances = tuple(_utterances(folder / "utterances.csv"))
    intents = tuple(dict.fromkeys(utterance.intent for utterance in utterances))
    backend = _backend(folder, config)
    answers = _answers(folder / "answers", intents, backend)
    _check_orders(folder / "utterances.csv", utterances, backend)
    return Scenario(
        name=config.text("name", folder.resolve().name),
        purpose=config.text("purpose", "Answer what customers ask."),
        agent_slug=config.text("agent_slug", re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")),
        intents=intents,
        utterances=utterances,
        answers=answers,
        missing=_missing(config, intents, answers),
        weights=_weights(config, intents),
        customers=_customers(config),
        backend=backend,
        recordings=read_json_object(folder / "recordings.json") if (folder / "recordings.json").is_file() else {},
        harness=_harness(folder / "harness.json"),
        ceiling_patch=_patch_file(folder / "ceiling.json"),
        people=tuple(_person(path, intents) for path in sorted((folder / "people").glob("*.json"))),
    )


def _utterances(path: Path) -> Iterator[Utterance]:
    rows = csv.DictReader(io.StringIO(read(path), newline=""), strict=True)
    columns = rows.fieldnames or ()
    for needed in ("text", "intent"):
        if needed not in columns:
            refuse(path, 1, f"no column {needed!r}; the columns are text, intent and optionally pool, template")
    seen: dict[str, int] = {}
    pool_of: dict[str, tuple[str, str, int]] = {}
    try:
        for row in rows:
            utterance = _utterance(path, rows.line_num, row)
            key = " ".join(utterance.text.lower().split())
            if key in seen:
                refuse(path, rows.line_num, f"the text of line {seen[key]} again; remove one of the two")
            seen[key] = rows.line_num
            pool, intent, line = pool_of.setdefault(
                utterance.template, (utterance.pool, utterance.intent, rows.line_num)
            )
            if (pool, intent) != (utterance.pool, utterance.intent):
                refuse(
                    path,
                    rows.line_num,
                    f"template {utterance.template!r} is {intent}/{pool} on line {line}; a template has one of each",
                )
            yield utterance
    except csv.Error as error:
        # The reader counts a line only once it is read.
        raise ScenarioError(f"{path}:{rows.line_num + 1}: not CSV: {error}.") from error
    if not seen:
        refuse(path, 1, "no utterances; write at least one row per intent")


def _utterance(path: Path, line: int, row: Mapping[str, str | None]) -> Utterance:
    text, intent = (row["text"] or "").strip(), (row["intent"] or "").strip()
    if not text or not intent:
        refuse(path, line, "text and intent must not be empty")
    if None in row:
        refuse(path, line, "more cells than columns; quote texts that contain a comma")
    if not _FILE_SAFE.fullmatch(intent):
        refuse(path, line, f"intent {intent!r} cannot name a file; use letters, digits, '-', '_' and '.'")
    key = hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()
    template = (row.get("template") or "").strip() or f"t-{key[:12]}"
    pool = (row.get("pool") or "").strip() or _hashed_pool(template)
    if pool not in POOLS:
        refuse(path, line, f"unknown pool {pool!r}; the pools are {', '.join(POOLS)}")
    return Utterance(text=text, intent=intent, pool=pool, template=template)


def _hashed_pool(template: str) -> str:
    """Return the pool of a template: stable under additions to the file, and equal for equal texts."""
    digest = hmac.digest(_POOL_KEY, template.encode(), "sha256")
    draw = int.from_bytes(digest[:8]) / 2**64
    for pool, share in POOL_SHARES.items():
        if draw < share:
            return pool
        draw -= share
    return POOLS[-1]


def _answers(folder: Path, intents: tuple[str, ...], backend: Backend) -> dict[str, Answer]:
    strays = {path.stem for path in folder.glob("*.md")} - set(intents)
    if strays:
        refuse(folder / f"{min(strays)}.md", 1, "no utterance has this intent; write some or remove the file")
    return {intent: _answer(folder / f"{intent}.md", intent, backend) for intent in intents}


def _answer(path: Path, intent: str, backend: Backend) -> Answer:
    if not path.is_file():
        refuse(path, 1, f"missing; intent {intent!r} needs one answer document")
    source = read(path).replace("\r\n", "\n")
    front, text = front_matter(path, source)
    text = text.strip()
    if not text:
        refuse(path, 1, "the answer has no text")
    first = _FIRST_SENTENCE.match(text)
    answer = Answer(
        intent=intent,
        title=front.get("title") or re.sub(r"[-_.]+", " ", intent).strip().capitalize(),
        text=text,
        facts=tuple(front.get("facts") or [first[0] if first else text]),
        tags=tuple(front.get("tags") or ()),
        tool=front.get("tool"),
        handoff_ok=front.get("handoff_ok", False),
    )
    for fact in answer.facts:
        if fact not in text:
            refuse(path, line_of(source, fact), f"fact {fact!r} is not in the text; copy it exactly")
    _check_fields(path, source, answer, backend)
    return answer


def _check_fields(path: Path, source: str, answer: Answer, backend: Backend) -> None:
    fields = set(RESULT_FIELD.findall(" ".join((answer.text, *answer.facts))))
    if fields and answer.tool is None:
        refuse(path, line_of(source, "{result."), "uses {result.…} without a tool; add tool = …")
    if answer.tool is None:
        return
    if answer.tool not in backend.tables:
        refuse(
            path, line_of(source, answer.tool), f"tool {answer.tool!r} has no table in scenario.toml [backend.tables]"
        )
    for row_id, row in backend.tables[answer.tool].items():
        lacking = sorted(fields - set(row))
        if lacking:
            line = line_of(source, f"{{result.{lacking[0]}}}")
            refuse(path, line, f"row {row_id!r} of {answer.tool} has no field {lacking[0]!r}")


def _backend(folder: Path, config: Config) -> Backend:
    section = config.section("backend")
    tables: dict[str, Any] = {}
    for tool, file in config.table("backend", "tables").items():
        path = folder / str(file)
        if not path.is_file():
            config.refuse(str(file), f"table {file!r} of {tool!r} does not exist")
        tables[tool] = read_json_object(path)
    accepts = section.get("accepts", list(STYLES))
    if not isinstance(accepts, list) or not all(style in STYLES for style in accepts):
        config.refuse("accepts", f"accepts must list styles among {', '.join(STYLES)}, not {accepts!r}")
    return Backend(tables=tables, accepts=tuple(accepts))


def _check_orders(path: Path, utterances: tuple[Utterance, ...], backend: Backend) -> None:
    if not backend.tables and any(utterance.needs_order for utterance in utterances):
        refuse(
            path, line_of(read(path), ORDER), f"{ORDER} needs orders; name a table in scenario.toml [backend.tables]"
        )


def _missing(config: Config, intents: tuple[str, ...], answers: Mapping[str, Answer]) -> tuple[str, ...]:
    section = config.section("missing")
    if "documents" in section:
        if not isinstance(section["documents"], list):
            config.refuse("documents", "[missing] documents must be a list of intents")
        for intent in section["documents"]:
            if intent not in intents:
                config.refuse(str(intent), f"missing document {intent!r} is not an intent of utterances.csv")
        return tuple(section["documents"])
    # A bare folder names none: a sixth of the intents, drawn by hash so that every machine misses the same ones.
    count = section.get("count", max(1, len(intents) // 6))
    without_tool = [intent for intent in intents if answers[intent].tool is None]
    if not isinstance(count, int) or not 0 <= count <= len(without_tool):
        config.refuse("count", f"[missing] count must be 0 to {len(without_tool)}, not {count!r}")
    drawn = sorted(without_tool, key=lambda intent: hmac.digest(_POOL_KEY, intent.encode(), "sha256"))[:count]
    return tuple(intent for intent in intents if intent in drawn)


def _weights(config: Config, intents: tuple[str, ...]) -> dict[str, float]:
    given = config.table("traffic", "weights")
    for intent, weight in given.items():
        if intent not in intents:
            config.refuse(intent, f"weight for {intent!r}, which is not an intent of utterances.csv")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
            config.refuse(intent, f"the weight of {intent!r} must be a number above 0, not {weight!r}")
    return {intent: float(given.get(intent, 1.0)) for intent in intents}


def _customers(config: Config) -> Customers:
    section, default = config.section("customers"), Customers()
    match section.get("patience", list(default.patience)):
        case [int(least), int(most)] if 1 <= least <= most:
            patience = (least, most)
        case other:
            config.refuse("patience", f"patience must be [least, most] tries with 1 <= least <= most, not {other!r}")
    given = config.table("customers", "reactions") or default.reactions
    known = not set(given) - set(REACTIONS) and all(_is_share(share) for share in given.values())
    if not known or not math.isclose(sum(given.values()), 1, abs_tol=1e-6):
        config.refuse("reactions", f"reactions must be shares of {', '.join(REACTIONS)} that sum to 1")
    typo_rate = section.get("typo_rate", default.typo_rate)
    if not _is_share(typo_rate):
        config.refuse("typo_rate", f"typo_rate must be between 0 and 1, not {typo_rate!r}")
    reactions = {reaction: float(given.get(reaction, 0)) for reaction in REACTIONS}
    return Customers(patience=patience, reactions=reactions, typo_rate=float(typo_rate))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _harness(path: Path) -> dict[str, Any]:
    document = read_json_object(path) if path.is_file() else copy.deepcopy(_GENERIC_HARNESS)
    strange = sorted(set(document) - set(LAYERS))
    if strange:
        refuse(path, line_of(read(path), f'"{strange[0]}"'), f"unknown layer {strange[0]!r}; the layers are {LAYERS}")
    return document


def _patch_file(path: Path) -> tuple[Mapping[str, Any], ...]:
    return _operations(path, read_json(path), "") if path.is_file() else ()


def _operations(path: Path, value: Any, prefix: str) -> tuple[Mapping[str, Any], ...]:
    source = read(path)
    if not isinstance(value, list) or not value:
        refuse(path, line_of(source, "patch"), "a patch is a non-empty list of RFC 6902 operations")
    for operation in value:
        target = operation.get("path", "") if isinstance(operation, dict) else ""
        if not isinstance(operation, dict) or "op" not in operation or not str(target).startswith(f"{prefix}/"):
            refuse(
                path,
                line_of(source, str(target) or "patch"),
                f"operation {operation!r} needs op and a path under '{prefix}/'",
            )
    return tuple(value)


def _person(path: Path, intents: tuple[str, ...]) -> PersonProposal:
    data, source = read_json_object(path), read(path)
    for key in ("author_role", "title", "layer", "claim", "patch", "rationale"):
        if not data.get(key):
            refuse(path, 1, f"no {key!r}; a proposal needs author_role, title, layer, claim, patch, rationale")
    for key, allowed in (("layer", LAYERS), ("claim", CLAIMS)):
        if data[key] not in allowed:
            refuse(path, line_of(source, f'"{key}"'), f"unknown {key} {data[key]!r}; allowed are {', '.join(allowed)}")
    for intent in data.get("target_intents", []):
        if intent not in intents:
            refuse(path, line_of(source, intent), f"target intent {intent!r} is not in utterances.csv")
    cure = data.get("without_defect")
    if cure is not None and "patch" in cure:
        _operations(path, cure["patch"], f"/{data['layer']}")
    return PersonProposal(
        name=path.stem,
        author_role=data["author_role"],
        title=data["title"],
        layer=data["layer"],
        claim=data["claim"],
        target_intents=tuple(data.get("target_intents", [])),
        patch=_operations(path, data["patch"], f"/{data['layer']}"),
        rationale=data["rationale"],
        when=data.get("when", "start"),
        without_defect=cure,
    )
