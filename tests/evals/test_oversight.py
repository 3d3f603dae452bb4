"""What people decide about an exam: to let a suspected leak go, and to rotate the hold-out."""

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.acting import MACHINE, acting
from audit.exceptions import ReasonMissingError
from audit.models import Event
from episodes.models import Intent
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.exceptions import OwnChangeError, TooFewFreshCasesError
from evals.models import Benchmark, Case, Run, RunCase
from evals.rotation import rotate_holdout
from evals.verdicts import readings_of
from tests.console.world import build_world

LEAK = {"name": "leakage", "verdict": "hold", "numbers": {}, "sentence": "hold: 2 more people must release it."}


@pytest.fixture
def world(agent, cast):
    return build_world(agent, cast.second_engineer)


@pytest.fixture
def leaky(world):
    """A run of the second engineer's proposal, held because the patch shares words with the exam."""
    Run._base_manager.filter(pk=world.run.pk).update(verdict="hold", reading={"gates": [LEAK], "next_look": 2})
    return Run.objects.get(pk=world.run.pk)


def release(api, person, run, reason="a common phrase"):
    return api(person).post(f"/api/v1/runs/{run.pk}/release_leak", {"reason": reason}, format="json")


def test_release_leak__two_people__are_read_by_the_gate(leaky, api, cast):
    first = release(api, cast.approver, leaky)
    again = release(api, cast.approver, leaky)
    second = release(api, cast.second_approver, leaky)

    assert [answer.status_code for answer in (first, again, second)] == [200] * 3
    assert [answer.json()["released"] for answer in (first, again, second)] == [1, 1, 2]
    assert "resume" in second.json()["sentence"]
    assert readings_of(leaky).leakage_releases == 2
    events = Event.objects.filter(action="run.release_leak")
    assert {event.actor for event in events} == {"approver", "second_approver"}
    assert {event.reason for event in events} == {"a common phrase"}


def test_release_leak__author_or_engineer_or_without_a_reason__is_refused(leaky, api, cast):
    leaky.proposal.authors.get_or_create(user=cast.approver)

    answers = [
        release(api, cast.approver, leaky), release(api, cast.engineer, leaky), release(api, cast.second_approver, leaky, " "),
        release(api, cast.outsider, leaky),
    ]  # fmt: skip

    assert [answer.status_code for answer in answers[:2]] == [403, 403]
    assert [answer.json()["code"] for answer in answers[:2]] == ["own_change", "not_permitted"]
    assert answers[2].status_code in {409, 422}
    assert answers[3].status_code == 404
    assert not leaky.leak_releases.exists()


def test_release_leak__run_that_is_not_held_for_one__is_refused(world, api, cast):
    answer = release(api, cast.approver, world.run)

    assert (answer.status_code, answer.json()["code"]) == (409, "no_leak")


def test_release_leak__button__stands_on_held_runs_for_approvers(leaky, cast, client):
    page = reverse("admin:evals_run_change", args=(leaky.pk,))
    button = reverse("admin:evals_run_verb", args=(leaky.pk, "release_leak"))
    shown = {}
    for name in ("engineer", "approver"):
        client.force_login(getattr(cast, name))
        shown[name] = button in client.get(page).content.decode()

    client.post(button, {"reason": "a common phrase"})

    assert shown == {"engineer": False, "approver": True}
    assert leaky.leak_releases.get().reviewer == cast.approver


def holdout(name, intent):
    return {
        "name": name, "kind": "edge", "split": "holdout", "intent": intent,
        "messages": [{"role": "user", "content": name}], "expectations": {"contains": ["x"]},
    }  # fmt: skip


@pytest.fixture
def exam(agent, cast):
    """Five hold-out cases in use, of two intents, and looks to forget."""
    with acting(MACHINE, reason="set up"):
        for slug in ("a", "b"):
            Intent.objects.create(agent=agent, slug=slug, name=slug, state="live")
    examiner = cast.approver.as_actor()
    made = create_benchmark(agent, name="exam", description="", by=examiner)
    add_cases(made, [holdout(f"a{n}", "a") for n in range(3)] + [holdout(f"b{n}", "b") for n in range(2)], by=examiner)
    activate_drafts(made, by=examiner, reason="reviewed")
    Benchmark._base_manager.filter(pk=made.pk).update(holdout_looks=7)
    made.refresh_from_db()
    return made


def in_holdout(exam):
    return set(exam.cases.active().in_split(split="holdout").values_list("name", flat=True))


def test_rotate__enough_fresh_drafts__swaps_by_intent_and_counts_anew(exam, cast, api):
    examiner = cast.approver.as_actor()
    add_cases(exam, [holdout("a9", "a"), holdout("b9", "b"), holdout("b8", "b")], by=examiner)

    answer = api(cast.approver).post(
        f"/api/v1/benchmarks/{exam.pk}/rotate_holdout", {"reason": "looked at a lot"}, format="json"
    )

    exam.refresh_from_db()
    assert (answer.status_code, answer.json()) == (200, {"retired": 3, "activated": 3})
    assert in_holdout(exam) == {"a1", "a2", "a9", "b8", "b9"}
    assert {case.split for case in Case.objects.filter(name__in=["a0", "b0", "b1"])} == {"dev"}
    assert exam.holdout_looks == 0
    assert exam.rotated_at <= timezone.now()
    event = Event.objects.get(action="benchmark.rotate_holdout")
    assert (event.actor, event.facts) == ("approver", {"retired": 3, "activated": 3, "looks_before": 7})


def test_rotate__played_cases__leave_first(world, exam, cast):
    case = exam.cases.get(name="a2")
    RunCase.objects.create(
        run=world.run, case=case, split="holdout", messages=[], expectations={}, weight=1, cluster="a2", kind="edge"
    )
    add_cases(exam, [holdout("a9", "a"), holdout("b9", "b")], by=cast.approver.as_actor())

    rotate_holdout(exam, by=cast.approver.as_actor(), reason="looked at")

    assert in_holdout(exam) == {"a0", "a1", "a9", "b1", "b9"}


def test_rotate__too_few_fresh_drafts__is_refused_and_moves_nothing(exam, cast):
    seen = holdout("a-seen", "a") | {"cluster": "a1"}
    add_cases(exam, [holdout("a9", "a"), seen, holdout("nobody", None)], by=cast.approver.as_actor())

    with pytest.raises(TooFewFreshCasesError, match="needs 2"):
        rotate_holdout(exam, by=cast.approver.as_actor(), reason="looked at")

    exam.refresh_from_db()
    assert (len(in_holdout(exam)), exam.holdout_looks) == (5, 7)


def test_rotate__without_a_reason_or_with_an_open_proposal__is_refused(world, exam, cast):
    with pytest.raises(ReasonMissingError):
        rotate_holdout(exam, by=cast.approver.as_actor(), reason=" ")
    with pytest.raises(OwnChangeError):
        rotate_holdout(exam, by=cast.second_engineer.as_actor(), reason="mine")


def test_readings__after_a_rotation__count_attempts_anew(world):
    run = Run.objects.get(pk=world.run.pk)
    again = Run(
        agent=run.agent, benchmark=run.benchmark, proposal=run.proposal, baseline=run.baseline, candidate=run.candidate
    )
    with acting(MACHINE, reason="the next look"):
        again.save(force_insert=True)
    before = readings_of(again)
    Benchmark._base_manager.filter(pk=run.benchmark_id).update(rotated_at=timezone.now())

    after = readings_of(again)

    assert (before.attempts, before.look, after.attempts, after.look) == (2, 2, 1, 2)
