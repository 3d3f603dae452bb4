"""The queue in which people label: blind before, told after, one key a grade, and never markup."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from audit.models import Event
from evals.judges.labeling import label
from evals.models import JudgeLabel, JudgeVerdict
from tests.console.inline_scripts import inline_scripts
from tests.evals.judges.conftest import judged

EVIL = "<script>alert(1)</script> Money comes back."


@pytest.fixture
def desk(world):
    return reverse("admin:evals_judgerubric_label", args=(world.rubric.pk,))


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def shown_item(body):
    return re.search(r'name="item" value="([0-9a-f-]{36})"', body)[1]


def test_label_page__before__tells_neither_arm_nor_verdict_and_escapes_what_was_said(world, cast, desk):
    judged(world, [1], text=EVIL)

    answer = signed_in(cast.approver).get(desk)

    body = answer.content.decode()
    main = body[body.index("desk-title") :]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; Money comes back." in main
    assert "How do I get my money back, way 0?" in main
    assert 'data-key="p"' in main
    assert 'data-key="f"' in main
    for hidden in (
        "candidate",
        "baseline",
        "because",
        world.run.candidate.digest,
        world.judge.digest[:12],
        "<script>alert",
    ):
        assert hidden not in main
    assert inline_scripts(answer.content) == []
    assert "evals/label.js" in body
    assert Event.objects.filter(action="benchmark.read_exam", actor="approver").count() == 1


def test_label_page__one_click__labels_and_then_tells_the_verdict_with_its_reasons(world, cast, desk):
    judged(world, [1, 1])
    client = signed_in(cast.approver)
    item = shown_item(client.get(desk).content.decode())

    answer = client.post(desk, {"item": item, "grade": "0", "note": "it does not say how"}, follow=True)

    body = answer.content.decode()
    given = JudgeLabel.objects.get()
    assert (given.grade, given.note, given.labeled_by) == (0, "it does not say how", cast.approver)
    assert given.result == JudgeVerdict.objects.get(pk=item).result
    assert "You said fail." in body
    assert "the judge said pass" in body
    assert "&lt;i&gt;because&lt;/i&gt; so" in body
    assert shown_item(body) != item


def test_label_page__agreement__tells_no_reasons(world, cast, desk):
    judged(world, [1])
    client = signed_in(cast.approver)

    body = client.post(
        desk, {"item": shown_item(client.get(desk).content.decode()), "grade": "1"}, follow=True
    ).content.decode()

    assert "the judge agrees" in body
    assert "because" not in body
    assert "Nothing waits for you" in body


def test_label_page__what_another_person_was_told__is_not_shown(world, cast, desk):
    [result] = judged(world, [1])
    done = label(world.rubric, result, grade=0, by=cast.approver.as_actor())

    body = signed_in(cast.second_approver).get(f"{desk}?labeled={done.label.pk}").content.decode()

    assert "You said" not in body


@pytest.mark.parametrize("item", ["", "nonsense", "\x00", "00000000-0000-7000-8000-000000000000"])
def test_label_page__item_that_is_not_there__says_so(world, cast, desk, item):
    answer = signed_in(cast.approver).post(desk, {"item": item.replace("\x00", "0"), "grade": "1"}, follow=True)

    assert "not there any more" in answer.content.decode()
    assert not JudgeLabel.objects.exists()


def test_label_page__refusals__are_shown_in_words(world, cast, desk):
    judged(world, [1])
    item = str(JudgeVerdict.objects.get().pk)

    by_support = signed_in(cast.support).post(desk, {"item": item, "grade": "1"}, follow=True).content.decode()
    nonsense = signed_in(cast.approver).post(desk, {"item": item, "grade": "x"}, follow=True).content.decode()

    assert "read_exam" in by_support
    assert "is no grade" in nonsense
    assert not JudgeLabel.objects.exists()


def test_label_page__for_support__shows_no_exam(world, cast, desk):
    judged(world, [1])

    body = signed_in(cast.support).get(desk).content.decode()

    assert "Nothing waits for you" in body
    assert "How do I get my money back" not in body


def test_label_page__of_another_team__is_not_found(world, cast, desk):
    assert signed_in(cast.outsider).get(desk).status_code == 404


def test_rubric_page__shows_how_far_the_judge_is_and_where_people_disagree(world, cast):
    results = judged(world, [1, 0], text=EVIL)
    for result in results:
        label(world.rubric, result, grade=0, by=cast.approver.as_actor(), note="<b>no</b>")
    page = reverse("admin:evals_judgerubric_change", args=(world.rubric.pk,))

    of_approver = signed_in(cast.approver).get(page).content.decode()
    of_engineer = signed_in(cast.second_engineer).get(page).content.decode()

    for words in (
        "98 more human labels",
        "advisory",
        "approver: fail",
        "judge: pass",
        "&lt;b&gt;no&lt;/b&gt;",
        "2 of 100",
    ):
        assert words in of_approver
    assert "<script>alert" not in of_approver
    assert "98 more human labels" in of_engineer
    assert "approver: fail" not in of_engineer


def test_verdict_page__before_a_label__keeps_the_grade_to_itself(world, cast):
    [result] = judged(world, [1])
    verdict = JudgeVerdict.objects.get()
    page = reverse("admin:evals_judgeverdict_change", args=(verdict.pk,))
    client = signed_in(cast.approver)

    before = client.get(page).content.decode()
    label(world.rubric, result, grade=0, by=cast.approver.as_actor())
    after = client.get(page).content.decode()

    assert "because" not in before
    assert "candidate" not in before
    assert "because" in after


def test_acts__of_the_rubric__call_the_verbs(world, cast, model):
    base = "admin:evals_judgerubric_verb"
    client = signed_in(cast.engineer)

    measured = client.post(reverse(base, args=(world.rubric.pk, "calibrate")), {"reason": ""}, follow=True)
    drawn = client.post(
        reverse(base, args=(world.rubric.pk, "draw_episodes")), {"reason": "", "number": 3}, follow=True
    )
    appointed = signed_in(cast.administrator).post(
        reverse(base, args=(world.rubric.pk, "appoint_judge")), {"reason": "again"}, follow=True
    )

    assert "its calibration follows" in measured.content.decode()
    assert "grades 3 episodes" in drawn.content.decode()
    assert "judges for Support desk already" in appointed.content.decode()
