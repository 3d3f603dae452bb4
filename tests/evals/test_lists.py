"""A list costs as many queries with many rows as with one, and what the policy says reaches the gate."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.acting import MACHINE, acting
from episodes.models import Conversation, Intent
from evals.freezing import gate_policy_of
from evals.models import Benchmark, Case, Result, Run, RunCase
from evals.verdicts import traffic_of
from harness.models import put_in_force
from tests.console.world import build_world, make_proposal


@pytest.fixture
def world(agent, cast):
    return build_world(agent, cast.second_engineer)


def add_more(world, agent, number=3):
    """Add rows of every list, each with children of its own."""
    run = Run.objects.get(pk=world.run.pk)
    with acting(MACHINE, reason="more"):
        for n in range(number):
            made = Benchmark(agent=agent, name=f"more {n}", is_active=False)
            made.save()
            case = Case(benchmark=made, name="c", kind="edge", split="dev", intent=world.intent, cluster="c", messages=[],
                        expectations={"contains": ["x"]})  # fmt: skip
            case.save()
            make_proposal(agent, world.episode, title=f"more {n}")
            other = Run(
                agent=agent, benchmark=made, proposal=run.proposal, baseline=run.baseline, candidate=run.candidate
            )
            other.save()
            row = RunCase.objects.create(
                run=other, case=case, split="dev", messages=[], expectations={}, weight=1, cluster="c", kind="edge"
            )
            for on, of in ((other, row), (run, run.run_cases.all()[0])):
                Result.objects.create(
                    run=on, run_case=of, arm="baseline", trial=n + 1, harness_digest="0" * 64, score=0, passed=False
                )


@pytest.mark.parametrize("path", ["benchmarks", "cases", "runs", "proposals", "runs/{run}/results"])
def test_list__more_rows__costs_no_more_queries(world, agent, api, cast, path):
    client, address = api(cast.engineer), f"/api/v1/{path.format(run=world.run.pk)}"
    client.get(address)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            rows = client.get(address).json()["results"]
        counts.append((len(rows), len(queries)))
        add_more(world, agent) if len(counts) == 1 else None

    assert counts[1][0] > counts[0][0]
    assert counts[1][1] == counts[0][1] <= 10


def test_benchmarks_and_runs__counts__are_those_of_the_rows(world, agent, api, cast):
    add_more(world, agent)

    benchmarks = api(cast.engineer).get("/api/v1/benchmarks").json()["results"]
    run = api(cast.engineer).get(f"/api/v1/runs/{world.run.pk}").json()

    assert {row["name"]: row["cases"] for row in benchmarks}[f"Exam of {agent.slug}"] == {"verify active": 1}
    assert {row["name"]: row["cases"] for row in benchmarks}["more 0"] == {"dev draft": 1}
    assert run["num_done"] == 5


def test_gate_policy__effect_limits__have_one_source(agent, cast):
    put_in_force(
        agent, "policy",
        {"effect_limits": {"person_at": 0.03, "two_people_at": 0.04}, "gate": {"profile": "small", "effect_person": 0.5}},
        by=MACHINE, reason="careful",
    )  # fmt: skip

    policy = gate_policy_of(agent)

    assert (policy.effect_person, policy.effect_two_people) == (0.03, 0.04)
    assert policy.protected_margin == 0.10


def test_traffic__conversations_of_no_intent__are_a_share_of_all(agent):
    with acting(MACHINE, reason="set up"):
        states = {state: Intent.objects.create(agent=agent, slug=state, name=state, state=state)
                  for state in ("live", "emerging", "retired")}  # fmt: skip
    now = timezone.now()
    intents = [states["live"]] * 5 + [states["emerging"]] * 2 + [states["retired"]] + [None] * 2
    Conversation.objects.bulk_create(
        Conversation(agent=agent, external_id=str(n), subject="s", split="dev", started_at=now, last_at=now, intent=one)
        for n, one in enumerate(intents)
    )

    shares = {(row.intent, row.state): row.share for row in traffic_of(agent, [])}

    assert shares == {("live", "live"): 0.5, ("emerging", "emerging"): 0.2, ("", "unassigned"): 0.3}
