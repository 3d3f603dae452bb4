"""Freeze the cases of a run: which ones are played, and what part each plays there."""

import math
import uuid
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.db.models import Q

from accounts.acting import MACHINE, Actor, acting
from audit.record import record
from evals.benchmarks import bound_benchmark
from evals.conversing.standing import advisory_cases
from evals.curation import curated
from evals.exceptions import BenchmarkMissingError, ExternalRunError, HoldoutSpentError
from evals.gate.pairs import counted
from evals.gate.policy import GatePolicy
from evals.judges.appointing import run_judge
from evals.models import Benchmark, Case, Run, RunCase
from evals.scoring import RUBRIC
from harness.models import Agent
from proposals.lineage import family
from proposals.models import Proposal

__all__ = [
    "active_benchmark", "begin_run", "freeze_cases", "freeze_holdout", "gate_policy_of", "holdout_is_fresh",
    "refuse_playing_elsewhere", "runner_for_run", "targets_of",
]  # fmt: skip


def active_benchmark(agent: Agent) -> Benchmark:
    """Return the benchmark that judges the agent's proposals; refuse when there is none with active cases."""
    benchmark = bound_benchmark(agent)
    if benchmark is None or not benchmark.cases.active().in_split(split="verify").exists():
        raise BenchmarkMissingError(
            f"Agent {agent.slug!r} has no active benchmark with active verify cases: add one and activate its cases."
        )
    return benchmark


def gate_policy_of(agent: Agent) -> GatePolicy:
    """Return the numbers the agent's policy gives the gate; who looks at large gains is said once, in its effect limits."""
    policy = agent.current_policy()
    limits = policy.effect_limits
    gate = GatePolicy.from_mapping(policy.gate)
    return replace(gate, effect_person=limits.person_at, effect_two_people=limits.two_people_at)


def targets_of(proposal: Proposal) -> frozenset[str]:
    """Return the slugs of the intents the proposal is for: those it names, else its pattern's."""
    if proposal.target_intents:
        return frozenset(proposal.target_intents)
    pattern = proposal.pattern
    return frozenset({pattern.intent.slug} if pattern and pattern.intent else ())


def runner_for_run(agent: Agent, asked: str = "") -> str:
    """Return who plays a run of the agent: whoever was asked for to play it elsewhere, else the agent's own runner."""
    own = agent.runner if agent.runner in Run.Runner.values else Run.Runner.INTERNAL
    return Run.Runner.EXTERNAL if asked == Run.Runner.EXTERNAL else own


def refuse_playing_elsewhere(benchmark: Benchmark, split: str) -> None:
    """Raise `ExternalRunError` where cases need what only the platform has: their user, or the judge of their rubric."""
    cases = benchmark.cases.active().in_split(split=split)
    needy = cases.exclude(conversation={})
    if not benchmark.scored_outside:
        needy |= cases.filter(expectations__has_key=RUBRIC)
    if number := needy.count():
        raise ExternalRunError(
            f"{counted(number, f'active {split} case')} of {benchmark} have a user who answers back, or a rubric: that is "
            "done here while they are played. Choose another runner, or a benchmark without them."
        )


@transaction.atomic
def begin_run(proposal: Proposal, *, by: Actor = MACHINE, reason: str = "", runner: str = "") -> Run:
    """Take the agent's validation slot and freeze the verify cases; the caller enqueues the playing.

    A held proposal takes the next look of the same plan.
    """
    agent = proposal.agent
    benchmark = active_benchmark(agent)
    policy = gate_policy_of(agent)
    player = runner_for_run(agent, runner)
    if player == Run.Runner.EXTERNAL:
        refuse_playing_elsewhere(benchmark, Case.Split.VERIFY)
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
            runner=player, **run_judge(benchmark),
        )  # fmt: skip
        run.save(force_insert=True)
        record(
            "run.create", run, digest=run.candidate.digest, team_id=agent.team_id, facts={"proposal": str(proposal.pk)}
        )
    freeze_cases(run, benchmark.cases.active().in_split(split="verify"), targets_of(proposal))
    return run


def freeze_cases(run: Run, cases: Any, targets: frozenset[str] | None) -> int:
    """Copy the cases into the run, so that a later edit of a case changes nothing that was judged.

    Those of the intents `targets` are the target's; `None` makes every case one.
    """
    already = set(run.run_cases.values_list("case_id", flat=True))
    stable = curated(run.baseline.digest, run.benchmark)
    rows = [
        RunCase(
            run=run,
            case=case,
            split=case.split,
            intent_slug=case.intent.slug if case.intent else "",
            is_target=targets is None or bool(case.intent and case.intent.slug in targets),
            is_protected=case.pk in stable,
            messages=case.messages,
            user_state=case.user_state,
            conversation=case.conversation,
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
    """Freeze fresh hold-out cases of the target: as many clusters as verify has, none of them seen by a relative.

    Each call is one look at the hold-out; the policy's budget of looks is enforced here. Where too few clusters are
    fresh to decide anything, nothing is played and no look is spent.
    """
    assert run.proposal is not None  # only runs of proposals look at the hold-out
    benchmark = Benchmark.objects.locked().get(pk=run.benchmark_id)
    if benchmark.holdout_looks >= policy.holdout_look_budget:
        raise HoldoutSpentError(
            f"The hold-out of {benchmark} was looked at {benchmark.holdout_looks} times, as often as the policy allows. "
            "Rotate at least 30 % of its cases."
        )
    targets = targets_of(run.proposal)
    advisory = advisory_cases(benchmark, policy)
    own = [row for row in run.run_cases.all() if row.split == "verify" and (row.is_target or not targets)]
    wanted = len({row.cluster for row in own if row.case_id not in advisory})
    needed = max(policy.holdout_min_clusters, math.ceil(policy.holdout_share_of_verify * wanted))
    fresh = benchmark.cases.active().in_split(split="holdout").exclude(cluster__in=_seen_clusters(run))
    fresh = fresh.exclude(pk__in=advisory)
    if targets:
        fresh = fresh.filter(intent__slug__in=targets)
    clusters = list(dict.fromkeys(fresh.order_by("pk").values_list("cluster", flat=True)))[:wanted]
    if len(clusters) < needed:
        raise HoldoutSpentError(
            f"{len(clusters)} target clusters of the hold-out of {benchmark} are fresh, {needed} are needed: this change, "
            "its retries or others of its layer used the rest. Add hold-out cases, or rotate."
        )
    frozen = freeze_cases(run, fresh.filter(cluster__in=clusters), targets)
    with acting(MACHINE, reason=f"look at the hold-out for {run.proposal}"):
        benchmark.holdout_looks += 1
        benchmark.save(update_fields=["holdout_looks"])
        record(
            "benchmark.holdout_look", benchmark, team_id=run.agent.team_id, facts={"run": str(run.pk), "cases": frozen}
        )
    return frozen


def holdout_is_fresh(run: Run) -> bool:
    """Return whether nothing of the run's hold-out was seen before it by a relative."""
    own = run.run_cases.filter(split="holdout").values_list("cluster", flat=True)
    return _seen_clusters(run).isdisjoint(own)


def _seen_clusters(run: Run) -> set[str]:
    """Return the hold-out clusters already played for a change of this one's family or layer.

    A case of the hold-out is played only for the intents a change is for, so what another change of the layer has seen
    of these intents counts as seen: else the same change, withdrawn and written anew, would find it fresh.
    """
    assert run.proposal is not None  # as above
    rows = RunCase.objects.filter(split="holdout", run__agent=run.agent, run__pk__lt=run.pk)
    related = Q(run__proposal__layer=run.proposal.layer) | Q(run__proposal__in=family(run.proposal))
    return set(rows.filter(related).values_list("cluster", flat=True))
