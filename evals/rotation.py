"""Rotate a benchmark's hold-out: what was looked at makes room for what nobody has seen."""

import math
from collections import defaultdict
from typing import NamedTuple
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError
from audit.record import record
from evals.exceptions import TooFewFreshCasesError
from evals.models import Benchmark, Case, RunCase

__all__ = ["MIN_SHARE", "Rotated", "rotate_holdout"]

MIN_SHARE = 0.30


class Rotated(NamedTuple):
    """How many cases left the hold-out for the development split, and how many fresh ones took their place."""

    retired: int
    activated: int


@transaction.atomic
def rotate_holdout(benchmark: Benchmark, *, by: Actor, reason: str) -> Rotated:
    """Replace at least 30 % of the hold-out by draft cases never played, intent by intent, the most seen first.

    Cases that leave become development cases for ever. Looks, and the attempts and promotions of the estimated share of
    lucky promotions, count anew from here. Refuses while too few drafts are fresh, and people with an open proposal.
    """
    require(by, Permission.EDIT_BENCHMARK, benchmark.agent.access_scope(), act=f"rotate the hold-out of {benchmark}")
    benchmark.refuse_examinees(by, "rotate the hold-out")
    if not reason.strip():
        raise ReasonMissingError(f"Say why you rotate the hold-out of {benchmark}: the record needs it.")
    locked = Benchmark.objects.locked().get(pk=benchmark.pk)
    swaps = _swaps(locked)
    active = locked.cases.active().in_split(split=Case.Split.HOLDOUT).count()
    needed = max(1, math.ceil(MIN_SHARE * active))
    if len(swaps) < needed:
        raise TooFewFreshCasesError(
            f"{len(swaps)} draft hold-out cases of {benchmark} were never played and match the intent of one in use; a "
            f"rotation of {active} cases needs {needed}. Add drafts to the hold-out first."
        )
    with acting(by, reason=reason):
        for old, new in swaps:
            old.split = Case.Split.DEV
            old.save(update_fields=["split"])
            new.activate(by=by, reason=reason)
        facts = {"retired": len(swaps), "activated": len(swaps), "looks_before": locked.holdout_looks}
        locked.holdout_looks, locked.rotated_at = 0, timezone.now()
        locked.save(update_fields=["holdout_looks", "rotated_at"])
        record("benchmark.rotate_holdout", locked, team_id=locked.agent.team_id, facts=facts)
    benchmark.refresh_from_db()
    return Rotated(len(swaps), len(swaps))


def _swaps(benchmark: Benchmark) -> list[tuple[Case, Case]]:
    """Pair cases in use with fresh drafts of the same intent; what runs have played leaves first."""
    played = RunCase.objects.filter(case__benchmark=benchmark, split=Case.Split.HOLDOUT)
    seen = set(played.values_list("case_id", flat=True))
    holdout = benchmark.cases.in_split(split=Case.Split.HOLDOUT).select_related("benchmark__agent")
    active = sorted(holdout.active(), key=lambda case: (case.pk not in seen, case.pk))
    # A draft of a cluster that was played, or is in use, is not fresh.
    known = {*played.values_list("cluster", flat=True), *(case.cluster for case in active)}
    drafts: dict[UUID | None, list[Case]] = defaultdict(list)
    for case in holdout.filter(status=Case.Status.DRAFT).select_related("intent").order_by("-pk"):
        if case.cluster not in known:
            drafts[case.intent_id].append(case)
    return [(case, drafts[case.intent_id].pop()) for case in active if drafts[case.intent_id]]
