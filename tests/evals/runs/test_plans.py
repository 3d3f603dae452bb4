"""A plan's looks cannot be had for nothing: not by rebasing, canceling, withdrawing or writing the same anew."""

import pytest

from accounts.acting import MACHINE
from evals.benchmarks import activate_drafts, add_cases
from evals.exceptions import HoldoutSpentError, OwnChangeError
from evals.freezing import begin_run, freeze_holdout, gate_policy_of
from evals.models import Benchmark, Result, Run
from evals.playing import play
from evals.runners import HttpRunner
from evals.verdicts import readings_of
from harness.models import HarnessVersion
from proposals.drafting import Quote, Sketch, draft
from proposals.requeueing import return_to_queue
from tests.evals.gate_runs import GATES_PASSED


def judged(run, verdict="hold"):
    """Judge a run as if it had been played; return its proposal."""
    run.start(by=MACHINE)
    run.judge(verdict=verdict, reading={"gates": GATES_PASSED, "next_look": 2, "sentence": verdict}, by=MACHINE)
    summary = {"sentence": verdict, "gates": {}}
    run.proposal.record_verdict(verdict, run_ref=run.pk, summary=summary, approvals=1, by=MACHINE)
    run.proposal.refresh_from_db()
    return run.proposal


def candidate_played(run):
    """Start a run and store the candidate's first result."""
    run.start(by=MACHINE)
    row = run.run_cases.all()[0]
    Result.objects.create(
        run=run, run_case=row, arm="candidate", trial=0, harness_digest=run.candidate.digest, score=0, passed=False
    )
    return run


def frozen_holdout(run):
    return freeze_holdout(run, gate_policy_of(run.agent))


def test_readings__resumed_hold__is_the_next_look_with_its_passes(benchmark, submit):
    proposal = judged(begin_run(submit()))

    again = readings_of(begin_run(proposal))

    assert (again.look, again.attempts) == (2, 2)
    assert set(again.passed_before) == {"target", "protected"}


def test_readings__rebased_proposal__starts_a_plan_of_its_own(benchmark, submit, taught):
    proposal = judged(begin_run(submit()))
    document = {**taught.stable.document, "prompt": {**taught.stable.document["prompt"], "system": "Something else."}}
    version = HarnessVersion.create(agent=taught, document=document, parent=taught.stable, by=MACHINE, note="other")
    taught.set_stable(version, expected=taught.stable, by=MACHINE, reason="another release was promoted")
    assert return_to_queue(taught, reason="stable moved") == (1, 0)
    proposal.refresh_from_db()

    readings = readings_of(begin_run(proposal))

    assert (readings.look, readings.passed_before, readings.attempts) == (1, (), 2)


def test_cancel__by_an_author__is_refused_by_either_door(benchmark, submit, cast, api):
    proposal = submit()
    run = candidate_played(begin_run(proposal))

    with pytest.raises(OwnChangeError, match="second person"):
        run.cancel(by=cast.engineer.as_actor(), reason="it looked bad")
    by_the_back = api(cast.engineer).post(f"/api/v1/proposals/{proposal.pk}/requeue", {"reason": "x"}, format="json")

    run.refresh_from_db()
    assert (by_the_back.status_code, by_the_back.json()["code"]) == (403, "own_change")
    assert run.status == "running"


def test_cancel__after_the_candidate_was_played__spends_the_look(benchmark, submit, cast):
    proposal = submit()
    for _ in range(2):
        candidate_played(begin_run(proposal)).cancel(by=cast.second_engineer.as_actor(), reason="not now")
        proposal.refresh_from_db()

    readings = readings_of(begin_run(proposal))

    assert (readings.look, readings.attempts, readings.passed_before) == (3, 3, ())


def test_cancel__before_the_candidate_was_played__spends_nothing(benchmark, submit, cast):
    proposal = submit()
    begin_run(proposal).cancel(by=cast.second_engineer.as_actor(), reason="not now")
    proposal.refresh_from_db()

    assert (readings_of(begin_run(proposal)).look, readings_of(Run.objects.first()).attempts) == (1, 1)


def test_requeue__while_a_run_plays__cancels_it(benchmark, submit, cast, api):
    proposal = submit()
    run = candidate_played(begin_run(proposal))

    answer = api(cast.second_engineer).post(f"/api/v1/proposals/{proposal.pk}/requeue", {"reason": "x"}, format="json")

    run.refresh_from_db()
    assert (answer.status_code, answer.json()["status"], run.status) == (200, "submitted", "canceled")


def test_readings__same_change_written_anew__is_the_next_look_without_passes(benchmark, submit, cast):
    first = judged(begin_run(submit()))
    first.withdraw(by=cast.engineer.as_actor(), reason="again")

    readings = readings_of(begin_run(submit()))

    assert (readings.look, readings.passed_before, readings.attempts) == (2, (), 2)


def test_holdout__withdrawn_and_tried_again__is_not_fresh(benchmark, submit, cast, taught, episode):
    run = begin_run(submit())
    assert frozen_holdout(run) == 14
    judged(run, "pass").withdraw(by=cast.engineer.as_actor(), reason="again")
    benchmark.refresh_from_db()

    other = begin_run(submit("Another answer about unknown.", name="second"))

    with pytest.raises(HoldoutSpentError, match="0 target clusters"):
        frozen_holdout(other)
    assert Benchmark.objects.get(pk=benchmark.pk).holdout_looks == benchmark.holdout_looks == 1


def test_holdout__retry_in_another_layer__is_not_fresh_either(benchmark, submit, cast, taught, episode):
    first = submit()
    run = begin_run(first)
    frozen_holdout(run)
    judged(run, "fail")
    rule = {"op": "add", "path": "/prompt/rules/unknown", "value": {"position": 20, "text": "Say unknown."}}
    sketch = Sketch(
        title="A rule instead", claim="fixes", patch=[rule], rationale="as a rule", evidence=[Quote(episode)],
        target_intents=["unknown"],
    )  # fmt: skip
    retry = draft(taught, sketch, by=cast.engineer.as_actor(), retry_of=first)
    retry.submit(by=cast.engineer.as_actor(), reason="ready")
    stranger = draft(taught, sketch, by=cast.engineer.as_actor())

    with pytest.raises(HoldoutSpentError):
        frozen_holdout(begin_run(retry))
    assert stranger.retry_of is None


def test_holdout__seen_cluster_under_another_name__is_not_fresh(benchmark, submit, cast):
    run = begin_run(submit())
    frozen_holdout(run)
    proposal = judged(run)
    for case in benchmark.cases.in_split(split="holdout"):
        case.pk, case.name = None, f"{case.name} once more"
        case._state.adding = True
        case.save(force_insert=True)

    with pytest.raises(HoldoutSpentError):
        frozen_holdout(begin_run(proposal))


def test_play__crash__is_a_result(taught, benchmark, submit, endpoint, cast):
    add_cases(
        benchmark,
        [{"name": "c", "kind": "edge", "split": "verify", "messages": [{"role": "user", "content": "crash please"}],
          "expectations": {"contains": ["x"]}}],
        by=cast.approver.as_actor(),
    )  # fmt: skip
    activate_drafts(benchmark, by=cast.approver.as_actor(), reason="reviewed")
    run = begin_run(submit())
    run.start(by=MACHINE)
    with HttpRunner(endpoint.url) as runner:
        play(run, runner)

    rows = Result.objects.filter(run=run, run_case__case__name="c")
    assert all(row.crashed and not row.dropped for row in rows)
    assert rows.count() == 4
