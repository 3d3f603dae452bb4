"""Runs over a benchmark whose baseline was curated: played, judged, continued, canceled."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.acting import MACHINE
from evals.curation import TRIALS, curated
from evals.freezing import begin_run
from evals.jobs import play_run, validate_next, validate_next_of, watch_runs
from evals.measuring import measure
from evals.models import CurationTrial, Result, Run
from evals.playing import play
from evals.runners import HttpRunner
from evals.verdicts import conclude, readings_of, shared_passages
from jobs.models import Task
from proposals.models import Proposal
from tests.evals.gate_runs import GATES_PASSED
from tests.evals.runs.conftest import smaller


def validated(proposal):
    """Curate, play and judge as the jobs do; return the run."""
    validate_next_of(str(proposal.agent_id))
    run = Run.objects.get(proposal=proposal)
    play_run(str(run.pk))
    run.refresh_from_db()
    proposal.refresh_from_db()
    return run


def gate(run, name):
    return next(one for one in run.reading["gates"] if one["name"] == name)


def test_curation__stable_cases__are_those_passed_five_times(curated_benchmark, taught):
    stable = curated(taught.stable.digest, curated_benchmark)

    assert len(stable) == 110
    assert CurationTrial.objects.filter(case__intent__slug="topica").count() == 11 * TRIALS
    assert CurationTrial.objects.filter(case__intent__slug="unknown").count() == 14


def test_validation__missing_document__passes_with_fresh_holdout(curated_benchmark, submit):
    proposal = submit()

    run = validated(proposal)

    assert (run.status, run.verdict) == ("judged", "pass"), run.reading["sentence"]
    assert proposal.status == "validated"
    assert proposal.run_ref == run.pk
    assert run.run_cases.filter(split="holdout").count() == 14
    run.benchmark.refresh_from_db()
    assert run.benchmark.holdout_looks == 1
    assert run.results.count() == run.num_planned == (124 + 14) * 2 * 2
    assert gate(run, "target")["verdict"] == "pass"


def test_validation__change_that_does_nothing__fails(curated_benchmark, submit):
    run = validated(submit(tags=("never said",)))

    assert run.verdict == "fail", run.reading["sentence"]
    assert not run.run_cases.filter(split="holdout").exists()


def test_validation__change_that_breaks_another_intent__fails(curated_benchmark, submit):
    # Sorts before the known documents and answers their questions too.
    run = validated(submit(tags=("unknown", "topica", "topicb"), name="aaa"))

    assert run.verdict == "fail"
    assert gate(run, "slices")["verdict"] == "fail"


def test_play__killed_in_the_middle__continues_and_plays_nothing_twice(curated_benchmark, submit, endpoint):
    run = begin_run(submit())
    run.start(by=MACHINE)
    turns = iter([True, True, False])
    with HttpRunner(endpoint.url) as runner:
        first = play(run, runner, still_wanted=lambda: next(turns))
        asked = len(endpoint.asked)
        play_run(str(run.pk))

    run.refresh_from_db()
    assert 0 < first < run.num_planned
    assert run.status == "judged"
    assert run.results.count() == run.num_planned
    assert len(endpoint.asked) - asked == run.num_planned - first


def test_play__outage__is_tried_again_and_dropped_after_three(curated_benchmark, submit, endpoint):
    run = begin_run(submit())
    run.start(by=MACHINE)
    endpoint.outages = 2
    with HttpRunner(endpoint.url) as runner:
        play(run, runner)

    assert not Result.objects.filter(run=run, dropped=True).exists()


def test_validate_next__approved_change_waits__asks_nothing(curated_benchmark, submit, cast):
    proposal = submit()
    validated(proposal)
    other = submit("Another text about unknown.", name="second")
    Task.objects.all().delete()

    validate_next()

    assert not Task.objects.exists()
    assert other.status == "submitted"


def test_validate_next__free_slot__asks_once(curated_benchmark, submit):
    submit()

    validate_next()
    validate_next()

    assert Task.objects.filter(name="evals.jobs.validate_next_of").count() == 1


def test_watch_runs__task_failed_for_good__frees_the_slot_and_is_not_tried_for_ever(curated_benchmark, submit):
    proposal = submit()
    for _ in range(3):
        validate_next_of(str(proposal.agent_id))
        Task.objects.filter(name="evals.jobs.play_run", state="ready").update(state="failed", last_error="no luck")
        watch_runs()
    validate_next_of(str(proposal.agent_id))

    proposal.refresh_from_db()
    assert [run.status for run in Run.objects.all()] == ["failed"] * 3
    assert "no luck" in Run.objects.all()[0].error
    assert (proposal.status, proposal.verdict) == ("held", "")
    assert "could not be played 3 times" in proposal.verdict_summary["sentence"]
    assert begin_run(proposal).status == "queued"


def test_watch_runs__task_lost__is_asked_for_again(curated_benchmark, submit):
    begin_run(submit())

    watch_runs()

    assert Task.objects.get(name="evals.jobs.play_run").state == "ready"


def test_cancel__running__frees_the_slot(curated_benchmark, submit, cast):
    proposal = submit()
    run = begin_run(proposal)
    run.start(by=MACHINE)

    run.cancel(by=cast.second_engineer.as_actor(), reason="not now")

    proposal.refresh_from_db()
    assert (run.status, proposal.status) == ("canceled", "submitted")


def test_readings__same_rows__give_the_same_verdict(curated_benchmark, submit):
    from evals.gate import judge
    from evals.gate.policy import GatePolicy
    from evals.readings import RunReadings

    run = validated(submit())
    readings = readings_of(run)
    policy = GatePolicy.from_mapping(run.gate_policy)

    again = judge(RunReadings.from_mapping(readings.as_mapping()), policy)

    assert again.as_json() == judge(readings, policy).as_json()


def test_readings__many_results__cost_no_query_each(benchmark, submit):
    run = smaller(begin_run(submit()))
    numbers = []
    for trial in range(2):
        for row in run.run_cases.all():
            Result.objects.create(
                run=run,
                run_case=row,
                arm="baseline",
                trial=trial,
                harness_digest=run.baseline.digest,
                score=0,
                passed=False,
            )
        with CaptureQueriesContext(connection) as queries:
            readings_of(run)
        numbers.append(len(queries))

    assert numbers[1] <= numbers[0] < 40  # the first reading also loads what the run itself refers to


def test_shared_passages__eight_words_of_a_case__are_found(curated_benchmark, submit):
    run = begin_run(submit())
    rows = list(run.run_cases.all())
    rows[0].messages = [{"role": "user", "content": "one two three four five six seven eight nine"}]
    patch = [{"op": "add", "path": "/x", "value": "ONE two, three four five six seven eight!"}]

    assert shared_passages(patch, rows, words=8) == [str(rows[0].pk)]
    assert shared_passages(patch, rows, words=9) == []


def test_conclude__hold_after_a_confirmed_holdout__reads_it_again(curated_benchmark, submit, endpoint):
    proposal = submit()
    first = begin_run(proposal)
    first.start(by=MACHINE)
    with HttpRunner(endpoint.url) as runner:
        play(first, runner)
        assert conclude(first) == "more"
        play(first, runner)
        reading = readings_of(first)
        holdout = {"name": "holdout", "verdict": "pass", "numbers": {}, "sentence": "pass"}
        first.judge(
            verdict="hold", reading={"gates": [*GATES_PASSED, holdout], "next_look": 2}, by=MACHINE, reason="held"
        )
        proposal.refresh_from_db()
        proposal.record_verdict("hold", run_ref=first.pk, summary={"sentence": "hold"}, approvals=1, by=MACHINE)
        second = begin_run(proposal)
        second.start(by=MACHINE)
        play(second, runner)
        assert conclude(second) == "judged"

    second.refresh_from_db()
    again = readings_of(second)
    assert (second.verdict, again.look) == ("pass", 2), second.reading["sentence"]
    assert not second.run_cases.filter(split="holdout").exists()
    assert sum(case.split == "holdout" for case in again.cases) == sum(
        case.split == "holdout" for case in reading.cases
    )


def test_conclude__proposal_withdrawn_meanwhile__still_spends_the_look(curated_benchmark, submit, cast, endpoint):
    proposal = submit(tags=("never said",))
    run = begin_run(proposal)
    run.start(by=MACHINE)
    with HttpRunner(endpoint.url) as runner:
        play(run, runner)
    proposal.withdraw(by=cast.engineer.as_actor(), reason="no")

    assert conclude(run) == "judged"

    proposal.refresh_from_db()
    assert (run.verdict, proposal.status, proposal.verdict) == ("fail", "withdrawn", "")


def test_measure__active_benchmark__is_refused(curated_benchmark, taught, endpoint):
    with HttpRunner(endpoint.url) as runner, pytest.raises(Exception, match="judges proposals"):
        measure(curated_benchmark, taught.stable.document, runner)


def test_run_api__outsider__sees_nothing(curated_benchmark, submit, api, cast):
    run = begin_run(submit())

    assert api(cast.engineer).get(f"/api/v1/runs/{run.pk}").status_code == 200
    assert api(cast.outsider).get(f"/api/v1/runs/{run.pk}").status_code == 404
    assert api(cast.support).post(f"/api/v1/runs/{run.pk}/cancel", {"reason": "x"}, format="json").status_code == 403


def test_begin_run__by_api__needs_the_permission(curated_benchmark, submit, api, cast):
    proposal = submit()

    refused = api(cast.support).post("/api/v1/runs", {"proposal": str(proposal.pk)}, format="json")
    begun = api(cast.engineer).post("/api/v1/runs", {"proposal": str(proposal.pk)}, format="json")

    assert (refused.status_code, begun.status_code) == (403, 201)
    assert Proposal.objects.get().status == "validating"
