"""What was learned: found by meaning, quarantined until a person confirms it."""

import pytest
from django.urls import reverse

from accounts.acting import MACHINE
from accounts.exceptions import NotPermittedError
from audit.models import Event
from harness.models import ApiKey
from lessons.memory import LessonStateError, confirm, post, recall, retire
from lessons.models import Lesson

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


def test_confirm__by_whoever_wrote_it__is_refused(agent, api, cast):
    path = "/api/v1/agents/shop-desk/lessons"
    posted = api(cast.support).post(path, {"text": "Lamps are fragile."}, format="json").json()
    decision = f"/api/v1/lessons/{posted['id']}/confirm"

    own = api(cast.support).post(decision, {"reason": "mine"}, format="json")
    second = api(cast.engineer).post(decision, {"reason": "true"}, format="json")

    assert (own.status_code, own.json()["code"]) == (403, "self_approval")
    assert second.json()["state"] == "confirmed"


def test_post__source_the_platform_learns_from__keeps_its_place_free(agent):
    source = "releases.release:1"
    post(agent, text="Nonsense.", source_ref=source, by=MACHINE)

    learned = Lesson.record(
        agent=agent, text="It was verified.", source_ref=source, layer="", state="confirmed", by=MACHINE
    )

    assert learned.text == "It was verified."


def test_admin__confirm_and_retire__are_buttons(agent, client, cast):
    lesson = post(agent, text="One.", by=MACHINE)
    client.force_login(cast.engineer)

    for verb, state in (("confirm", "confirmed"), ("retire", "retired")):
        client.post(reverse("admin:lessons_lesson_verb", args=(lesson.pk, verb)), {"reason": "because it must"})
        lesson.refresh_from_db()
        assert lesson.state == state
