"""A benchmark of an agent that knows some answers and lacks one."""

import copy
from types import SimpleNamespace

import pytest

from accounts.acting import MACHINE, acting
from episodes.models import Conversation, Episode, Intent
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.models import Benchmark
from evals.playing import curate_benchmark
from evals.runners import HttpRunner
from harness.models import Agent, Change, HarnessVersion
from harness.policy import demo_policy
from proposals.drafting import Quote, Sketch, draft
from tests.conftest import make_agent, make_cast
from tests.evals.endpoint import endpoint as serve_endpoint

KNOWN = [f"topic{letter}" for letter in "abcdefghij"]
DOCUMENTS = {
    name: {"title": name, "text": f"The answer about {name}.", "tags": [name], "position": 1} for name in KNOWN
}


@pytest.fixture(scope="module")
def school(lasting):
    """One for all tests of a module: the cast, the agent taught and the server it answers at."""
    cast = make_cast()
    with serve_endpoint() as server:
        yield SimpleNamespace(cast=cast, agent=make_taught(cast, server.url), server=server)


@pytest.fixture(scope="module")
def examined(school):
    return make_benchmark(school.agent, school.cast)


@pytest.fixture(scope="module")
def curated(school, examined):
    curate(school.agent, examined)
    return examined


@pytest.fixture
def cast(school, db):
    return copy.deepcopy(school.cast)


@pytest.fixture
def taught(school, endpoint, db):
    return Agent.objects.get(pk=school.agent.pk)


@pytest.fixture
def endpoint(school):
    school.server.asked.clear()
    school.server.outages, school.server.delay_s, school.server.deaf, school.server.fingerprint = 0, 0.0, {}, ""
    return school.server


@pytest.fixture
def benchmark(examined, taught):
    return Benchmark.objects.get(pk=examined.pk)


@pytest.fixture
def curated_benchmark(curated, taught):
    return Benchmark.objects.get(pk=curated.pk)


def make_taught(cast, url):
    """An agent with an endpoint, ten known topics and an unknown one; the demo's sample sizes, put in force by two people."""
    agent = make_agent(cast.team, cast.administrator, "shop-desk")
    change = Change.propose(
        agent=agent, kind="policy", document=demo_policy(), rationale="small samples", by=cast.engineer.as_actor()
    )
    change.approve(by=cast.approver.as_actor(), reason="fine")
    agent.refresh_from_db()
    document = {
        **agent.stable.document,
        "context": {"documents": DOCUMENTS, "retrieval": {"top_k": 3, "min_score": 0.3}},
    }
    version = HarnessVersion.create(agent=agent, document=document, parent=agent.stable, by=MACHINE, note="taught")
    agent.set_stable(version, expected=agent.stable, by=MACHINE, reason="taught")
    with acting(MACHINE, reason="set up"):
        agent.endpoint = url
        agent.save()
        for name in [*KNOWN, "unknown"]:
            Intent.objects.create(agent=agent, slug=name, name=name, state="live")
    return agent


def items(name, number, split, answer=None):
    return [
        {
            "name": f"{name}-{split}-{n}", "kind": "success", "split": split, "intent": name,
            "messages": [{"role": "user", "content": f"Tell me about {name}, way {n}."}],
            "expectations": {"contains": [answer or f"The answer about {name}."]},
        }
        for n in range(number)
    ]  # fmt: skip


def make_benchmark(taught, cast):
    """A benchmark over all of the agent's topics."""
    examiner = cast.approver.as_actor()
    made = create_benchmark(taught, name="exam", description="", by=examiner)
    rows = [row for name in KNOWN for row in items(name, 11, "verify")]
    rows += items("unknown", 14, "verify") + items("unknown", 14, "holdout")
    add_cases(made, rows, by=examiner)
    activate_drafts(made, by=examiner, reason="reviewed")
    return made


def curate(taught, benchmark):
    with HttpRunner(taught.endpoint) as runner:
        curate_benchmark(taught.stable, benchmark, runner)


def smaller(run, *, unstable=14, stable=6):
    """Leave a queued run so many cases nobody can answer and so many protected ones, where the verdict is no matter."""
    unknown, known = run.run_cases.filter(intent_slug="unknown"), run.run_cases.exclude(intent_slug="unknown")
    for rows, number in ((unknown, unstable), (known, stable)):
        rows.exclude(pk__in=list(rows.order_by("case_id").values_list("pk", flat=True)[:number])).delete()
    known.update(is_protected=True)
    num_planned = run.run_cases.count() * run.trials * 2
    type(run)._base_manager.filter(pk=run.pk).update(num_planned=num_planned)
    run.refresh_from_db()
    return run


@pytest.fixture
def episode(taught, cast):
    from django.utils import timezone

    now = timezone.now()
    conversation = Conversation.objects.create(
        agent=taught, external_id="c1", subject="u1", split="dev", started_at=now, last_at=now,
        intent=Intent.objects.get(agent=taught, slug="unknown"),
    )  # fmt: skip
    return Episode.objects.create(
        agent=taught, conversation=conversation, external_id="e1", started_at=now, body_digest="0" * 64,
        input={"messages": [{"role": "user", "content": "the unknown thing"}]}, output={"text": "I cannot help."},
    )  # fmt: skip


@pytest.fixture
def submit(taught, episode, cast):
    """Submit a person's document on `unknown`."""

    def make(text="The answer about unknown.", *, tags=("unknown",), name="unknown", **changes):
        value = {"title": name, "text": text, "tags": list(tags), "position": 2}
        fields = {
            "title": f"Document {name}", "claim": "fixes", "rationale": "nobody knows",
            "patch": [{"op": "add", "path": f"/context/documents/{name}", "value": value}],
            "evidence": [Quote(episode)], "target_intents": ["unknown"], "predicted_effect": {"gain": 0.8},
        }  # fmt: skip
        proposal = draft(taught, Sketch(**{**fields, **changes}), by=cast.engineer.as_actor())
        proposal.submit(by=cast.engineer.as_actor(), reason="ready")
        return proposal

    return make
