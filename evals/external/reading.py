"""From what came in to what the gate reads: one way, whether the rows are stored or only held in memory."""

from typing import Any

from evals.external.items import PostedTrial, scored_of
from evals.models import Result, RunCase

__all__ = ["result_of"]


def result_of(row: RunCase, posted: PostedTrial, *, digest: str, scored_outside: bool) -> Result:
    """Return the result row, unsaved, of what was posted for a case: scored here, or by the word of its sender.

    Raise `UnknownExpectationError` where the case expects what no scorer understands.
    """
    scored = scored_of(posted, row.expectations, scored_outside=scored_outside)
    told: dict[str, Any] = {"output": posted.output, "steps": posted.steps} if posted.was_played else {}
    return Result(
        run_id=row.run_id, run_case=row, arm=posted.arm, trial=posted.trial, harness_digest=digest, score=scored.score,
        passed=scored.passed, violations=list(scored.violations), rationale=scored.rationale, crashed=posted.crashed,
        dropped=posted.dropped, latency_ms=posted.latency_ms, cost_usd=posted.cost_usd, **told,
    )  # fmt: skip
