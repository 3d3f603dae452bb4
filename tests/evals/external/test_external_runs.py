"""A team's CI fetches cases, posts results in batches, and the same gate judges them."""

import json

import pytest

from audit.models import Event
from evals.benchmarks import activate_drafts, add_cases
from evals.exceptions import ExternalRunError, OwnChangeError
from evals.external.jobs import judge_posted
from evals.external.posting import cases_to_play, close, open_validation, post_results
from evals.jobs import play_run, validate_next_of, watch_runs
from evals.models import Result, Run
from harness.models import HarnessVersion
from harness.registration import describe_agent
from jobs.models import Task
from tests.evals.external.conftest import Ci


def open_run(submit, cast, **changes):
    proposal = submit(**changes)
    return proposal, open_validation(proposal, by=cast.second_engineer.as_actor(), reason="our CI plays it")


def judged(run):
    judge_posted(str(run.pk))
    run.refresh_from_db()
    return run


def test_validation__played_elsewhere__is_judged_like_any_other(exam, submit, cast, ci):
    proposal, run = open_run(submit, cast)
    team = Ci(ci, run.pk)
    cases = team.cases()

    receipt = team.post_all(team.answers(cases))

    assert {name for case in cases for name in case} == {"id", "split", "messages", "user_state"}
    assert team.told["seeds"] == [run.seed, run.seed + 1]
    assert (receipt["missing"], receipt["rejected"]) == (0, [])
    assert Task.objects.filter(name="evals.external.jobs.judge_posted", key=str(run.pk)).count() == 1
    # The winner's fresh hold-out is owed next.
    judged(run)
    fresh = [case for case in team.cases() if case["split"] == "holdout"]
    assert (run.status, len(fresh)) == ("running", 14)
    team.post_all(team.answers(fresh))
    judged(run)
    proposal.refresh_from_db()
    assert (run.verdict, proposal.status) == ("pass", "validated"), run.reading["sentence"]
    assert {one.harness_digest for one in run.results.filter(arm="candidate")} == {run.candidate.digest}


def test_validation__of_an_agent_that_is_played_elsewhere__is_opened_in_turn_and_not_played(exam, taught, submit, cast):
    proposal = submit()
    describe_agent(taught, runner="external", by=cast.administrator.as_actor(), reason="our CI plays it")

    validate_next_of(str(taught.pk))

    run = proposal.runs.get()
    assert (run.runner, run.status, run.results.count()) == ("external", "queued", 0)
    assert not Task.objects.filter(name="evals.jobs.play_run").exists()


@pytest.mark.parametrize(
    "needy",
    [
        {"expectations": {"rubric": {"text": "Is it kind?"}}},
        {"conversation": {"kind": "scripted", "turns": [{"say": "And then?"}]}},
    ],
)
def test_validation__cases_that_only_the_platform_can_play__are_not_handed_out(exam, submit, cast, needy):
    proposal = submit()
    item = {"name": "needy", "kind": "edge", "split": "verify", "messages": [{"role": "user", "content": "Hello?"}]}
    by = cast.approver.as_actor()
    add_cases(exam, [{**item, "expectations": {"contains": ["yes"]}, **needy}], by=by)
    activate_drafts(exam, by=by, reason="ready")

    with pytest.raises(ExternalRunError, match="1 active verify case of"):
        open_validation(proposal, by=cast.second_engineer.as_actor(), reason="our CI plays it")

    proposal.refresh_from_db()
    assert proposal.status == "submitted"


def test_documents__of_the_arms__are_fetched_by_digest(exam, submit, cast, ci):
    _, run = open_run(submit, cast)

    for digest in Ci(ci, run.pk).told["arms"].values():
        assert (
            json.loads(ci.get(f"/api/v1/harnesses/{digest}").content)
            == HarnessVersion.objects.get(digest=digest).document
        )


def test_results__posted_twice__are_kept_once(exam, submit, cast, ci):
    _, run = open_run(submit, cast)
    team = Ci(ci, run.pk)
    batch = team.answers(team.cases()[:3])

    first = team.post(batch)
    other = [{**one, "output": {"text": "another answer"}} for one in batch]
    again = team.post([*other, other[0]])

    assert (first["accepted"], again["accepted"], again["known"]) == (12, 0, 13)
    assert again["missing"] == run.num_planned - 12
    assert not Result.objects.filter(run=run, output__text="another answer").exists()


def test_results__bad_ones__are_named_and_good_ones_kept(exam, submit, cast, ci):
    _, run = open_run(submit, cast)
    team = Ci(ci, run.pk)
    good = team.answers(team.cases()[:1])[0]
    bad = [
        "words", {**good, "case": "nonsense"}, {**good, "case": str(run.pk)}, {**good, "trial": 2}, {**good, "trial": -1},
        {**good, "arm": "third"}, {**good, "score": 1.0}, {**good, "crashed": True, "dropped": True}, {**good, "more": 1},
        {**good, "latency_ms": -1}, {**good, "output": "words"},
    ]  # fmt: skip

    receipt = team.post([*bad, good])

    reasons = {one["index"]: one["reason"] for one in receipt["rejected"]}
    assert sorted(reasons) == list(range(len(bad)))
    assert receipt["accepted"] == 1
    assert "no JSON object" in reasons[0]
    assert "no case 'nonsense'" in reasons[1]
    assert "trials 0 to 1" in reasons[3]
    assert "the platform scores this benchmark" in reasons[6]
    assert "say one" in reasons[7]
    assert "more" in reasons[8]


def test_results__too_many_or_no_list__are_refused(exam, submit, cast, ci):
    _, run = open_run(submit, cast)
    where = f"/api/v1/external-runs/{run.pk}/results"

    assert ci.post(where, {"case": "x"}, format="json").status_code == 422
    answer = ci.post(where, [{}] * 501, format="json")
    assert (answer.status_code, answer.json()["code"]) == (409, "external_run")


def test_crashes_and_drops__are_what_they_are_called(exam, submit, cast, ci):
    _, run = open_run(submit, cast)
    team = Ci(ci, run.pk)
    key = team.answers(team.cases()[:1])[0]
    key = {name: key[name] for name in ("case", "arm", "trial")}

    team.post([{**key, "crashed": True, "error": "boom"}])
    team.post([{**key, "trial": 1, "dropped": True, "error": "no network"}])

    rows = {row.trial: row for row in run.results.all()}
    assert (rows[0].crashed, rows[0].dropped, rows[0].passed, rows[0].rationale) == (True, False, False, "boom")
    assert (rows[1].crashed, rows[1].dropped, rows[1].rationale) == (False, True, "no network")


def test_close__counts_what_is_missing_as_lost_and_judges(exam, submit, cast, ci, api):
    proposal, run = open_run(submit, cast)
    team = Ci(ci, run.pk)
    team.post_all(team.answers(team.cases()[:60]))
    where = f"/api/v1/external-runs/{run.pk}/close"

    assert ci.post(where, {"reason": "done"}, format="json").status_code == 403
    assert api(cast.second_engineer).post(where, {"reason": " "}, format="json").status_code == 422
    answer = api(cast.second_engineer).post(where, {"reason": "the rest cannot be played"}, format="json")

    judged(run)
    proposal.refresh_from_db()
    assert answer.status_code == 200, answer.content
    assert run.results.filter(dropped=True, rationale="never posted").count() == run.num_planned - 240
    assert (run.verdict, proposal.status) == ("hold", "held")
    assert "paired trials dropped" in run.reading["sentence"]
    assert Event.objects.filter(action="run.close").count() == 1
    with pytest.raises(ExternalRunError, match="takes no more results"):
        post_results(run, [], by=cast.second_engineer.as_actor())


def test_judging__before_all_is_in__does_nothing(exam, submit, cast, ci):
    _, run = open_run(submit, cast)
    team = Ci(ci, run.pk)
    team.post(team.answers(team.cases()[:3]))

    assert judged(run).status == "running"


def test_run_of_elsewhere__is_never_played_here(exam, submit, cast, endpoint):
    _, run = open_run(submit, cast)

    play_run(str(run.pk))
    watch_runs()

    run.refresh_from_db()
    assert (run.status, endpoint.asked) == ("queued", [])
    assert not Task.objects.filter(name="evals.jobs.play_run").exists()


def test_run_played_here__takes_no_results(exam, better, taught, cast):
    from evals.starting import compare

    run = compare(taught.stable, better, exam, by=cast.engineer.as_actor(), reason="look")

    with pytest.raises(ExternalRunError, match="is played here"):
        post_results(run, [], by=cast.engineer.as_actor())


def test_author__plays_and_closes_nothing_of_the_own_exam(exam, submit, cast):
    _, run = open_run(submit, cast)
    author = cast.engineer.as_actor()

    for act in (
        lambda: cases_to_play(run, by=author),
        lambda: post_results(run, [], by=author),
        lambda: close(run, by=author, reason="enough"),
    ):
        with pytest.raises(OwnChangeError, match="wrote"):
            act()


def test_person__reads_the_exam_only_with_the_right_to__and_on_record(exam, submit, cast, api):
    from accounts.models import Membership

    _, run = open_run(submit, cast)
    where = f"/api/v1/external-runs/{run.pk}/cases"
    person = api(cast.second_engineer)

    refused = person.get(where)
    Membership.objects.create(user=cast.second_engineer, team=cast.team, role="auditor")
    shown = person.get(where)

    assert (refused.status_code, "they are the exam" in refused.json()["detail"]) == (403, True)
    assert shown.status_code == 200
    assert Event.objects.filter(action="benchmark.read_exam", actor_user_id=cast.second_engineer.pk).count() == 1


def test_keys__without_the_scope_or_of_another_agent__play_nothing(exam, submit, cast, api, taught):
    from harness.models import ApiKey
    from tests.conftest import make_agent

    _, run = open_run(submit, cast)
    other = make_agent(cast.other_team, cast.outsider, "warehouse-desk")
    where = f"/api/v1/external-runs/{run.pk}"
    for agent, scopes, status in ((taught, ["harness:read"], 403), (other, ["run:play"], 404)):
        from accounts.acting import MACHINE

        _, secret = ApiKey.issue(
            kind="agent", name="k", owner=cast.administrator, agent=agent, scopes=scopes, by=MACHINE
        )
        assert api(secret).get(f"{where}/cases").status_code == status
        assert api(secret).post(f"{where}/results", [], format="json").status_code == status
    assert api(cast.support).post(f"{where}/results", [], format="json").status_code == 403
    assert api(None).get(where).status_code in {401, 403}


def test_validation__opened_over_rest(exam, submit, cast, api):
    proposal = submit()

    answer = api(cast.second_engineer).post(
        "/api/v1/external-runs", {"proposal": str(proposal.pk), "reason": "our CI plays it"}, format="json"
    )

    run = Run.objects.get(proposal=proposal)
    assert answer.status_code == 201, answer.content
    assert (answer.json()["id"], run.runner, answer.json()["scored_outside"]) == (str(run.pk), "external", False)
    assert api(cast.support).post(
        "/api/v1/external-runs", {"proposal": str(proposal.pk)}, format="json"
    ).status_code == 403  # fmt: skip


def test_admin__opens_and_closes(exam, submit, cast, client):
    from django.urls import reverse

    proposal = submit()
    client.force_login(cast.second_engineer)

    client.post(
        reverse("admin:evals_run_add"), {"proposal": proposal.pk, "is_played_elsewhere": "on", "reason": "our CI"}
    )
    run = Run.objects.get(proposal=proposal)
    shown = client.get(reverse("admin:evals_run_change", args=(run.pk,))).content.decode()
    button = reverse("admin:evals_run_verb", args=(run.pk, "close"))
    closed = client.post(button, {"reason": "it cannot be played"}, follow=True).content.decode()

    assert (run.runner, button in shown) == ("external", True)
    assert f"closed with {run.num_planned} results missing" in closed


def test_scores_from_outside__are_believed_where_the_benchmark_says_so(taught, better, cast, ci):
    from evals.benchmarks import activate_drafts, add_cases, create_benchmark
    from evals.starting import compare

    by = cast.approver.as_actor()
    made = create_benchmark(taught, name="outside", description="", by=by, scored_outside=True)
    rows = [
        {"name": f"c{n}", "kind": "success", "split": "dev", "messages": [{"role": "user", "content": f"Way {n}"}],
         "expectations": {}}
        for n in range(14)
    ]  # fmt: skip
    add_cases(made, rows, by=by)
    activate_drafts(made, by=by, reason="ready")
    run = compare(
        taught.stable, better, made, by=cast.engineer.as_actor(), reason="ours", split="dev", runner="external"
    )
    team = Ci(ci, run.pk)
    answers = team.answers()

    unscored = team.post(answers[:1])
    team.post_all([{**one, "passed": one["arm"] == "candidate", "rationale": "our tests"} for one in answers])

    judged(run)
    target = next(gate for gate in run.reading["gates"] if gate["name"] == "target")
    assert "say 'passed'" in unscored["rejected"][0]["reason"]
    assert target["verdict"] == "pass"
    assert set(run.results.values_list("arm", "score", "rationale")) == {
        ("candidate", 1000, "our tests"), ("baseline", 0, "our tests"),
    }  # fmt: skip


def test_curation__played_elsewhere__makes_cases_protected(examined, taught, submit, cast, ci):
    where, digest = "/api/v1/external-curations", taught.stable.digest
    place = {"benchmark": str(examined.pk), "version": digest}
    asked = ci.get(where, {**place, "limit": 500}).json()["results"]
    one, other = asked[0], asked[1]
    known = next(
        word for word in one["messages"][0]["content"].replace(",", "").split() if word.startswith(("topic", "unk"))
    )
    good = {"case": one["id"], "output": {"text": f"The answer about {known}."}, "latency_ms": 5}
    bad = {"case": other["id"], "trial": 0, "crashed": True}

    results = [*({**good, "trial": trial} for trial in range(5)), bad, {**good, "trial": 5}, "words"]
    receipt = ci.post(where, {**place, "results": results}, format="json")
    again = ci.post(
        where, {**place, "results": [{**bad, "crashed": False}, {**bad, "trial": 1, "dropped": True}]}, format="json"
    )

    told = receipt.json()
    assert receipt.status_code == 202, receipt.content
    assert (len(asked), told["accepted"], told["missing"]) == (124, 6, 122)
    assert [one["index"] for one in told["rejected"]] == [6, 7]
    assert again.json()["accepted"] == 0
    _, run = open_run(submit, cast)
    assert [str(row.case_id) for row in run.run_cases.filter(is_protected=True)] == [one["id"]]


def test_curation__by_who_may_not__is_refused(examined, taught, cast, api):
    where, place = "/api/v1/external-curations", {"benchmark": str(examined.pk), "version": taught.stable.digest}

    assert api(cast.engineer).get(where, place).status_code == 403
    assert api(cast.support).post(where, {**place, "results": []}, format="json").status_code == 403
    assert api(cast.outsider).get(where, place).status_code == 404
