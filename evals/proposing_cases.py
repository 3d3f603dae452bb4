"""Ask for draft cases: to start a benchmark from what was lived, or to fill a gap of it."""

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.record import record
from episodes.models import Episode, Intent
from evals.benchmarks import bound_benchmark, create_benchmark
from evals.coverage import coverage_of
from evals.drafting_jobs import draft_round
from evals.exceptions import BenchmarkMissingError, TooFewEpisodesError
from evals.freezing import gate_policy_of
from evals.models import Benchmark, DraftRound
from harness.models import Agent
from jobs.tasks import enqueue

__all__ = ["DEFAULT_NUMBER", "MAX_NUMBER", "MIN_EPISODES", "MIN_NUMBER", "fill_gap", "propose_benchmark"]

MIN_EPISODES = 200
MIN_NUMBER, DEFAULT_NUMBER, MAX_NUMBER = 100, 120, 500


@transaction.atomic
def propose_benchmark(agent: Agent, *, by: Actor, number: int = DEFAULT_NUMBER) -> DraftRound:
    """Ask for draft cases until the agent's benchmark has `number`, making the benchmark where it has none.

    The drafts come from captured episodes, in proportion to traffic. Asking again while a round is under way returns
    that round; asking after it proposes only what is missing. Raises `TooFewEpisodesError` below `MIN_EPISODES`.
    """
    require(by, Permission.EDIT_BENCHMARK, agent.access_scope(), act=f"start a benchmark of {agent.slug!r}")
    if not MIN_NUMBER <= number <= MAX_NUMBER:
        raise DomainError(f"{number} cases cannot be proposed: ask for {MIN_NUMBER} to {MAX_NUMBER}.")
    captured = len(Episode.objects.filter(agent=agent).order_by()[:MIN_EPISODES].values_list("pk"))
    if captured < MIN_EPISODES:
        missing = MIN_EPISODES - captured
        raise TooFewEpisodesError(
            f"A benchmark of {agent.slug!r} cannot be started yet: {captured} of {MIN_EPISODES} episodes are captured, "
            f"{missing} more {'is' if missing == 1 else 'are'} needed. Let it report episodes, or import some."
        )
    return _ask(_benchmark_for(agent, by), by=by, number=number)


@transaction.atomic
def fill_gap(benchmark: Benchmark, intent: Intent | None, *, by: Actor) -> DraftRound:
    """Ask for draft cases of one intent (`None`: of traffic that no intent takes) from its captured conversations.

    As many as a change for it needs until a gate can decide, drafts that wait counted in.
    """
    agent = benchmark.agent
    require(by, Permission.EDIT_BENCHMARK, agent.access_scope(), act=f"propose cases for {benchmark}")
    if intent is not None and intent.agent_id != agent.pk:
        raise DomainError(f"Intent {intent.name!r} belongs to another agent; name one of {agent.slug!r}.")
    return _ask(benchmark, by=by, number=_missing_of(benchmark, intent), intent=intent, is_of_no_intent=intent is None)


def _benchmark_for(agent: Agent, by: Actor) -> Benchmark:
    """Return the benchmark that judges the agent; make it, by the name the policy binds, where there is none."""
    try:
        found = bound_benchmark(agent)
    except BenchmarkMissingError:
        found = None
    if found is not None:
        return found
    taken = set(Benchmark.objects.filter(agent=agent).values_list("name", flat=True))
    fallback = next(name for name in ("Exam", *(f"Exam {n}" for n in range(2, len(taken) + 3))) if name not in taken)
    name = agent.current_policy().benchmark or fallback
    return create_benchmark(agent, name=name, description="Drafted from captured episodes.", by=by)


def _missing_of(benchmark: Benchmark, intent: Intent | None) -> int:
    """Return how many cases an intent lacks, by the policy: verify and hold-out clusters of a target, or coverage."""
    policy = gate_policy_of(benchmark.agent)
    slug = intent.slug if intent is not None else ""
    own = next((one for one in coverage_of(benchmark).intents if one.slug == slug), None)
    waiting = sum(own.drafts.values()) if own is not None else 0
    verify = max(0, policy.target_min_clusters - (own.verify_clusters if own else 0))
    holdout = max(0, policy.holdout_min_clusters - (own.holdout_fresh if own else 0))
    wanted = verify + holdout if intent is not None else policy.coverage_min_cases * 2
    if wanted <= waiting:
        raise DomainError(
            f"{waiting} drafts of {intent.name if intent else 'no intent'!r} wait for review already, which is what is "
            "missing: review them first."
        )
    return wanted - waiting


def _ask(
    benchmark: Benchmark, *, by: Actor, number: int, intent: Intent | None = None, is_of_no_intent: bool = False
) -> DraftRound:
    locked = Benchmark.objects.locked().get(pk=benchmark.pk)
    with acting(by):
        under_way = locked.draft_rounds.unfinished().first()
        if under_way is None:
            under_way = DraftRound.objects.create(
                benchmark=locked, intent=intent, is_of_no_intent=is_of_no_intent, number=number, asked_by_id=by.user_id,
                asked_by_name=by.name[:200],
            )  # fmt: skip
            facts = {"number": number, "intent": intent.slug if intent else ""}
            record("benchmark.propose_cases", locked, team_id=locked.agent.team_id, facts=facts)
        # Rung again where a worker was lost; a task that still waits is not doubled.
        enqueue(draft_round, str(under_way.pk), key=str(under_way.pk))
    return under_way  # type: ignore[no-any-return]  # the queryset is generic over Any
