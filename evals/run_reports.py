"""Read a judged run's stored rows into the report that is drawn: numbers and names of cases, never their texts."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evals.conversing.standing import standing_of
from evals.exceptions import NotJudgedError
from evals.gate.policy import GatePolicy
from evals.gate.simulation import is_advisory
from evals.models import Run
from evals.plans import past_of
from evals.readings import CaseReading, RunReadings, TrialReading
from evals.reporting import Comparison, RunReport, build_report, compare

__all__ = ["comparable_runs", "comparison_of", "confirming_run", "gate_policy_in_force", "report_of"]

_CASE = (
    "pk",
    "case_id",
    "case__name",
    "cluster",
    "intent_slug",
    "kind",
    "split",
    "weight",
    "is_target",
    "is_protected",
    "conversation",
)
_RESULT = (
    "run_case_id", "arm", "trial", "score", "passed", "latency_ms", "cost_usd", "violations", "crashed", "dropped",
)  # fmt: skip


def report_of(run: Run) -> RunReport:
    """Return the report of a judged run; raise `NotJudgedError` for any other.

    A few queries, whatever the number of rows; outputs and steps are not loaded.
    """
    if run.status != Run.Status.JUDGED:
        raise NotJudgedError(f"{run} is {run.get_status_display().lower()}, not judged: follow its progress instead.")
    policy, standing = gate_policy_in_force(run), standing_of(run.benchmark)
    labels, cases = {}, defaultdict(list)
    split_of: dict[Any, str] = {}
    for (
        pk,
        case_id,
        name,
        cluster,
        intent,
        kind,
        split,
        weight,
        is_target,
        is_protected,
        conversation,
    ) in run.run_cases.order_by("pk").values_list(*_CASE):
        split_of[pk] = split
        labels[str(pk)] = {"case": str(case_id), "name": name, "split": split}
        # The gate's pairing takes every split by itself here, so each is read as the one it pairs.
        case = CaseReading(
            str(pk), cluster, intent, kind, "verify", weight, is_target=is_target, is_protected=is_protected,
            simulation=standing.of(conversation),
        )  # fmt: skip
        # What proves nothing in the gate is no part of the target and of what is protected here either.
        cases[split].append(replace(case, is_target=False, is_protected=False) if is_advisory(case, policy) else case)
    trials = defaultdict(list)
    for run_case, arm, trial, score, passed, latency, cost, violations, crashed, dropped in run.results.order_by(
        "pk"
    ).values_list(*_RESULT):
        trials[split_of[run_case]].append(
            TrialReading(
                str(run_case),
                arm,
                trial,
                score,
                success=passed,
                latency_ms=latency or 0.0,
                cost_usd=cost or 0.0,
                critical_violations=tuple(violations),
                crashed=crashed,
                dropped=dropped,
            )
        )
    splits = {split: RunReadings("fixes", tuple(cases[split]), tuple(trials[split])) for split in cases}
    return build_report(splits, labels, run.reading or {}, policy)


def gate_policy_in_force(run: Run) -> GatePolicy:
    """Return the numbers the run was judged by; those that the gate no longer knows are left out."""
    stored: Mapping[str, Any] = run.gate_policy or {}
    known = GatePolicy().as_mapping()
    return GatePolicy.from_mapping({name: value for name, value in stored.items() if name in known})


def confirming_run(run: Run) -> Run | None:
    """Return the earlier look whose hold-out this run's verdict read again, `None` where it played its own or none."""
    if run.run_cases.filter(split="holdout").exists():
        return None
    return past_of(run).confirmed


def comparable_runs(run: Run, visible: Any) -> Any:
    """Return the judged runs among `visible` to hold this one against: of its benchmark, or earlier looks of its proposal."""
    others = visible.judged().filter(agent_id=run.agent_id).exclude(pk=run.pk)
    same = others.filter(benchmark_id=run.benchmark_id)
    return same | others.filter(proposal_id=run.proposal_id) if run.proposal_id else same


def comparison_of(run: Run, other: Run) -> Comparison:
    """Return what differs between two judged runs; raise `NotJudgedError` where one is not."""
    return compare(report_of(run), report_of(other))
