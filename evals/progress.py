"""How far a run has come: trials played of those planned, per arm, with what they cost and how long the rest may take."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils import timezone

from evals.models import Result, Run

__all__ = ["ArmProgress", "Progress", "progress_of"]

# The pace is that of the newest results, so that an interruption is forgotten once play goes on.
_PACE_RESULTS = 200


@dataclass(frozen=True)
class ArmProgress:
    """One arm: trials played of those planned; crashed and dropped ones are among the played. Cost in USD."""

    arm: str
    played: int
    planned: int
    crashed: int
    dropped: int
    cost_usd: float

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.played / self.planned)) if self.planned else 0


@dataclass(frozen=True)
class Progress:
    """A run's progress. `remaining_s` is an estimate, `None` while nothing is known or once nothing remains.

    A hold-out that is played at the end adds to what is planned when it is frozen.
    """

    status: str
    is_live: bool
    arms: tuple[ArmProgress, ...]
    elapsed_s: float | None
    remaining_s: float | None

    @property
    def played(self) -> int:
        return sum(arm.played for arm in self.arms)

    @property
    def planned(self) -> int:
        return sum(arm.planned for arm in self.arms)

    @property
    def crashed(self) -> int:
        return sum(arm.crashed for arm in self.arms)

    @property
    def dropped(self) -> int:
        return sum(arm.dropped for arm in self.arms)

    @property
    def cost_usd(self) -> float:
        return sum(arm.cost_usd for arm in self.arms)

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.played / self.planned)) if self.planned else 0


def progress_of(run: Run) -> Progress:
    """Return how far the run has come; two queries over its results, cheap enough to be asked every few seconds."""
    found = {
        row["arm"]: row
        for row in run.results.order_by()
        .values("arm")
        .annotate(
            played=Count("id"),
            crashed=Count("id", filter=Q(crashed=True)),
            dropped=Count("id", filter=Q(dropped=True)),
            cost=Sum("cost_usd"),
        )
    }
    arms = tuple(_arm(arm, found.get(arm, {}), run.num_planned // 2) for arm in Result.Arm.values)
    is_live = run.status in {Run.Status.QUEUED, Run.Status.RUNNING}
    left = sum(arm.planned - arm.played for arm in arms)
    now = timezone.now()
    remaining = _remaining_s(run, left, now) if run.status == Run.Status.RUNNING else None
    return Progress(run.status, is_live, arms, _elapsed_s(run, now), remaining)


def _arm(arm: str, row: dict[str, Any], planned: int) -> ArmProgress:
    return ArmProgress(
        arm, row.get("played", 0), planned, row.get("crashed", 0), row.get("dropped", 0), float(row.get("cost") or 0.0)
    )


def _elapsed_s(run: Run, now: datetime) -> float | None:
    if run.started_at is None:
        return None
    return max(0.0, ((run.finished_at or now) - run.started_at).total_seconds())


def _remaining_s(run: Run, left: int, now: datetime) -> float | None:
    """Return the trials left at the pace of the newest results; of a single batch the run's start is the beginning."""
    if left <= 0 or run.started_at is None:
        return None
    times = list(run.results.order_by("-pk").values_list("played_at", flat=True)[:_PACE_RESULTS])
    if not times:
        return None
    newer = [at for at in times if at > min(times)]
    begun, number = (min(times), len(newer)) if newer else (run.started_at, len(times))
    return max(0.0, (now - begun).total_seconds()) / number * left
