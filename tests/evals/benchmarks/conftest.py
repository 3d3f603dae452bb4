"""One past for all tests of a module, with the drafts made of it."""

import copy

import pytest

from evals.drafting_jobs import draft_round
from evals.models import Benchmark
from evals.proposing_cases import propose_benchmark
from harness.models import Agent
from tests.conftest import make_agent
from tests.evals.benchmarks.world import make_lived


@pytest.fixture(scope="module")
def past(lasting):
    return make_lived()


@pytest.fixture(scope="module")
def drafted(past):
    """The round that drafted the benchmark."""
    asked = propose_benchmark(past.agent, by=past.cast.engineer.as_actor())
    draft_round(str(asked.pk))
    asked.refresh_from_db()
    return asked


@pytest.fixture
def cast(past, db):
    return copy.deepcopy(past.cast)


@pytest.fixture
def lived(past, db):
    """The agent with its past."""
    return Agent.objects.get(pk=past.agent.pk)


@pytest.fixture
def benchmark(drafted, lived):
    return Benchmark.objects.get(pk=drafted.benchmark_id)


@pytest.fixture
def other_agent_of():
    """An agent of the cast's team that has lived nothing yet."""
    return lambda cast: make_agent(cast.team, cast.administrator, "young-desk")
