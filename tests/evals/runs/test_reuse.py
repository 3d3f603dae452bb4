"""When a baseline result of another run may stand in for playing it again, and everything that forbids it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.acting import MACHINE
from evals.freezing import begin_run, freeze_holdout, gate_policy_of
from evals.models import Result, Run
from evals.playing import play
from evals.runners import HttpRunner
from harness.policy import Playing
from proposals.models import Proposal
from tests.evals.runs.conftest import smaller

MODEL = "small fp_1"
UNSTABLE = 8 * 2  # cases and trials that may be served by another run


def few(run):
    return smaller(run, unstable=8, stable=2)


def write(run, rows, arm="baseline", **fields):
    """Store what the arm gave for these cases."""
    for row in rows:
        for trial in range(run.trials):
            values = {
                "run": run, "run_case": row, "arm": arm, "trial": trial, "harness_digest": run.baseline.digest, "score": 0,
                "passed": False, "latency_ms": 12.5, "cost_usd": 0.25, "fingerprint": MODEL,
                "output": {"text": "I cannot help.", "sources": []},
            }  # fmt: skip
            Result.objects.create(**{**values, **fields})


@pytest.fixture
def earlier(benchmark, submit, endpoint):
    """A judged run of the same day; what differs in its baseline's results is said by name."""

    def make(*, rows=None, status="judged", **fields):
        run = few(begin_run(submit("An answer.", name="first")))
        write(run, rows or unstable(run), **{"runner": f"http {endpoint.url}", **fields})
        Run._base_manager.filter(pk=run.pk).update(status=status, verdict="fail" if status == "judged" else "")
        Proposal._base_manager.filter(pk=run.proposal_id).update(status="failed")
        return run

    return make


def unstable(run):
    return run.run_cases.filter(is_protected=False)


@pytest.fixture
def play_again(submit, endpoint):
    """Play the run of another change and return it with what of it was reused."""

    def play_again(*, change=lambda run: None, fingerprint=MODEL, **limits):
        run = few(begin_run(submit("Another answer.", name="second")))
        run.playing = Playing(**{"concurrency": 1, **limits}).model_dump(mode="json")
        run.start(by=MACHINE)
        change(run)
        endpoint.fingerprint = fingerprint
        with HttpRunner(endpoint.url) as runner:
            play(run, runner)
        reused = list(run.results.exclude(reused_from=None).select_related("reused_from", "run_case"))
        assert run.results.count() == run.num_planned
        assert len(endpoint.asked) == run.num_planned - len(reused)
        return run, reused

    return play_again


def test_reuse__all_is_equal__serves_the_baseline_of_unprotected_cases(earlier, play_again):
    before = earlier()

    _, reused = play_again()

    # The first baseline trial comes before anything is known of the model.
    assert UNSTABLE - 1 <= len(reused) <= UNSTABLE
    assert {result.arm for result in reused} == {"baseline"}
    assert not any(result.run_case.is_protected for result in reused)
    assert {result.reused_from.run_id for result in reused} == {before.pk}
    assert all(result.trial == result.reused_from.trial for result in reused)
    assert all(result.run_case.case_id == result.reused_from.run_case.case_id for result in reused)
    assert {(result.latency_ms, result.cost_usd, result.fingerprint) for result in reused} == {(12.5, 0.25, MODEL)}


def test_reuse__what_stands_in__was_paid_for_elsewhere(earlier, play_again):
    earlier(cost_usd=100.0)

    assert play_again(budget_usd=1.0)[1]


def test_reuse__what_stands_in__is_scored_anew(earlier, play_again):
    earlier(passed=True, score=1_000)

    _, reused = play_again()

    assert reused
    assert not any(result.passed for result in reused)


def test_reuse__crash_of_the_earlier_run__is_not_played_again_for_a_better_end(earlier, play_again):
    before = earlier()
    crashed = unstable(before)[0]
    before.results.filter(run_case=crashed).delete()
    write(before, [crashed], runner=before.results.first().runner, crashed=True, fingerprint="", rationale="boom")

    _, reused = play_again()

    of_case = [result for result in reused if result.run_case.case_id == crashed.case_id]
    assert of_case
    assert all(result.crashed and result.rationale == "boom" for result in of_case)


@pytest.mark.parametrize(
    "fields",
    [
        {"fingerprint": ""},
        {"fingerprint": "small fp_2"},
        {"runner": "http http://elsewhere"},
        {"runner": ""},
        {"harness_digest": "0" * 64},
        {"played_at": timezone.now() - timedelta(days=1)},
        {"dropped": True},
        {"arm": "candidate"},  # what was the candidate then and is the baseline now was selected by these trials
        {"status": "canceled"},
        {"status": "failed"},
    ],
    ids="-".join,
)
def test_reuse__something_differs_or_is_unknown__plays_everything(earlier, play_again, fields):
    earlier(**fields)

    assert play_again()[1] == []


def test_reuse__this_run_is_answered_by_another_model__plays_everything(earlier, play_again):
    earlier()

    assert play_again(fingerprint="small fp_2")[1] == []


def test_reuse__this_run_does_not_know_its_model__plays_everything(earlier, play_again):
    earlier()

    assert play_again(fingerprint="")[1] == []


def test_reuse__models_of_the_earlier_run_differ__plays_everything(earlier, play_again):
    before = earlier()
    stable = before.run_cases.filter(is_protected=True)[:1]
    write(before, stable, runner=before.results.first().runner, fingerprint="small fp_2")

    assert play_again()[1] == []


def test_reuse__models_of_this_run_differ__plays_everything(earlier, play_again, endpoint):
    earlier()

    def answer_by_another(run):
        write(run, run.run_cases.filter(is_protected=True)[:1], runner=f"http {endpoint.url}", fingerprint="small fp_2")
        endpoint.asked.extend([None] * run.trials)

    assert play_again(change=answer_by_another)[1] == []


def test_reuse__same_change_again__was_selected_by_those_trials(earlier, play_again):
    before = earlier()

    assert play_again(change=lambda run: change_of(before, candidate=run.candidate))[1] == []


def test_reuse__same_family__was_selected_by_those_trials(earlier, play_again):
    before = earlier()

    def retry(run):
        Proposal._base_manager.filter(pk=run.proposal_id).update(retry_of=before.proposal)

    assert play_again(change=retry)[1] == []


def change_of(run, **fields):
    Run._base_manager.filter(pk=run.pk).update(**fields)


def test_reuse__case_is_another_by_now__is_played(earlier, play_again):
    before = earlier()
    case_id = unstable(before)[0].case_id

    def reword(run):
        run.run_cases.filter(case=case_id).update(user_state={"user": "somebody else"})

    _, reused = play_again(change=reword)

    assert reused
    assert case_id not in {result.run_case.case_id for result in reused}


def test_reuse__policy_says_no__plays_everything(earlier, play_again):
    earlier()

    assert play_again(reuse_baseline=False)[1] == []


def test_reuse__protected_cases__are_always_played(earlier, play_again):
    before = earlier()
    stable = before.run_cases.filter(is_protected=True)
    write(before, stable, runner=before.results.first().runner)

    _, reused = play_again()

    assert len(reused) <= UNSTABLE
    assert not any(result.run_case.is_protected for result in reused)


def test_reuse__holdout__is_always_played(earlier, play_again, endpoint):
    before = earlier()
    freeze_holdout(before, gate_policy_of(before.agent))
    write(before, before.run_cases.filter(split="holdout"), runner=before.results.first().runner)
    run, reused = play_again()
    change_of(before, proposal=None)
    freeze_holdout(run, gate_policy_of(run.agent))

    with HttpRunner(endpoint.url) as runner:
        play(run, runner)

    assert reused
    assert run.results.filter(run_case__split="holdout", reused_from=None).count() == 8 * 2 * 2


def test_reuse__what_stood_in_before__does_not_stand_in_again(earlier, play_again, submit, endpoint):
    before = earlier()
    run, _ = play_again()
    change_of(before, status="canceled", verdict="")
    change_of(run, status="judged", verdict="fail")
    Proposal._base_manager.filter(pk=run.proposal_id).update(status="failed")
    third = few(begin_run(submit("A third answer.", name="third")))
    third.start(by=MACHINE)

    with HttpRunner(endpoint.url) as runner:
        play(third, runner)

    # Only what the second run had played itself.
    sources = third.results.exclude(reused_from=None).values_list("reused_from__reused_from", flat=True)
    assert set(sources) <= {None}
    assert len(sources) <= 1
