"""Results of the baseline from another run of the same day that may stand in for playing it again.

A result may serve when runner, model fingerprint and day are equal and its trials were not used for selection. Off
wherever one of these is unknown.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from evals.models import Result, Run, RunCase
from proposals.lineage import family

__all__ = ["BaselineCache"]


class BaselineCache:
    """What may stand in for baseline trials of one run while it is played.

    The model that answers the baseline now is read off the baseline trials this run has played itself: until one has
    named a fingerprint, or once two differ, nothing is reused. Protected cases and the hold-out are always played.
    """

    def __init__(self, run: Run, runner_name: str) -> None:
        self._run, self._runner_name = run, runner_name
        self._usable: dict[tuple[UUID, int], tuple[Result, str]] | None = None
        own = run.results.filter(arm=Result.Arm.BASELINE, crashed=False, dropped=False, reused_from=None)
        self._seen = set(own.order_by().values_list("fingerprint", flat=True).distinct())

    def note(self, result: Result) -> None:
        """Learn the model from a baseline trial that was played just now."""
        if result.arm == Result.Arm.BASELINE and not (result.crashed or result.dropped or result.reused_from_id):
            self._seen.add(result.fingerprint)

    def find(self, row: RunCase, trial: int) -> Result | None:
        """Return the result that may stand in for a baseline trial of this case, if there is one."""
        if row.is_protected or row.split != "verify" or len(self._seen) != 1 or "" in self._seen:
            return None
        if self._usable is None:
            self._usable = _usable(self._run, self._runner_name)
        result, answered_by = self._usable.get((row.case_id, trial), (None, ""))
        if result is None or answered_by not in self._seen:
            return None
        return result if _is_same_case(result.run_case, row) and _is_of_today(result) else None


def _usable(run: Run, runner_name: str) -> dict[tuple[UUID, int], tuple[Result, str]]:
    """Return, by case and trial, the newest result that selected nothing, with the model that its run was answered by.

    Only judged runs, whose results nobody could stop at will; never the trials by which the baseline was itself chosen
    as a candidate, nor those of a run of the same change or its family, whose outcome led to this one.
    """
    if not run.as_playing().reuse_baseline:
        return {}
    start, end = _today()
    rows = (
        Result.objects.filter(
            arm=Result.Arm.BASELINE, run__agent_id=run.agent_id, run__benchmark_id=run.benchmark_id,
            run__status=Run.Status.JUDGED, run__pk__lt=run.pk, harness_digest=run.baseline.digest, runner=runner_name,
            played_at__gte=start, played_at__lt=end, dropped=False, reused_from=None, run_case__split="verify",
        )
        .exclude(_led_here(run))
        .select_related("run_case")
        .order_by("run_id")
    )  # fmt: skip
    by_run: dict[UUID, list[Result]] = defaultdict(list)
    for result in rows:
        by_run[result.run_id].append(result)
    usable: dict[tuple[UUID, int], tuple[Result, str]] = {}
    for results in by_run.values():
        # A run's crashes name no model; leaving them out would play again just what went badly.
        models = {result.fingerprint for result in results if not result.crashed}
        if len(models) == 1 and (model := models.pop()):
            usable |= {(result.run_case.case_id, result.trial): (result, model) for result in results}
    return usable


def _led_here(run: Run) -> Any:
    led = Q(run__candidate_id=run.candidate_id)
    return led if run.proposal is None else led | Q(run__proposal__in=family(run.proposal))


def _is_same_case(before: RunCase, now: RunCase) -> bool:
    """Return whether the case was frozen with the same content; the part it plays in a run may differ."""
    part = {"id", "run", "is_target", "is_protected", "intent_slug", "weight"}
    content = [field.attname for field in RunCase._meta.concrete_fields if field.name not in part]
    return all(getattr(before, name) == getattr(now, name) for name in content)


def _is_of_today(result: Result) -> bool:
    start, end = _today()
    return bool(start <= result.played_at < end)


def _today() -> tuple[datetime, datetime]:
    """Return the day of UTC, as the ledger counts days."""
    start = timezone.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return start, start + timedelta(days=1)
