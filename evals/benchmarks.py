"""Adding cases to a benchmark and putting them in use."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.record import record
from episodes.models import Intent
from evals.conversing.reading import validate_conversation
from evals.exceptions import BenchmarkMissingError
from evals.judges.noting import note_rubrics
from evals.models import Benchmark, Case
from evals.scoring import validate_expectations
from harness.canonical import clean_json
from harness.models import Agent

__all__ = ["activate_drafts", "add_cases", "bound_benchmark", "create_benchmark"]


def bound_benchmark(agent: Agent) -> Benchmark | None:
    """Return what judges the agent's proposals: what its policy binds by name, else its active benchmark.

    The binding moves with the policy, by two people; a name without a benchmark is refused.
    """
    name = agent.current_policy().benchmark
    if name is None:
        return Benchmark.objects.filter(agent=agent).active().first()
    benchmark = Benchmark.objects.filter(agent=agent, name=name).first()
    if benchmark is None:
        raise BenchmarkMissingError(
            f"The policy of agent {agent.slug!r} binds the benchmark {name!r}, and there is none of that name: make it, "
            "or change the policy."
        )
    return benchmark  # type: ignore[no-any-return]  # as above


@transaction.atomic
def create_benchmark(
    agent: Agent, *, name: str, description: str, by: Actor, scored_outside: bool = False
) -> Benchmark:
    """Make a benchmark; it becomes the agent's active one when there is none."""
    require(by, Permission.EDIT_BENCHMARK, agent.access_scope(), act=f"add a benchmark to {agent.slug!r}")
    is_first = not Benchmark.objects.filter(agent=agent).active().exists()
    with acting(by, reason=f"benchmark {name}"):
        benchmark = Benchmark(
            agent=agent, name=name, description=description, is_active=is_first, scored_outside=scored_outside
        )
        benchmark.save(force_insert=True)
        record("benchmark.create", benchmark, team_id=agent.team_id)
    return benchmark


@transaction.atomic
def add_cases(benchmark: Benchmark, items: Iterable[Mapping[str, Any]], *, by: Actor) -> list[Case]:
    """Add cases as drafts; intents are named by slug and must exist. All or none are added."""
    require(by, Permission.EDIT_BENCHMARK, benchmark.agent.access_scope(), act=f"add cases to {benchmark}")
    intents = {intent.slug: intent for intent in Intent.objects.filter(agent_id=benchmark.agent_id).current()}
    cases = []
    with acting(by, reason=f"cases for {benchmark}"):
        for index, item in enumerate(items):
            slug = item.get("intent")
            if slug and slug not in intents:
                raise DomainError(f"Case {index}: there is no intent {slug!r}; define it first.")
            if item["expectations"] or not benchmark.scored_outside:
                validate_expectations(item["expectations"])
            validate_conversation(item.get("conversation") or {}, item["messages"])
            case = Case(
                benchmark=benchmark, name=item["name"], kind=item["kind"], split=item["split"],
                intent=intents.get(slug) if slug else None, cluster=item.get("cluster") or item["name"],
                weight=item.get("weight", 1.0), source=item.get("source", ""), messages=clean_json(item["messages"]),
                user_state=clean_json(item.get("user_state", {})), expectations=clean_json(item["expectations"]),
                conversation=clean_json(item.get("conversation") or {}), author_id=by.user_id,
            )  # fmt: skip
            case.save(force_insert=True)
            cases.append(case)
        note_rubrics(benchmark.agent, [case.expectations for case in cases])
        record("benchmark.add_cases", benchmark, team_id=benchmark.agent.team_id, facts={"cases": len(cases)})
    return cases


def activate_drafts(benchmark: Benchmark, *, by: Actor, reason: str) -> int:
    """Activate every draft case of the benchmark, one by one; return how many."""
    drafts = list(benchmark.cases.filter(status=Case.Status.DRAFT).order_by("pk"))
    for case in drafts:
        case.activate(by=by, reason=reason)
    return len(drafts)
