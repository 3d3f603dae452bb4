"""A change that mends what is often asked and breaks what is rarely asked: failed where the exam covers it, held where not."""

import pytest
from django.utils import timezone

from episodes.models import Conversation, Intent
from evals.benchmarks import activate_drafts, add_cases
from evals.jobs import play_run, validate_next_of
from evals.models import Case
from evals.starting import validate_now
from harness.models import Agent
from tests.conftest import make_cast
from tests.evals.endpoint import endpoint as serve_endpoint
from tests.evals.runs.conftest import curate, items, make_benchmark, make_taught

OFTEN, RARELY = "unknown", "topicj"
# Of a hundred conversations. One in fifteen is about what the change will break.
TRAFFIC = {OFTEN: 33, RARELY: 7, **{f"topic{letter}": 6 for letter in "abcdefghi"}}


@pytest.fixture(scope="module")
def shop(lasting):
    """An agent with traffic and a curated exam that holds five cases of what is rarely asked; one for both stories."""
    people = make_cast()
    with serve_endpoint() as server:
        agent = make_taught(people, server.url)
        examiner = people.approver.as_actor()
        exam = make_benchmark(agent, people)
        add_cases(
            exam, [{**item, "name": f"more {item['name']}"} for item in items("topica", 10, "verify")], by=examiner
        )
        activate_drafts(exam, by=examiner, reason="reviewed")
        for case in exam.cases.filter(intent__slug=RARELY).order_by("pk")[5:]:
            case.retire(by=examiner, reason="few of these are known")
        curate(agent, exam)
        now = timezone.now()
        intents = {intent.slug: intent for intent in Intent.objects.filter(agent=agent)}
        Conversation.objects.bulk_create(
            Conversation(
                agent=agent, external_id=f"{slug}-{n}", subject=f"{slug}-{n}", split="dev", started_at=now, last_at=now,
                intent=intents[slug],
            )
            for slug, number in TRAFFIC.items()
            for n in range(number)
        )  # fmt: skip
        yield people, agent, exam


@pytest.fixture
def cast(shop, db):
    return shop[0]


@pytest.fixture
def taught(shop, db):
    return Agent.objects.get(pk=shop[1].pk)


@pytest.fixture
def forgetful(submit):
    """A document that answers what was unknown, and what is rarely asked too, wrongly."""
    return submit(tags=(OFTEN, RARELY), name="aaa")


def judged(proposal):
    run = proposal.runs.order_by("-id")[0]
    play_run(str(run.pk))
    run.refresh_from_db()
    proposal.refresh_from_db()
    return run, {gate["name"]: gate for gate in run.reading["gates"]}


def test_forgetting__what_breaks_is_covered__is_failed(shop, taught, forgetful):
    validate_next_of(str(taught.pk))

    run, gates = judged(forgetful)

    refused = {name for name, gate in gates.items() if gate["verdict"] == "fail"}
    assert gates["target"]["verdict"] == "pass"
    assert refused <= {"slices", "protected"}
    assert "slices" in refused
    assert RARELY in gates["slices"]["numbers"]["broken"]
    assert gates["coverage"]["verdict"] == "pass"
    assert (run.verdict, forgetful.status) == ("fail", "failed")
    assert not run.run_cases.filter(split="holdout").exists()


def test_forgetting__what_breaks_is_not_covered__is_held_until_it_is_and_then_failed(shop, taught, forgetful, cast):
    exam, examiner = shop[2], cast.approver.as_actor()
    for case in Case.objects.filter(benchmark=exam, intent__slug=RARELY).active():
        case.retire(by=examiner, reason="nobody remembers what these were for")
    validate_next_of(str(taught.pk))

    run, gates = judged(forgetful)

    assert {name for name, gate in gates.items() if gate["verdict"] == "fail"} == set()
    assert gates["coverage"]["verdict"] == "hold"
    assert gates["coverage"]["numbers"]["cases_missing"] == {RARELY: 5}
    assert f"{RARELY!r} needs 5 more cases" in gates["coverage"]["sentence"]
    assert (run.verdict, forgetful.status) == ("hold", "held")

    fresh = [{**item, "name": f"again {item['name']}"} for item in items(RARELY, 5, "verify")]
    add_cases(exam, fresh, by=examiner)
    activate_drafts(exam, by=examiner, reason="the gate asked for them")
    validate_now(forgetful, by=cast.second_engineer.as_actor(), reason="its cases are there now")
    run, gates = judged(forgetful)

    assert RARELY in gates["slices"]["numbers"]["broken"]
    assert (run.verdict, forgetful.status) == ("fail", "failed")
