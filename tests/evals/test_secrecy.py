"""Who corrects or drafts reads no exam; who reads or writes it is known, and moves nothing that judges their own."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.roles import Role
from audit.models import Event
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.exceptions import BenchmarkMissingError, OwnChangeError
from evals.freezing import active_benchmark
from evals.models import Benchmark, Case, Result, RunCase
from evals.verdicts import readings_of
from harness.models import put_in_force
from tests.console.world import build_world

QUESTION, ANSWER = "Is there a student discount?", "ten percent with a card"
ITEM = {"kind": "edge", "messages": [{"role": "user", "content": QUESTION}], "expectations": {"contains": [ANSWER]}}


def items(*names):
    return [ITEM | {"name": name, "split": name.partition("-")[0]} for name in names]


@pytest.fixture
def exam(agent, cast):
    """Four active cases, written by the approver."""
    examiner = cast.approver.as_actor()
    made = create_benchmark(agent, name="exam", description="", by=examiner)
    add_cases(made, items("dev-1", "verify-1", "verify-2", "holdout-1"), by=examiner)
    activate_drafts(made, by=examiner, reason="reviewed")
    return made


@pytest.fixture
def world(agent, cast):
    """A judged run of the second engineer's proposal, whose frozen case and results say something."""
    built = build_world(agent, cast.second_engineer)
    case = Case.objects.get(benchmark__agent=agent)
    row = RunCase.objects.create(
        run=built.run, case=add_cases(case.benchmark, items("verify-x"), by=cast.approver.as_actor())[0],
        split="verify", messages=ITEM["messages"], expectations=ITEM["expectations"], weight=1, cluster="x", kind="edge",
    )  # fmt: skip
    Result.objects.create(
        run=built.run, run_case=row, arm="candidate", trial=0, harness_digest="0" * 64, score=0, passed=False,
        rationale=f"lacks {ANSWER}", output={"text": QUESTION},
    )  # fmt: skip
    return built


def texts(rows):
    return {row["name"]: row["messages"] for row in rows}


def readings():
    return Event.objects.filter(action="benchmark.read_exam")


@pytest.mark.parametrize("role", ["support", "engineer", "on_call", "release_manager", "administrator"])
def test_cases__role_that_does_not_judge__gets_no_text(exam, api, cast, role):
    answer = api(getattr(cast, role)).get("/api/v1/cases")

    rows = {row["name"]: row for row in answer.json()["results"]}
    assert rows["dev-1"]["messages"] == ITEM["messages"]
    for name in ("verify-1", "verify-2", "holdout-1"):
        assert (rows[name]["messages"], rows[name]["expectations"], rows[name]["is_concealed"]) == (None, None, True)
    assert not readings().exists()


@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_cases__role_that_judges__reads_and_is_recorded_once_a_day(exam, api, cast, role):
    person = getattr(cast, role)
    for _ in range(2):
        rows = api(person).get("/api/v1/cases", {"split": "holdout"}).json()["results"]
        api(person).get(f"/api/v1/cases/{rows[0]['id']}")

    assert texts(rows) == {"holdout-1": ITEM["messages"]}
    assert [(event.actor_user_id, event.team_id) for event in readings()] == [(person.pk, cast.team.pk)]


def test_cases__own_draft__is_shown_to_its_author_alone(exam, api, cast):
    add_cases(exam, items("verify-mine"), by=cast.engineer.as_actor())
    address = f"/api/v1/cases/{Case.objects.get(name='verify-mine').pk}"

    assert api(cast.engineer).get(address).json()["messages"] == ITEM["messages"]
    assert api(cast.second_engineer).get(address).json()["messages"] is None
    assert not readings().exists()


def test_results__of_a_run__show_numbers_to_all_and_text_to_examiners(world, api, cast):
    address = f"/api/v1/runs/{world.run.pk}/results"

    plain = api(cast.engineer).get(address)
    whole = api(cast.approver).get(address)

    assert ANSWER not in plain.content.decode()
    assert QUESTION not in plain.content.decode()
    assert {row["score"] for row in plain.json()["results"]} == {0, 1000}
    assert ANSWER in whole.content.decode()


@pytest.mark.parametrize("model", ["case", "runcase", "result"])
def test_admin__page_of_an_exam__is_without_text_for_who_drafts(world, cast, model):
    rows = {
        "case": Case.objects.filter(name="verify-x"),
        "runcase": RunCase.objects.filter(case__name="verify-x"),
        "result": Result.objects.filter(run_case__case__name="verify-x"),
    }
    row = rows[model].get()
    page = reverse(f"admin:evals_{model}_change", args=(row.pk,))
    history = reverse(f"admin:evals_{model}_history", args=(row.pk,))
    field = {"case": "expectations", "runcase": "expectations", "result": "rationale"}[model]
    probe = reverse(f"admin:evals_{model}_changelist") + f"?{field}__icontains=ten"
    engineer, approver = Client(), Client()
    engineer.force_login(cast.engineer)
    approver.force_login(cast.approver)

    assert ANSWER not in engineer.get(page).content.decode()
    assert ANSWER in approver.get(page).content.decode()
    assert engineer.get(history).status_code == 403
    assert engineer.get(probe).status_code in {302, 400}


def test_static__author_who_read_the_exam__is_found(world, api, cast):
    assert readings_of(world.run).static_findings == ()
    Membership.objects.create(user=cast.second_engineer, team=cast.team, role=Role.AUDITOR)
    api(cast.second_engineer).get("/api/v1/cases")

    [finding] = readings_of(world.run).static_findings

    assert "second_engineer has read" in finding


def test_static__author_who_wrote_the_exam__is_found(world, cast):
    case = Case.objects.get(name="one")
    case.author = cast.second_engineer
    case.save()

    [finding] = readings_of(world.run).static_findings

    assert "second_engineer wrote cases" in finding


def test_case__author_of_an_open_proposal__neither_activates_nor_retires(world, cast):
    engineer = cast.second_engineer.as_actor()
    active, draft = Case.objects.get(name="one"), Case.objects.get(name="verify-x")

    with pytest.raises(OwnChangeError, match="second person"):
        active.retire(by=engineer, reason="my change breaks it")
    with pytest.raises(OwnChangeError, match="second person"):
        activate_drafts(draft.benchmark, by=engineer, reason="mine")
    active.retire(by=cast.engineer.as_actor(), reason="it is wrong")

    assert active.status == "retired"


def test_admin__exam_in_use__is_not_edited_swapped_or_switched_off(exam, cast):
    engineer = Client()
    engineer.force_login(cast.engineer)
    case = exam.cases.get(name="verify-1")
    changed = {"name": "x", "kind": "edge", "cluster": "c", "weight": "1", "messages": "[]", "expectations": "{}"}

    refused = engineer.post(reverse("admin:evals_case_change", args=(case.pk,)), changed)
    engineer.post(reverse("admin:evals_benchmark_change", args=(exam.pk,)), {"name": "other", "description": "new"})

    exam.refresh_from_db()
    case.refresh_from_db()
    assert refused.status_code == 403
    assert case.expectations == ITEM["expectations"]
    assert (exam.name, exam.description, exam.is_active) == ("exam", "new", True)


def test_admin__own_draft__is_still_edited(exam, cast):
    add_cases(exam, items("verify-mine"), by=cast.engineer.as_actor())
    case = Case.objects.get(name="verify-mine")
    changed = {
        "name": "verify-mine", "kind": "edge", "cluster": "c", "weight": "1", "messages": '[{"role": "user"}]',
        "expectations": '{"contains": ["eleven"]}',
    }  # fmt: skip
    answers = {}
    for name in ("second_engineer", "engineer"):
        client = Client()
        client.force_login(getattr(cast, name))
        answers[name] = client.post(reverse("admin:evals_case_change", args=(case.pk,)), changed).status_code

    case.refresh_from_db()
    assert answers == {"second_engineer": 403, "engineer": 302}
    assert case.expectations == {"contains": ["eleven"]}


def test_active_benchmark__bound_by_the_policy__is_used_whatever_is_active(exam, agent, cast):
    official = create_benchmark(agent, name="official", description="", by=cast.approver.as_actor())
    add_cases(official, items("verify-9"), by=cast.approver.as_actor())
    activate_drafts(official, by=cast.approver.as_actor(), reason="reviewed")
    assert active_benchmark(agent) == exam

    put_in_force(agent, "policy", {"benchmark": "official"}, by=cast.approver.as_actor(), reason="bound")

    assert active_benchmark(agent) == official
    assert Benchmark.objects.get(name="official").is_active is False


def test_active_benchmark__bound_to_none_there_is__is_refused(exam, agent, cast):
    put_in_force(agent, "policy", {"benchmark": "lost"}, by=cast.approver.as_actor(), reason="bound")

    with pytest.raises(BenchmarkMissingError, match="'lost'"):
        active_benchmark(agent)
