"""The platform's own agents as something that can be played: from what a case gives to what came of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from episodes.critiques import CaseReading, Judgment, judge
from episodes.detectors.readings import StepReading
from episodes.model_critic import INSTRUCTIONS, opinion_on, record_of
from episodes.model_critic import ROLE as CRITIC
from evals.judges.asking import ROLE as JUDGE
from evals.judges.asking import ask
from evals.judges.material import Material
from evals.judges.rubric import read_rubric
from evals.runners.prompting import system_text
from harness.models import Agent
from inference.client import is_configured
from inference.configuration import Configuration
from inference.models import LedgerEntry
from proposals.strategies import STRATEGIES
from proposals.strategies.protocol import CorrectedReading, Declined, PatternReading

__all__ = ["Done", "criticize", "grade", "propose"]


@dataclass(frozen=True)
class Done:
    """What a part made of what it was given."""

    output: dict[str, Any]
    is_by_model: bool
    cost_usd: float = 0.0


@dataclass(frozen=True)
class _Asked:
    """A judge that is being examined: the document under trial and the model it names, or the configured one."""

    document: dict[str, Any]
    model: str


def criticize(document: Mapping[str, Any], given: Mapping[str, Any], agent: Agent, seed: int) -> Done:
    """Return the critique of an episode: `given` holds the fields of a `CaseReading`, and its `messages`."""
    case = _case(given)
    prior = judge(case)
    if not is_configured(CRITIC):
        return Done(_of_rules(prior), is_by_model=False)
    answer = opinion_on(
        record_of(given.get("messages", []), case, prior), agent=agent, instructions=system_text(document, ()) or INSTRUCTIONS,
        model=_model(document), parameters=_parameters(document, seed),
    )  # fmt: skip
    opinion = answer.value.model_dump()
    return Done({"text": opinion["what"], **opinion}, is_by_model=True, cost_usd=float(answer.cost_usd))


def propose(document: Mapping[str, Any], given: Mapping[str, Any], agent: Agent, seed: int) -> Done:
    """Return the change that the strategies of a pattern's layer draft, or why they decline.

    `given` holds the fields of a `PatternReading`. Strategies are rules; the proposer's document does not steer them.
    """
    reading = _pattern(given)
    declined = []
    for spec in STRATEGIES:
        if spec.layer != reading.layer:
            continue
        change = spec.draft(reading)
        if not isinstance(change, Declined):
            output = {"text": change.rationale, "strategy": spec.slug, **_plain(change)}
            return Done(output, is_by_model=False)
        declined.append(f"{spec.name}: {change.reason}")
    reasons = declined or [f"There is no strategy for the layer {reading.layer!r}."]
    return Done({"text": " ".join(reasons), "declined": reasons}, is_by_model=False)


def grade(document: Mapping[str, Any], given: Mapping[str, Any], agent: Agent, seed: int) -> Done:
    """Return the judge's grade of one item: `given` holds a `rubric`, and the `messages`, `steps` and `output` to grade.

    The seed is not passed on: judges are asked as they are asked in runs.
    """
    rubric = read_rubric(given["rubric"])
    material = Material(list(given.get("messages", [])), dict(given.get("output", {})), list(given.get("steps", [])))
    judge = _Asked(dict(document), _model(document) or Configuration.from_settings().model_for(JUDGE))
    said = ask(judge, rubric, material, agent=agent)
    output = {
        "text": said.rationale, "rationale": said.rationale, "grade": said.grade, "passed": rubric.passes(said.grade),
    }  # fmt: skip
    cost = LedgerEntry.objects.filter(call_id=said.call_id).cost_usd()
    return Done(output, is_by_model=True, cost_usd=float(cost))


def _model(document: Mapping[str, Any]) -> str | None:
    return document.get("model", {}).get("name") or None


def _parameters(document: Mapping[str, Any], seed: int) -> dict[str, Any]:
    return {**document.get("model", {}).get("parameters", {}), "seed": seed}


def _case(given: Mapping[str, Any]) -> CaseReading:
    known = {one.name for one in fields(CaseReading)}
    values = {name: value for name, value in given.items() if name in known}
    values["steps"] = tuple(
        StepReading.from_stored(position, step) for position, step in enumerate(given.get("steps", ()), start=1)
    )
    values["flags"] = frozenset(given.get("flags", ()))
    return CaseReading(**values)


def _of_rules(prior: Judgment) -> dict[str, Any]:
    told = {name: getattr(prior, name) for name in ("what", "why", "prevention", "counterfactual", "layer", "kind")}
    return {"text": prior.what, **told}


def _pattern(given: Mapping[str, Any]) -> PatternReading:
    corrections = tuple(
        CorrectedReading(**{**row, "failed_arguments": tuple(row.get("failed_arguments", ()))})
        for row in given.get("corrections", ())
    )
    return PatternReading(**{**given, "corrections": corrections})


def _plain(change: Any) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(change)))  # type: ignore[no-any-return]  # tuples become lists, as in storage
