"""What was learned: found by meaning, quarantined until a person confirms it."""

import pytest

from accounts.acting import MACHINE
from accounts.exceptions import NotPermittedError
from audit.models import Event
from harness.models import ApiKey
from lessons.memory import LessonStateError, confirm, post, recall, retire

pytestmark = pytest.mark.django_db


@pytest.fixture
def lessons(agent, cast):
    texts = [
        "Parcels to Norway need a customs form.",
        "Refunds go back to the card that paid.",
        "Lamps are out of stock.",
    ]
    kept = [post(agent, text=text, source_ref=f"test:{number}", by=MACHINE) for number, text in enumerate(texts)]
    for lesson in kept:
        confirm(lesson, by=cast.support.as_actor(), reason="true")
    return kept


def test_recall__question__returns_the_nearest_first(agent, lessons):
    assert recall(agent, "How do I get my money back?")[0] == lessons[1]
    assert recall(agent, "shipping abroad and customs", limit=1) == [lessons[0]]


def test_recall__no_question__returns_the_newest(agent, lessons):
    assert recall(agent)[0] == lessons[2]


def test_recall__quarantined_or_retired__is_never_returned(agent, lessons, cast):
    post(agent, text="Refunds take a year.", by=MACHINE)
    retire(lessons[1], by=cast.support.as_actor(), reason="no longer so")

    assert {lesson.pk for lesson in recall(agent, "refund")} == {lessons[0].pk, lessons[2].pk}


def test_recall__other_agent__sees_nothing(other_agent, lessons):
    assert recall(other_agent, "refund") == []


def test_post__same_source_twice__is_kept_once(agent):
    first = post(agent, text="One.", source_ref="test:x", by=MACHINE)

    assert post(agent, text="Two.", source_ref="test:x", by=MACHINE) == first


def test_confirm__by_the_auditor__is_not_permitted(agent, cast):
    lesson = post(agent, text="One.", by=MACHINE)

    with pytest.raises(NotPermittedError):
        confirm(lesson, by=cast.auditor.as_actor(), reason="true")


def test_confirm__twice__is_refused_and_recorded_once(agent, cast):
    lesson = post(agent, text="One.", by=MACHINE)
    confirm(lesson, by=cast.support.as_actor(), reason="true")

    with pytest.raises(LessonStateError):
        confirm(lesson, by=cast.support.as_actor(), reason="true")
    assert Event.objects.filter(action="lesson.confirm").count() == 1


def test_api__agent_posts_and_recalls__after_a_person_confirmed(agent, api, agent_key, cast):
    path = "/api/v1/agents/shop-desk/lessons"
    posted = api(agent_key).post(
        path, {"text": "Parcels to Norway need a customs form.", "layer": "context"}, format="json"
    )
    assert (posted.status_code, posted.json()["state"]) == (201, "quarantined")
    assert api(agent_key).get(path, {"q": "customs"}).json()["results"] == []

    decided = api(cast.support).post(
        f"/api/v1/lessons/{posted.json()['id']}/confirm", {"reason": "true"}, format="json"
    )

    assert (decided.status_code, decided.json()["state"]) == (200, "confirmed")
    found = api(agent_key).get(path, {"q": "customs"}).json()["results"]
    assert [row["text"] for row in found] == ["Parcels to Norway need a customs form."]


def test_api__without_scope_or_membership__is_refused(agent, api, cast):
    _, secret = ApiKey.issue(
        kind="agent", name="k", owner=cast.administrator, agent=agent, scopes=["harness:read"], by=MACHINE
    )
    path = "/api/v1/agents/shop-desk/lessons"

    assert api(secret).post(path, {"text": "x"}, format="json").status_code == 403
    assert api(secret).get(path).status_code == 200
    assert api(cast.outsider).get(path).status_code == 404
    assert api(cast.support).post(path, {"text": "x", "layer": "mind"}, format="json").status_code == 422
    assert api().get(path).status_code == 401
