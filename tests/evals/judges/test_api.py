"""Rubrics over REST: the queue as blind as on the desk, the same verbs, the same refusals."""

import pytest

from evals.models import JudgeLabel, JudgeRubric
from harness.models import ApiKey
from jobs.models import Task
from tests.evals.judges.conftest import judged, make_exam


@pytest.fixture
def address(world):
    return f"/api/v1/judge-rubrics/{world.rubric.pk}"


def test_rubric__tells_what_its_judge_lacks(world, api, cast, address):
    [result] = judged(world, [1])
    api(cast.approver).post(f"{address}/labels", {"result": str(result.pk), "grade": 1}, format="json")

    row = api(cast.engineer).get(address).json()
    listed = api(cast.engineer).get("/api/v1/judge-rubrics", {"agent": "shop-desk"}).json()["results"]

    assert [one["id"] for one in listed] == [row["id"]]
    assert (row["may_decide"], row["judge_digest"]) == (False, world.judge.digest)
    assert row["needs"][0] == "99 more human labels"
    assert row["labels"] == {"baseline": 0, "candidate": 1, "episodes": 0}
    assert (row["calibration"]["num_labels"], row["calibration"]["kappa"]) == (1, None)
    assert api(cast.outsider).get(address).status_code == 404


def test_waiting__is_blind_and_only_what_the_person_may_read(world, api, cast, address):
    [result] = judged(world, [1])

    shown = api(cast.approver).get(f"{address}/waiting")
    of_support = api(cast.support).get(f"{address}/waiting")

    [one] = shown.json()
    assert (one["result"], one["episode"], one["reply"]) == (str(result.pk), None, result.output["text"])
    assert set(one) == {"result", "episode", "messages", "reply", "handed_off", "steps"}
    for hidden in ("candidate", "because", world.judge.digest):
        assert hidden not in shown.content.decode()
    assert of_support.json() == []


def test_label__is_answered_with_the_verdict_and_is_final(world, api, cast, address):
    [result] = judged(world, [1])
    body = {"result": str(result.pk), "grade": 0, "note": "no"}

    first = api(cast.approver).post(f"{address}/labels", body, format="json")
    second = api(cast.approver).post(f"{address}/labels", body, format="json")
    differing = api(cast.approver).get(f"{address}/disagreements").json()

    assert first.status_code == 201
    assert first.json() | {"id": ""} == {
        "id": "", "grade": 0, "judge_grade": 1, "judge_rationale": "<i>because</i> so", "agrees": False,
    }  # fmt: skip
    assert (second.status_code, second.json()["code"]) == (409, "already_labeled")
    assert [(one["result"], one["their_grade"], one["judge_grade"]) for one in differing] == [(str(result.pk), 0, 1)]
    assert api(cast.support).get(f"{address}/disagreements").json() == []


def test_label__refusals__are_problems_with_their_code(world, api, cast, address):
    [result] = judged(world, [1])
    exam = {"result": str(result.pk), "grade": 1}
    episode = {"episode": str(world.episode.pk), "grade": 7}

    answers = [
        api(cast.support).post(f"{address}/labels", exam, format="json"),
        api(cast.auditor).post(f"{address}/labels", exam, format="json"),
        api(cast.support).post(f"{address}/labels", episode, format="json"),
        api(cast.support).post(f"{address}/labels", {"grade": 1}, format="json"),
    ]

    assert [(one.status_code, one.json()["code"]) for one in answers] == [
        (403, "not_permitted"), (403, "not_permitted"), (422, "bad_rubric"), (422, "bad_label"),
    ]  # fmt: skip


def test_label__by_a_key__counts_as_its_owners(world, api, cast, address):
    _, secret = ApiKey.issue(
        kind="person", name="tool", owner=cast.support, scopes=["view", "label_result"], by=cast.support.as_actor()
    )  # fmt: skip
    body = {"episode": str(world.episode.pk), "grade": 1}

    by_key = api(secret).post(f"{address}/labels", body, format="json")
    by_hand = api(cast.support).post(f"{address}/labels", body, format="json")

    assert (by_key.status_code, by_hand.status_code) == (201, 409)
    assert JudgeLabel.objects.get().labeled_by_name == "support"


def test_import_and_requests__reach_the_verbs(world, api, cast, address):
    lines = [{"episode": str(world.episode.pk), "grade": "pass", "by": "the agency"}]

    imported = api(cast.support).post(f"{address}/import_labels", {"labels": lines}, format="json")
    calibrate = api(cast.engineer).post(f"{address}/calibrate", {}, format="json")
    drawn = api(cast.engineer).post(f"{address}/draw_episodes", {"number": 2}, format="json")
    refused = api(cast.support).post(f"{address}/calibrate", {}, format="json")
    appointed = api(cast.administrator).post(f"{address}/appoint_judge", {"reason": "x"}, format="json")

    assert imported.json() == {"added": 1, "known": 0}
    assert (calibrate.status_code, drawn.status_code, refused.status_code) == (202, 202, 403)
    assert Task.objects.filter(name__startswith="evals.judge_jobs").count() == 2
    assert (appointed.status_code, appointed.json()["code"]) == (409, "refused")


def test_appoint_judge__over_rest__makes_the_teams_judge(other_agent, api, cast):
    make_exam(other_agent, cast.outsider.as_actor(), number=1)
    rubric = JudgeRubric.objects.get(agent=other_agent)

    answer = api(cast.outsider).post(
        f"/api/v1/judge-rubrics/{rubric.pk}/appoint_judge", {"reason": "somebody must"}, format="json"
    )

    assert answer.json() == {"sentence": "warehouse-judge judges from now on."}
    assert api(cast.outsider).get("/api/v1/agents/warehouse-judge").json()["level"] == 2
