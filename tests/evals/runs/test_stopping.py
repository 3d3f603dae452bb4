"""A run whose budget is spent, or whose agent is away, stops with a sentence and goes on where it stopped."""

import pytest

from accounts.acting import MACHINE
from audit.exceptions import TransitionRefusedError
from evals.exceptions import PlayingStoppedError
from evals.freezing import begin_run
from evals.jobs import play_run, watch_runs
from evals.models import Run
from evals.playing import play
from evals.runners import HttpRunner
from evals.starting import resume_run
from harness.policy import Playing
from jobs.models import Task
from tests.evals.runs.conftest import smaller


@pytest.fixture
def begun(benchmark, submit, endpoint):
    """A running run that may spend so much."""

    def make(**limits):
        run = smaller(begin_run(submit()))
        run.playing = Playing(**{"concurrency": 4, **limits}).model_dump(mode="json")
        run.start(by=MACHINE)
        return run

    return make


def played(run):
    play_run(str(run.pk))
    run.refresh_from_db()
    return run


def test_budget__money_is_spent__stops_with_what_is_missing(begun, endpoint):
    run = played(begun(budget_usd=0.02))

    stored = run.results.count()
    assert run.status == "stopped"
    assert 20 <= stored <= 20 + 4  # what was under way when the last cent went was paid for, so it is kept
    assert len(endpoint.asked) == stored
    assert run.error.startswith("The run has spent $0.02 of the $0.02 it may spend")
    assert f"{run.num_planned - stored} of {run.num_planned} results are missing" in run.error
    assert run.proposal.status == "validating"


def test_resume__with_more_money__plays_only_what_is_missing(begun, endpoint, cast):
    run = played(begun(budget_usd=0.02))
    before, stored = len(endpoint.asked), run.results.count()

    said = resume_run(run, by=cast.second_engineer.as_actor(), reason="worth it", more_usd=5.0)
    played(run)

    assert "played on" in said
    assert Task.objects.filter(name="evals.jobs.play_run", key=str(run.pk), state="ready").exists()
    assert (run.status, run.error) == ("judged", "")
    assert run.playing["budget_usd"] == 5.02
    assert len(endpoint.asked) - before == run.num_planned - stored
    assert run.results.count() == run.num_planned


def test_resume__without_more__stops_again_and_plays_nothing(begun, endpoint, cast):
    run = played(begun(budget_usd=0.02))
    before = len(endpoint.asked)

    resume_run(run, by=cast.second_engineer.as_actor(), reason="try")
    played(run)

    assert run.status == "stopped"
    assert len(endpoint.asked) == before


def test_budget__time_is_spent__counts_playing_over_turns(begun, endpoint):
    run = begun(budget_s=3_600.0)
    run.keep_time(3_599.9)
    endpoint.delay_s = 0.2

    played(run)

    assert run.status == "stopped"
    assert "The run was played for 1.0 h" in run.error or "The run was played for 60 min" in run.error
    assert 3_600 <= run.played_s < 3_700
    assert 0 < run.results.count() < run.num_planned


def test_budget__none_set__plays_to_the_end(begun):
    run = played(begun(budget_usd=None, budget_s=None))

    assert run.status == "judged"


def test_stopped_run__nobody_asks_for_it_and_cancel_frees_the_slot(begun, cast):
    run = played(begun(budget_usd=0.0))
    assert run.results.count() == 0

    watch_runs()
    played(run)

    assert run.status == "stopped"
    assert not Task.objects.filter(name="evals.jobs.play_run").exists()
    run.cancel(by=cast.second_engineer.as_actor(), reason="not worth it")
    run.proposal.refresh_from_db()
    assert run.proposal.status == "submitted"


def test_resume__running_run__is_refused(begun, cast):
    with pytest.raises(TransitionRefusedError):
        begun().resume(by=cast.second_engineer.as_actor(), reason="again")


def test_api__resume__takes_an_allowance(begun, cast, api):
    run = played(begun(budget_usd=0.0))
    path = f"/api/v1/runs/{run.pk}/resume"

    refused = api(cast.engineer).post(path, {"reason": "x", "more_usd": -1}, format="json")
    resumed = api(cast.engineer).post(path, {"reason": "worth it", "more_usd": 2}, format="json")

    run.refresh_from_db()
    assert (refused.status_code, resumed.status_code) == (422, 200)
    assert (run.status, run.playing["budget_usd"]) == ("running", 2.0)


def test_outage__nobody_answers__stops_before_the_run_is_spent(begun, endpoint):
    run = begun()
    endpoint.outages = 10_000

    played(run)

    assert run.status == "stopped"
    assert run.results.count() <= 4 * 4 + 4
    assert "trials in a row got no answer from http" in run.error
    assert "503" in run.error


def test_outage__passes__is_no_reason_to_stop(begun, endpoint):
    run = begun()
    endpoint.outages = 20

    with HttpRunner(endpoint.url) as runner:
        play(run, runner)

    assert run.results.count() == run.num_planned


def test_play__budget_spent__has_stored_everything_before_it_says_so(begun, endpoint):
    run = begun(budget_usd=0.01)

    with HttpRunner(endpoint.url) as runner, pytest.raises(PlayingStoppedError, match="what was played is kept"):
        play(run, runner)

    assert run.results.count() == len(endpoint.asked)


def test_start__policy_in_force__is_frozen_with_the_run(benchmark, submit):
    run = begin_run(submit())
    assert run.playing == {}

    run.start(by=MACHINE)

    assert Run.objects.get(pk=run.pk).playing == Playing().model_dump(mode="json")
