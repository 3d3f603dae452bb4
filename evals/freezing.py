"""Freeze the cases of a run: which ones are played, and what part each plays there."""

import uuid
from collections import Counter
from typing import Any

from django.db import transaction

from accounts.acting import MACHINE, Actor, acting
from audit.record import record
from evals.curation import curated
from evals.exceptions import BenchmarkMissingError, HoldoutSpentError
from evals.gate.policy import GatePolicy
from evals.models import Benchmark, Case, Run, RunCase
from harness.models import Agent
from proposals.models import Proposal

__all__ = ["active_benchmark", "begin_run", "freeze_holdout", "gate_policy_of", "targets_of"]


def active_benchmark(agent: Agent) -> Benchmark:
    """Return the agent's active benchmark; refuse when there is none with active cases."""
    benchmark = Benchmark.objects.filter(agent=agent).active().first()
    if benchmark is None or not benchmark.cases.active().in_split(split="verify").exists():
        raise BenchmarkMissingError(
            f"Agent {agent.slug!r} has no active benchmark with active verify cases: add one and activate its cases."
        )
    return benchmark  # type: ignore[no-any-return]  # the queryset is generic over Any


def gate_policy_of(agent: Agent) -> GatePolicy:
    """Return the numbers the agent's policy gives the gate."""
    return GatePolicy.from_mapping(agent.current_policy().gate)


def targets_of(proposal: Proposal) -> frozenset[str]:
    """Return the slugs of the intents the proposal is for: those it names, else its pattern's."""
    if proposal.target_intents:
        return frozenset(proposal.target_intents)
    pattern = proposal.pattern
    return frozenset({pattern.intent.slug} if pattern and pattern.intent else ())


@transaction.atomic
def begin_run(proposal: Proposal, *, by: Actor = MACHINE, reason: str = "") -> Run:
    """Take the agent's validation slot and freeze the verify cases; the caller enqueues the playing.

    A held proposal takes the next look of the same plan.
    """
    agent = proposal.agent
    benchmark = active_benchmark(agent)
    policy = gate_policy_of(agent)
    if proposal.status == Proposal.Status.HELD:
        proposal.resume_validation(by=by, reason=reason or "next look")
    else:
        proposal.begin_validation(by=by, reason=reason)
    proposal.refresh_from_db()
    assert proposal.candidate is not None  # begin_validation fixed it
    with acting(by, reason=reason or f"validate {proposal}"):
        run = Run(
            agent=agent, benchmark=benchmark, proposal=proposal, baseline=proposal.base, candidate=proposal.candidate,
            policy=agent.policy, gate_policy=policy.as_mapping(), trials=policy.trials, seed=uuid.uuid4().int % 2**31,
        )  # fmt: skip
        run.save(force_insert=True)
        record(
            "run.create", run, digest=run.candidate.digest, team_id=agent.team_id, facts={"proposal": str(proposal.pk)}
        )
    _freeze(run, benchmark.cases.active().in_split(split="verify"), targets_of(proposal))
    return run


def _freeze(run: Run, cases: Any, targets: frozenset[str]) -> int:
    """Copy the cases into the run, so that a later edit of a case changes nothing that was judged."""
    already = set(run.run_cases.values_list("case_id", flat=True))
    stable = curated(run.baseline.digest, run.benchmark)
    rows = [
        RunCase(
            run=run,
            case=case,
            split=case.split,
            intent_slug=case.intent.slug if case.intent else "",
            is_target=bool(case.intent and case.intent.slug in targets),
            is_protected=case.pk in stable,
            messages=case.messages,
            user_state=case.user_state,
            expectations=case.expectations,
            weight=case.weight,
            cluster=case.cluster,
            kind=case.kind,
        )
        for case in cases.select_related("intent").order_by("pk")
        if case.pk not in already
    ]
    RunCase.objects.bulk_create(rows)
    run.num_planned += len(rows) * run.trials * 2
    with acting(MACHINE, reason="cases frozen"):
        run.save(update_fields=["num_planned"])
    return len(rows)


@transaction.atomic
def freeze_holdout(run: Run, policy: GatePolicy) -> int:
    """Freeze fresh hold-out cases of the target: as many clusters as verify has, never seen for this pattern.

    Each call is one look at the hold-out; the policy's budget of looks is enforced here.
    """
    assert run.proposal is not None  # only runs of proposals look at the hold-out
    benchmark = Benchmark.objects.locked().get(pk=run.benchmark_id)
    if benchmark.holdout_looks >= policy.holdout_look_budget:
        raise HoldoutSpentError(
            f"The hold-out of {benchmark} was looked at {benchmark.holdout_looks} times, as often as the policy allows. "
            "Rotate at least 30 % of its cases."
        )
    targets = targets_of(run.proposal)
    fresh = benchmark.cases.active().in_split(split="holdout").filter(intent__slug__in=targets)
    fresh = fresh.exclude(pk__in=_seen_for_pattern(run))
    clusters = Counter(row.cluster for row in run.run_cases.all() if row.is_target and row.split == "verify")
    chosen: list[Case] = []
    seen: set[str] = set()
    for case in fresh.order_by("pk"):
        if case.cluster in seen or len(seen) < len(clusters):
            seen.add(case.cluster)
            chosen.append(case)
    frozen = _freeze(run, fresh.filter(pk__in=[case.pk for case in chosen]), targets)
    with acting(MACHINE, reason=f"look at the hold-out for {run.proposal}"):
        benchmark.holdout_looks += 1
        benchmark.save(update_fields=["holdout_looks"])
        record(
            "benchmark.holdout_look", benchmark, team_id=run.agent.team_id, facts={"run": str(run.pk), "cases": frozen}
        )
    return frozen


def _seen_for_pattern(run: Run) -> list[Any]:
    """Return the hold-out cases already played for this pattern (or this very proposal, where there is none)."""
    assert run.proposal is not None  # as above
    rows = RunCase.objects.filter(split="holdout", run__agent=run.agent).exclude(run=run)
    same = rows.filter(run__proposal=run.proposal)
    if run.proposal.pattern_id:
        same = same | rows.filter(run__proposal__pattern_id=run.proposal.pattern_id)
    return list(same.values_list("case_id", flat=True))
