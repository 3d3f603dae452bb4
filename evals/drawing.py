"""What a benchmark's coverage looks like: columns of traffic, and the meters of each intent. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.drawing import Bar, bars
from evals.countdown import IntentStanding, gap_of
from evals.gate.policy import GatePolicy

__all__ = ["CHART", "StandingRow", "standing_rows", "traffic_columns"]

CHART = {"width": 560.0, "height": 110.0}
_MAX_COLUMNS = 40


@dataclass(frozen=True)
class StandingRow:
    """One intent's line of the report, with the meters' lengths in percent."""

    intent: IntentStanding
    is_covered: bool
    verify_needed: int
    holdout_needed: int
    verify_percent: int
    holdout_percent: int
    share_percent: float
    num_drafts: int
    adds_percent: float


def traffic_columns(intents: Sequence[IntentStanding], policy: GatePolicy) -> list[tuple[Bar, IntentStanding, bool]]:
    """Return a column of traffic for each intent that owes cases; the strong part of it is covered."""
    shown = sorted((one for one in intents if one.owes_cases), key=lambda one: (-one.share, one.slug))[:_MAX_COLUMNS]
    covered = [one.is_covered(policy) for one in shown]
    drawn = bars(
        [(one.name, one.share, one.share * is_covered) for one, is_covered in zip(shown, covered, strict=True)], **CHART
    )
    return list(zip(drawn, shown, covered, strict=True))


def standing_rows(intents: Sequence[IntentStanding], policy: GatePolicy) -> list[StandingRow]:
    """Return the lines of the report in the order given."""
    return [_row(one, policy) for one in intents]


def _row(one: IntentStanding, policy: GatePolicy) -> StandingRow:
    alone = gap_of(one, [one], policy, protected_clusters=policy.protected_min_clusters, looks_left=1)
    is_covered = one.is_covered(policy) or not one.owes_cases
    # Traffic of no intent is never a target: it owes coverage only.
    verify = policy.target_min_clusters if one.slug else policy.coverage_min_cases
    holdout = one.holdout_fresh + alone.holdout if one.slug else 0
    return StandingRow(
        intent=one, is_covered=is_covered, verify_needed=verify, holdout_needed=holdout,
        verify_percent=_percent(one.verify_clusters, verify), holdout_percent=_percent(one.holdout_fresh, holdout),
        share_percent=100 * one.share, num_drafts=sum(one.drafts.values()),
        adds_percent=0.0 if is_covered else 100 * one.share,
    )  # fmt: skip


def _percent(have: int, needed: int) -> int:
    return min(100, round(100 * have / needed)) if needed else 100
