"""What a run's page draws, over REST: the same numbers, no text, refusals with a code."""

import json

import pytest

from evals.run_reports import report_of
from tests.evals.run_page.conftest import ANSWER, SAID


@pytest.fixture
def ask(api, cast):
    def at(run, what, by=None, **query):
        return api(by or cast.engineer).get(f"/api/v1/runs/{run.pk}/{what}", query)

    return at


def test_report__of_a_judged_run__has_what_the_page_draws_and_no_text(runs, ask):
    answer = ask(runs.run, "report")

    body, report = answer.json(), report_of(runs.run)
    assert answer.status_code == 200
    assert [line["name"] for line in body["intents"]] == [line.name for line in report.intents]
    assert {line["kind"]: line["lower"] for line in body["summaries"]} == {
        line.kind: pytest.approx(line.lower) for line in report.summaries
    }
    assert [line["name"] for line in body["broken"]] == ["lost-0", "lost-1", "lost-2"]
    assert body["broken"][2] | {"run_case": "", "case": ""} == {
        "run_case": "", "case": "", "name": "lost-2", "intent": "returns", "split": "verify", "kind": "edge",
        "cluster": "lost-2", "is_target": False, "is_protected": True, "outcome": "broken", "pairs": 2,
        "baseline_passed": 2, "candidate_passed": 1, "num_crashed": 0, "num_dropped": 0, "violations": 0,
    }  # fmt: skip
    assert (len(body["fixed"]), len(body["crashed"]), len(body["dropped"])) == (10, 1, 1)
    assert {"group": "target", "k": 2, "cases": 6, "baseline": 0.0, "candidate": 1.0} in body["reliability"]
    assert [one["metric"] for one in body["spreads"]] == ["latency_ms", "cost_usd"]
    assert len(body["spreads"][0]["ratios"]) == body["spreads"][0]["clusters"] == 18  # all but the case that crashed
    clusters = body["gates"][3]["measures"][0]
    assert (body["gates"][3]["name"], clusters["value"], clusters["limit"], clusters["is_met"]) == (
        "target",
        6,
        12,
        False,
    )
    assert ANSWER not in json.dumps(body)
    assert SAID not in json.dumps(body)


def test_report__of_a_run_being_played__is_refused_with_a_code(runs, ask):
    answer = ask(runs.live, "report")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_judged")


def test_progress__of_a_run_being_played__is_live_and_estimates_the_rest(runs, ask):
    body = ask(runs.live, "progress").json()

    assert (body["status"], body["is_live"], body["played"], body["planned"], body["percent"]) == (
        "running", True, 46, 92, 50,
    )  # fmt: skip
    assert body["remaining_s"] == pytest.approx(body["elapsed_s"])  # one batch, half of the trials
    assert [(arm["arm"], arm["played"], arm["crashed"]) for arm in body["arms"]] == [
        ("baseline", 23, 0), ("candidate", 23, 1),
    ]  # fmt: skip
    assert body["cost_usd"] == pytest.approx(0.001 * 23 + 0.002 * 22)


def test_progress__of_a_judged_run__has_nothing_left(runs, ask):
    body = ask(runs.run, "progress").json()

    assert (body["is_live"], body["percent"], body["remaining_s"]) == (False, 100, None)
    assert body["arms"][1]["dropped"] == 1


def test_comparison__of_two_judged_runs__sets_them_side_by_side(runs, ask):
    body = ask(runs.run, "comparison", **{"with": runs.later.pk}).json()

    holdout = next(gate for gate in body["gates"] if gate["name"] == "holdout")
    assert (body["both"], body["cases"]) == (17, [])
    assert [one["other"] for one in body["slices"] if one["kind"] == "holdout"] == [None]
    assert {one["label"] for one in holdout["measures"]} >= {"fresh clusters"}


@pytest.mark.parametrize(("other", "status"), [("nonsense", 404), ("", 404), ("foreign", 404), ("live", 404)])
def test_comparison__with_what_cannot_be_compared__is_not_found(runs, ask, other, status):
    wanted = getattr(runs, other).pk if hasattr(runs, other) else other

    assert ask(runs.run, "comparison", **{"with": wanted}).status_code == status


@pytest.mark.parametrize("what", ["report", "progress", "comparison"])
def test_endpoints__of_the_other_teams_run__are_not_found(runs, ask, cast, what):
    assert ask(runs.run, what, by=cast.outsider).status_code == 404
