"""One result as it comes in from outside: its shape, its limits, and what it scores. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evals.readings import FULL_SCORE
from evals.scoring import Reply, Scored, score
from harness.canonical import DocumentError, clean_json

__all__ = ["MAX_ITEMS", "MAX_ITEM_BYTES", "ItemError", "PostedTrial", "read_item", "scored_of"]

MAX_ITEMS = 500
MAX_ITEM_BYTES = 1024 * 1024
_DAY_MS = 86_400_000.0


class ItemError(ValueError):
    """A posted result cannot be taken; the sentence says what is wrong with it."""


class PostedTrial(BaseModel):
    """What came of one case, arm and trial, by the word of whoever played it.

    `crashed` is the agent's own failure and a result; `dropped` says that infrastructure gave out, and that nothing is
    known. `score` (0..1) and `passed` come only where the benchmark says that scores come from outside.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    case: str = Field(min_length=1, max_length=400)
    arm: Literal["baseline", "candidate"]
    trial: int = Field(ge=0, le=100)
    output: dict[str, Any] = Field(default_factory=dict)
    steps: list[dict[str, Any]] = Field(default_factory=list, max_length=1_000)
    latency_ms: float | None = Field(default=None, ge=0, le=_DAY_MS, allow_inf_nan=False)
    cost_usd: float | None = Field(default=None, ge=0, le=100_000, allow_inf_nan=False)
    crashed: bool = False
    dropped: bool = False
    error: str = Field(default="", max_length=20_000)
    score: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    passed: bool | None = None
    violations: list[str] = Field(default_factory=list, max_length=50)
    rationale: str = Field(default="", max_length=4_000)

    @property
    def was_played(self) -> bool:
        """Return whether there is a reply to score."""
        return not self.crashed and not self.dropped


def read_item(item: object, *, scored_outside: bool) -> PostedTrial:
    """Return one posted result; raise `ItemError` where it has no such form or says what it may not."""
    if not isinstance(item, Mapping):
        raise ItemError("it is no JSON object")
    try:
        posted = PostedTrial.model_validate(clean_json(dict(item), max_bytes=MAX_ITEM_BYTES, allow_big_integers=True))
    except DocumentError as refusal:
        raise ItemError(str(refusal)) from refusal
    except ValidationError as error:
        raise ItemError("; ".join(_problem(problem) for problem in error.errors()[:5])) from error
    if posted.crashed and posted.dropped:
        raise ItemError("it says both 'crashed' (the agent's failure) and 'dropped' (infrastructure's); say one")
    _refuse_scores(posted, scored_outside=scored_outside)
    return posted


def _problem(problem: Any) -> str:
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def _refuse_scores(posted: PostedTrial, *, scored_outside: bool) -> None:
    has_scores = posted.passed is not None or posted.score is not None or bool(posted.violations or posted.rationale)
    if not scored_outside and has_scores:
        raise ItemError(
            "it brings its own 'score', 'passed', 'violations' or 'rationale', but the platform scores this benchmark; "
            "leave them out"
        )
    if scored_outside and posted.was_played and posted.passed is None:
        raise ItemError("scores of this benchmark come from outside: say 'passed', and 'score' where it is graded")


def scored_of(posted: PostedTrial, expectations: Mapping[str, Any], *, scored_outside: bool) -> Scored:
    """Return what the result scores: nothing where it was not played, its own word or the platform's else.

    A result that passed and gives no grade has the full score; one that failed and gives none has none.
    """
    if not posted.was_played:
        return Scored(0, passed=False, rationale=posted.error)
    if not scored_outside:
        return score(expectations, Reply(posted.output, posted.steps))
    graded = float(posted.passed is True) if posted.score is None else posted.score
    return Scored(
        round(FULL_SCORE * graded), passed=posted.passed is True, violations=tuple(posted.violations),
        rationale=posted.rationale or "scored outside",
    )  # fmt: skip
