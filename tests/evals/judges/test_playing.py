"""A run with rubrics from its beginning to its verdict: threads, both arms, one judge."""

import pytest
from django.db import connection

from accounts.acting import MACHINE
from evals.freezing import begin_run
from evals.judges.appointing import appoint_judge
from evals.models import JudgeVerdict
from evals.playing import play
from evals.runners import HttpRunner
from evals.verdicts import conclude
from inference.models import LedgerEntry
from tests.conftest import make_agent, make_cast
from tests.console.world import make_episode, make_proposal
from tests.evals.endpoint import endpoint
from tests.evals.judges.conftest import make_exam


@pytest.mark.django_db(transaction=True)
def test_run__with_rubrics__is_judged_by_one_judge_in_both_arms_and_held_for_want_of_labels(model):
    cast = make_cast()
    agent = make_agent(cast.team, cast.administrator, "shop-desk")
    appoint_judge(agent, by=cast.administrator.as_actor(), reason="somebody must")
    make_exam(agent, cast.approver.as_actor(), number=3)
    proposal = make_proposal(agent, make_episode(agent), author=cast.engineer)
    proposal.submit(by=cast.engineer.as_actor(), reason="ready")
    run = begin_run(proposal)
    run.start(by=MACHINE)
    # Of one case the model never says anything.
    model.answer = lambda asked: 503 if "way 2?" in asked else {"rationale": "no", "grade": 0}

    with endpoint() as server, HttpRunner(server.url) as runner:
        played = play(run, runner)
    assert conclude(run) == "judged"

    run.refresh_from_db()
    results = list(run.results.all())
    dropped = [one for one in results if one.dropped]
    assert (played, len(results), len(dropped)) == (18, 18, 6)
    assert {one.run_case.case.name for one in dropped} == {"refund-2"}
    assert {(one.arm, one.judgment["judge"]) for one in results if not one.dropped} == {
        ("baseline", run.judge_digest), ("candidate", run.judge_digest),
    }  # fmt: skip
    assert not any(one.passed or one.crashed for one in results)
    assert JudgeVerdict.objects.filter(judge_digest=run.judge_digest, grade=0).count() == 12
    assert LedgerEntry.objects.filter(role="judge", outcome="answered").count() == 12
    assert all(
        "candidate" not in str(body["messages"]) and "baseline" not in str(body["messages"]) for body in model.asked
    )
    gate = next(one for one in run.reading["gates"] if one["name"] == "judge")
    assert gate["sentence"] == "hold: the judge is advisory on 'refund' (no labels); it needs 100 human labels."
    assert run.verdict == "hold"
    with connection.cursor() as cursor:  # threads of the run left no connection behind
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert cursor.fetchone()[0] == 1
