"""Compare any two versions of an agent on one of its benchmarks, on request: the verdict is shown and changes nothing."""

import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError
from audit.record import record
from episodes.models import Intent
from evals.exceptions import BenchmarkMissingError, ComparisonError, OwnChangeError
from evals.freezing import freeze_cases, gate_policy_of, refuse_playing_elsewhere, runner_for_run
from evals.gate.policy import GatePolicy
from evals.judges.appointing import run_judge
from evals.models import Benchmark, Case, Matrix, Run
from evals.playing import curate_benchmark
from evals.runners import Runner
from harness.models import Agent, HarnessVersion
from proposals.models import Proposal

__all__ = ["MAX_TRIALS", "begin_comparison", "prepare", "refuse_comparing", "version_named"]

MAX_TRIALS = 10
# Nobody confirms or releases what decides nothing; both are shown, and both are named as overrides.
_UNDECIDED = ("holdout", "leakage")
_RUNNERS = (Run.Runner.HTTP, Run.Runner.EXTERNAL)


def version_named(agent: Agent, name: str | int) -> HarnessVersion:
    """Return the agent's version of this number, or of this digest (its first 8 characters or more)."""
    text = str(name).strip().removeprefix("v")
    rows = HarnessVersion.objects.filter(agent=agent)
    if text.isdecimal() and len(text) < 8:  # digests are never that short
        found = list(rows.filter(number=int(text)))
    else:
        found = list(rows.filter(digest__startswith=text.lower())[:2]) if len(text) >= 8 else []
    if len(found) != 1:
        raise ComparisonError(
            f"Agent {agent.slug!r} has no version {str(name)[:80]!r}; give its number, or 8 characters of its digest."
        )
    return found[0]  # type: ignore[no-any-return]  # the queryset is generic over Any


def refuse_comparing(benchmark: Benchmark, versions: Collection[HarnessVersion], split: str, *, by: Actor) -> None:
    """Raise where `by` may not have these versions played on these cases.

    On the exam that is whoever has an open proposal, and every version that an open proposal waits to be judged by: an
    author who may play the exam at will sits it until it looks well. Development cases are everybody's.
    """
    agent = benchmark.agent
    require(by, Permission.START_RUN, agent.access_scope(), act=f"compare versions of {agent.slug!r}")
    if strangers := [version for version in versions if version.agent_id != benchmark.agent_id]:
        raise ComparisonError(f"{strangers[0]} is no version of {agent.slug!r}, whose examples {benchmark} holds.")
    if split not in (Case.Split.DEV, Case.Split.VERIFY):
        raise ComparisonError("A comparison plays 'dev' or 'verify' cases: the hold-out is kept for winners.")
    if not benchmark.cases.active().in_split(split=split).exists():
        raise BenchmarkMissingError(f"{benchmark} has no active {split} cases: add some and activate them.")
    if split == Case.Split.DEV:
        return
    benchmark.refuse_examinees(by, "play its exam on request; compare on development cases (split 'dev')")
    digests = [version.digest for version in versions]
    waiting = Proposal.objects.pending().filter(agent=agent, candidate_digest__in=digests).first()
    if waiting is not None:
        raise OwnChangeError(
            f"{waiting} waits to be judged by the exam with exactly this candidate: its validation is its look. Compare "
            "on development cases (split 'dev')."
        )


@transaction.atomic
def begin_comparison(
    baseline: HarnessVersion, candidate: HarnessVersion, benchmark: Benchmark, *, by: Actor, reason: str,
    split: str = Case.Split.VERIFY, targets: Collection[str] = (), trials: int | None = None,
    runner: str = Run.Runner.HTTP, matrix: Matrix | None = None,
) -> Run:  # fmt: skip
    """Write the run of a comparison down; the caller sees to its playing. No look at the hold-out is ever spent.

    `targets` names the intents that are asked about; none asks about all. Equal versions measure the noise (A/A).
    """
    refuse_comparing(benchmark, (baseline, candidate), split, by=by)
    agent = benchmark.agent
    if not reason.strip():
        raise ReasonMissingError(f"Say why you compare {candidate} with {baseline}: the record needs it.")
    if runner not in _RUNNERS:
        raise ComparisonError(f"A comparison is played by one of {[one.value for one in _RUNNERS]}, not by {runner!r}.")
    policy, player = _policy_of(agent, trials), runner_for_run(agent, runner)
    if player == Run.Runner.EXTERNAL:
        refuse_playing_elsewhere(benchmark, split)
    with acting(by, reason=reason):
        run = Run(
            agent=agent, benchmark=benchmark, baseline=baseline, candidate=candidate, policy=agent.policy,
            gate_policy=policy.as_mapping(), trials=policy.trials, seed=uuid.uuid4().int % 2**31, runner=player,
            split=split, targets=_known_targets(agent, targets), matrix=matrix, **run_judge(benchmark),
        )  # fmt: skip
        run.save(force_insert=True)
        facts = {"baseline": baseline.digest, "split": split, "runner": player}
        record("run.compare", run, digest=candidate.digest, team_id=agent.team_id, facts=facts)
    if run.is_external:
        freeze(run)
    return run


def _policy_of(agent: Agent, trials: int | None) -> GatePolicy:
    """Return the agent's own numbers for one look in full, with what decides nothing here made advisory."""
    policy = gate_policy_of(agent)
    wanted = policy.trials if trials is None else trials
    if not 1 <= wanted <= MAX_TRIALS:
        raise ComparisonError(f"A comparison has 1 to {MAX_TRIALS} trials, not {wanted}.")
    advisory = tuple(dict.fromkeys((*policy.advisory, *_UNDECIDED)))
    return replace(policy, mode="fixed", trials=wanted, advisory=advisory)


def _known_targets(agent: Agent, targets: Collection[str]) -> list[str]:
    known = set(Intent.objects.filter(agent=agent).current().values_list("slug", flat=True))
    if unknown := sorted(set(targets) - known):
        raise ComparisonError(f"Agent {agent.slug!r} has no intent {unknown[0]!r}; it has {sorted(known)[:20]}.")
    return sorted(set(targets))


def prepare(run: Run, runner: Runner) -> None:
    """Curate the baseline and freeze the cases of a comparison that has none yet; a repeat finds them there."""
    if run.is_comparison and not run.run_cases.exists():
        curate_benchmark(run.baseline, run.benchmark, runner, split=run.split)
        freeze(run)


@transaction.atomic
def freeze(run: Run) -> None:
    """Freeze the cases a comparison asks about, with what is protected by the curation there is."""
    cases: Any = run.benchmark.cases.active().in_split(split=run.split)
    freeze_cases(run, cases, frozenset(run.targets) if run.targets else None)
