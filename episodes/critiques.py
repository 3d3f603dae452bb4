"""What went wrong in an episode, why, what would have prevented it, and in which layer: by rules. Pure.

Rules read the strongest evidence first: what a person said, a tool that failed for good, knowledge that was not there,
a circle of calls, a hand-off without an attempt, an answer that was refused. They give a prior over layers, not proof:
attribution is for replay with one layer changed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from episodes.detectors.readings import StepReading

__all__ = ["DEFAULT_MIN_SCORE", "CaseReading", "Judgment", "judge", "praise"]

DEFAULT_MIN_SCORE = 0.30
UNMET_NEED = "unmet_need"
_MAX_KIND = 40
_NUMBERS = re.compile(r"\S*\d\S*")


@dataclass(frozen=True)
class CaseReading:
    """One episode with everything known of it.

    `signals` maps a kind to its evidence; `min_score` is what the harness demands of a retrieval, where known.
    """

    user_text: str = ""
    output_text: str = ""
    steps: Sequence[StepReading] = ()
    sources: Sequence[Any] = ()
    signals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resolution: str = "open"
    resolution_source: str = ""
    flags: frozenset[str] = frozenset()
    corrected_tool: str = ""
    corrected_answer: bool = False
    should_escalate: bool = False
    min_score: float | None = None


@dataclass(frozen=True)
class Judgment:
    """A rule's critique.

    `rank` orders the evidence, strongest first. `meaning` is the text that makes two failures of this kind alike,
    empty where the user's want does.
    """

    kind: str
    layer: str
    what: str
    why: str
    prevention: str
    counterfactual: str
    rank: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    meaning: str = ""

    @property
    def spans_intents(self) -> bool:
        """Whether the same cause strikes whatever the user wants."""
        return bool(self.meaning)


def judge(case: CaseReading) -> Judgment:
    """Return the critique of an episode that went wrong, by the first rule that has evidence."""
    for rank, rule in enumerate(_RULES, start=1):
        judgment = rule(case, rank)
        if judgment is not None:
            return judgment
    return _unexplained(case, len(_RULES) + 1)


def praise(case: CaseReading) -> Judgment:
    """Return what carried an episode that went well, for the random audit stream."""
    used = [step.name for step in case.steps if step.kind == "tool_call" and not step.has_failed]
    layer, carrier = ("tools", f"The tool {used[0]} answered") if used else ("prompt", "The agent answered")
    if case.sources and not used:
        layer, carrier = "context", f"{_named(case.sources)} held the answer"
    return Judgment(
        "quiet", layer, f"{carrier} and nobody complained.", "No detector fired and no flag was set.", "", "",
        rank=0, evidence={"sources": list(case.sources)[:5], "tools": used[:5]},
    )  # fmt: skip


def _corrected_tool(case: CaseReading, rank: int) -> Judgment | None:
    if not case.corrected_tool:
        return None
    failed = next((step for step in case.steps if step.kind == "tool_call" and step.name == case.corrected_tool), None)
    if failed is not None and failed.has_failed:
        return _tool_judgment(failed, rank)
    return Judgment(
        _kind("tool_error", case.corrected_tool), "tools",
        f"{case.corrected_tool} should have been called with other arguments.",
        "A person corrected the call." if failed else "The agent did not call it.",
        "A description and a schema of its arguments that allow only the right ones.",
        f"With the corrected call of {case.corrected_tool} the user would have been answered.",
        rank, {"tool": case.corrected_tool}, meaning=f"{case.corrected_tool}: wrong arguments",
    )  # fmt: skip


def _tool_error(case: CaseReading, rank: int) -> Judgment | None:
    lost = case.signals.get("tool_error", {"recovered": True})
    if lost.get("recovered"):
        return None
    failed = [
        step for step in case.steps if step.kind == "tool_call" and step.has_failed and step.name in lost["tools"]
    ]
    return _tool_judgment(failed[-1], rank) if failed else None


def _tool_judgment(failed: StepReading, rank: int) -> Judgment:
    error = failed.error[:200] or "no error text"
    return Judgment(
        _kind("tool_error", failed.name), "tools",
        f"{failed.name} failed and the agent did not get past it: {error}",
        f"It was called with {dict(failed.input)!r}.",
        "A schema that allows only arguments the tool accepts, or another attempt with other arguments.",
        f"Had {failed.name} been called with arguments it accepts, the answer could have followed in this episode.",
        rank, {"steps": [failed.position], "error": error, "arguments": dict(failed.input), "tool": failed.name},
        meaning=f"{failed.name}: {_NUMBERS.sub('#', error)}",
    )  # fmt: skip


def _should_have_escalated(case: CaseReading, rank: int) -> Judgment | None:
    if not (case.should_escalate or "should_escalate" in case.flags):
        return None
    return Judgment(
        "missed_handoff", "guardrails", "A person should have taken this over.",
        "Somebody flagged or corrected the episode as one for a person.",
        "A guardrail that recognizes such a request and hands it over.",
        "A hand-off at the user's first words would have been right.", rank, {"quotes": [case.user_text[:300]]},
    )  # fmt: skip


def _unsafe(case: CaseReading, rank: int) -> Judgment | None:
    if "unsafe" not in case.flags:
        return None
    return Judgment(
        "unsafe_answer", "guardrails", "The answer was flagged as unsafe.", "No guardrail stopped it.",
        "A guardrail for this kind of request.", "The guardrail would have stopped this answer.",
        rank, {"quotes": [case.output_text[:300]]},
    )  # fmt: skip


def _corrected_answer(case: CaseReading, rank: int) -> Judgment | None:
    if not case.corrected_answer:
        return None
    return _unmet(case, "A person wrote the answer the user should have had.", rank)


def _not_found(case: CaseReading, rank: int) -> Judgment | None:
    retrievals = [step for step in case.steps if step.kind == "retrieval"]
    if not retrievals or any(_found_something(step, case.min_score) for step in retrievals):
        return None
    best = max((score for step in retrievals for score in _scores(step)), default=None)
    if best is None:
        return _unmet(case, "Retrieval returned no document.", rank)
    return _unmet(case, f"The best document scored {best:.2f}, below what the harness asks for.", rank)


def _refused_answer(case: CaseReading, rank: int) -> Judgment | None:
    refused = (
        case.resolution in {"failed", "abandoned"}
        or bool(case.flags & {"wrong", "unhelpful"})
        or "rephrase" in case.signals
    )
    if not refused or not (case.sources or any(step.kind == "retrieval" for step in case.steps)):
        return None
    return _unmet(case, f"The user was not helped by {_named(case.sources)}.", rank)


def _unmet(case: CaseReading, why: str, rank: int) -> Judgment:
    # One rank for every way of not knowing: the earliest episode of a conversation then names the want best.
    return Judgment(
        UNMET_NEED, "context", f"The agent had no answer to: {case.user_text[:200]}", why,
        "A knowledge document that answers this need, worded the way users ask.",
        "With such a document retrieved, the answer could have been given in this episode.",
        min(rank, _UNMET_RANK), {"quotes": [case.user_text[:300], case.output_text[:300]], "sources": list(case.sources)[:5]},
    )  # fmt: skip


def _loop(case: CaseReading, rank: int) -> Judgment | None:
    circle = case.signals.get("loop")
    if circle is None:
        return None
    tools = ", ".join(circle.get("tools", []))
    return Judgment(
        "loop", "workflow", f"The agent went in circles: {tools}.", f"The same calls came {circle.get('times', 'several')} times.",
        "A step that notices a repeated call and asks, changes the plan or hands over.",
        "Leaving the circle after the second call would have saved the turn.", rank, dict(circle),
    )  # fmt: skip


def _early_handoff(case: CaseReading, rank: int) -> Judgment | None:
    handed = case.signals.get("handoff")
    if handed is None or handed.get("attempted"):
        return None
    if handed.get("guarded"):
        return Judgment(
            "guarded_handoff", "guardrails", f"The guardrail {handed['guarded']!r} handed the user over.",
            "It fired before anything was tried.", "A narrower condition, if this request is one the agent can serve.",
            "Without the guardrail the agent would have tried to answer.", rank, dict(handed),
        )  # fmt: skip
    return Judgment(
        "early_handoff", "workflow", "The agent handed the user over without trying anything.",
        "No tool and no retrieval came before the hand-off.", "A workflow that looks things up before it hands over.",
        "An attempt before the hand-off might have answered the user.", rank, dict(handed),
    )  # fmt: skip


def _manner(case: CaseReading, rank: int) -> Judgment | None:
    if "tone" in case.flags:
        return Judgment(
            "tone", "prompt", "The tone of the answer was flagged.", "Nothing in the prompt asks for another tone.",
            "A rule about tone.", "The same answer in another tone would have been fine.",
            rank, {"quotes": [case.output_text[:300]]},
        )  # fmt: skip
    if "slow" in case.flags:
        return Judgment(
            "slow", "workflow", "The answer was flagged as slow.", "Its steps took longer than the user would wait.",
            "Fewer or parallel steps.", "The same answer sooner would have been fine.",
            rank, {"steps": [step.position for step in case.steps]},
        )  # fmt: skip
    return None


def _unexplained(case: CaseReading, rank: int) -> Judgment:
    handed = case.signals.get("handoff")
    if handed is not None:
        return Judgment(
            "late_handoff", "workflow", "The agent tried and then handed the user over.", "Its attempts did not lead to an answer.",
            "A further step before the hand-off.", "Another attempt might have answered the user.", rank, dict(handed),
        )  # fmt: skip
    return Judgment(
        "wrong_outcome", "prompt", f"The conversation ended as {case.resolution} although nothing visibly broke.",
        "The tools did what they were asked; what was asked of them, or said to the user, was wrong.",
        "An instruction for this kind of request.", "With the right instruction the same tools would have served the user.",
        rank, {"quotes": [case.user_text[:300], case.output_text[:300]]},
    )  # fmt: skip


_RULES: tuple[Callable[[CaseReading, int], Judgment | None], ...] = (
    _corrected_tool,
    _should_have_escalated,
    _unsafe,
    _tool_error,
    _corrected_answer,
    _not_found,
    _loop,
    _early_handoff,
    _refused_answer,
    _manner,
)
_UNMET_RANK = 1 + _RULES.index(_corrected_answer)


def _kind(circumstance: str, tool: str) -> str:
    return f"{circumstance}:{tool}"[:_MAX_KIND]


def _named(sources: Sequence[Any]) -> str:
    return ", ".join(map(str, sources[:3])) if sources else "what was found"


def _found_something(step: StepReading, min_score: float | None) -> bool:
    documents, scores = _documents(step), _scores(step)
    if not documents and not scores:
        return False
    needed = step.output.get("min_score", min_score)
    needed = float(needed) if isinstance(needed, int | float) else DEFAULT_MIN_SCORE
    return not scores or max(scores) >= needed


def _documents(step: StepReading) -> list[Any]:
    found: Any = next((step.output[name] for name in ("documents", "results", "value") if step.output.get(name)), [])
    return found if isinstance(found, list) else [found]


def _scores(step: StepReading) -> list[float]:
    """Return the scores a retrieval reported: of each document, in a list of their own, or the best alone."""
    listed = [entry.get("score") for entry in _documents(step) if isinstance(entry, Mapping)]
    scores = step.output.get("scores")
    listed += scores if isinstance(scores, list) else []
    listed.append(step.output.get("best_score"))
    return [float(score) for score in listed if isinstance(score, int | float)]
