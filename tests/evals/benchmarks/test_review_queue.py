"""The queue of drafts: one at a time, without a mouse or scripts, and nobody reads an exam unawares."""

import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.roles import Role
from audit.models import Event
from episodes.models import Episode
from evals.labeling import label
from evals.models import Case
from tests.console.inline_scripts import inline_scripts
from tests.console.world import make_proposal


@pytest.fixture
def address(benchmark):
    return reverse("admin:evals_benchmark_queue", args=(benchmark.pk,))


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def page(client, address, **query):
    return client.get(address, query).content.decode()


def shown(body):
    found = re.search(r'name="case" value="([0-9a-f-]{36})"', body)
    return Case.objects.get(pk=found[1]) if found else None


def send(client, address, act, case=None, **more):
    return client.post(
        address, {"act": act, **({"case": case.pk} if case else {}), **more}, follow=True
    ).content.decode()


def readings():
    return Event.objects.filter(action="benchmark.read_exam")


def test_queue__for_who_reads_no_exam__has_dev_drafts_only(address, benchmark, cast):
    body = page(signed_in(cast.engineer), address)

    dev = benchmark.cases.filter(split="dev").count()
    assert f"0 of {dev} reviewed" in body
    assert f"{120 - dev} more verify and hold-out drafts wait for somebody who may read the exam" in body
    assert shown(body).split == "dev"
    assert not readings().exists()
    for split in ("verify", "holdout"):
        hidden = benchmark.cases.filter(split=split)[0]
        asked = page(signed_in(cast.engineer), address, case=str(hidden.pk), exam="1")
        assert hidden.messages[0]["content"] not in asked
    assert not readings().exists()


def test_queue__for_an_examiner__shows_the_exam_only_when_asked_and_says_what_it_means(address, benchmark, cast):
    client = signed_in(cast.approver)

    first = page(client, address)
    assert shown(first).split == "dev"
    assert "the record names you as a reader" in first
    assert not readings().exists()

    second = page(client, address, exam="1", case=str(benchmark.cases.filter(split="verify")[0].pk))
    assert "This is the exam" in second
    assert [event.actor_user_id for event in readings()] == [cast.approver.pk]

    assert "0 of 120 reviewed" in page(client, address)


@pytest.mark.parametrize("role", ["support", "auditor", "administrator"])
def test_queue__for_who_keeps_no_benchmarks__is_closed(address, cast, role):
    assert signed_in(getattr(cast, role)).get(address).status_code == 403


def test_queue__of_another_team__is_not_there(address, cast):
    assert signed_in(cast.outsider).get(address).status_code == 404


def test_page__shows_conversation_expectations_and_source_in_words(address, benchmark, cast):
    case = benchmark.cases.filter(split="dev", correction__isnull=False)[0]

    body = page(signed_in(cast.engineer), address, case=str(case.pk))

    assert case.messages[0]["content"] in body
    assert "The reply says “5 days”." in body
    assert "Because: the facts in the correction&#x27;s answer." in body
    assert reverse("admin:episodes_episode_change", args=(case.episode_id,)) in body
    assert reverse("admin:episodes_correction_change", args=(case.correction_id,)) in body
    assert "Known failure" in body
    assert "until a gate can decide" in body
    assert "20 of 20 looks at the hold-out are left" in body


def test_accept_skip_retire_undo__by_plain_forms__lead_on(address, benchmark, cast):
    client = signed_in(cast.engineer)
    first = benchmark.cases.filter(split="dev", correction__isnull=False)[0]

    body = send(client, address, "accept", first)
    first.refresh_from_db()
    assert first.status == "active"
    assert "1 of " in body
    second = shown(body)

    body = send(client, address, "skip", second)
    third = shown(body)
    assert third not in {first, second}

    body = send(client, address, "retire", third, reason="too odd")
    third.refresh_from_db()
    assert third.status == "retired"
    assert third.history.first().history_change_reason == "too odd"

    for expected in (third, second, first):
        body = send(client, address, "undo")
        assert shown(body) == expected
        expected.refresh_from_db()
        assert expected.status == "draft"
    assert "0 of " in body
    assert "There is nothing to undo" in send(client, address, "undo")


def test_edit__by_the_form__says_what_is_expected_and_is_undone(address, benchmark, cast):
    client = signed_in(cast.engineer)
    case = benchmark.cases.filter(split="dev", correction=None, kind="success")[0]
    before = case.expectations

    body = send(
        client, address, "label", case, contains="30 days\nno fee", cites="refund-policy", handoff="no", kind="edge", intent="returns",
        tool="refund", arguments='{"order_id": "A7"}', other="", excludes="never",
    )  # fmt: skip

    case.refresh_from_db()
    assert case.expectations == {
        "contains": ["30 days", "no fee"], "excludes": ["never"], "cites": ["refund-policy"], "handoff": False,
        "tool_called": {"name": "refund", "arguments": {"order_id": "A7"}},
    }  # fmt: skip
    assert (case.kind, case.intent.slug, case.author) == ("edge", "returns", cast.engineer)
    assert shown(body) == case
    assert "The tool refund is called with order_id = A7." in body

    send(client, address, "undo")
    case.refresh_from_db()
    assert (case.expectations, case.kind, case.author) == (before, "success", None)


def test_edit__of_a_whole_correction__is_one_act_and_one_undo(address, benchmark, cast, past):
    client = signed_in(cast.engineer)
    own = benchmark.cases.filter(correction=past.correction, split="dev")

    body = send(
        client,
        address,
        "label",
        own[0],
        contains="5 days",
        excludes="week",
        kind="known_failure",
        intent="refund",
        all_of_correction="on",
    )
    assert f"{own.count()} drafts of the correction expect this now" in body
    assert {case.expectations.get("excludes", [""])[0] for case in own.all()} == {"week"}

    said = send(client, address, "undo")
    assert f"Undone: {own.count()} drafts." in said, re.findall(
        r"Cannot[^<]*|[^<>]{3,}(?:history|gone|only)[^<>]*", said
    )
    assert {str(case.expectations) for case in own.all()} == {"{'contains': ['5 days']}"}

    body = send(client, address, "accept_all", own[0])
    assert {case.status for case in own.all()} == {"active"}
    send(client, address, "undo")
    assert {case.status for case in own.all()} == {"draft"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "cannot be scored"), ({"arguments": "[1]", "tool": "x"}, "Give an object"), ({"arguments": '{"a": 1}'}, "need the name of the tool"),
        ({"other": '{"nonsense": 1}'}, "cannot be scored"), ({"other": "{"}, "Enter a valid JSON"), ({"contains": "x", "kind": "odd"}, "valid choice"),
    ],
)  # fmt: skip
def test_edit__that_cannot_be__says_why_and_keeps_what_was_typed(address, benchmark, cast, fields, words):
    case = benchmark.cases.filter(split="dev")[0]

    body = send(
        signed_in(cast.engineer), address, "label", case, **{"kind": "edge", "intent": "", "excludes": "", **fields}
    )

    assert words in body
    assert re.search(r"<details class=\"queue-edit\" open", body)
    case.refresh_from_db()
    assert case.author is None


def test_acts__of_a_person_with_an_open_proposal__are_refused_in_words(lived, address, benchmark, cast):
    talk = benchmark.cases.filter(split="dev")[0].episode.conversation
    said = {"messages": [{"role": "user", "content": "<b>my</b> order"}]}
    episode = Episode.objects.create(
        agent=lived,
        conversation=talk,
        external_id="e",
        body_digest="0" * 64,
        started_at=talk.started_at,
        input=said,
        output={},
    )
    Membership.objects.create(user=cast.approver, team=cast.team, role=Role.ENGINEER)
    make_proposal(lived, episode, author=cast.approver)
    case = benchmark.cases.filter(split="verify", correction__isnull=False)[0]

    body = send(signed_in(cast.approver), f"{address}?exam=1", "accept", case)

    case.refresh_from_db()
    assert case.status == "draft"
    assert "Ask a second person" in body


def test_acts__on_what_is_hidden_decided_or_nonsense__change_nothing(address, benchmark, cast):
    client = signed_in(cast.engineer)
    hidden, open_ = benchmark.cases.filter(split="verify")[0], benchmark.cases.filter(split="dev")[0]

    send(client, f"{address}?exam=1", "accept", hidden)
    send(client, address, "dance", open_)
    client.post(address, {"act": "accept", "case": "nonsense"})
    label(hidden, {"contains": ["x"]}, by=cast.approver.as_actor())

    assert set(benchmark.cases.values_list("status", flat=True)) == {"draft"}


def test_queue__decided_to_the_end__says_so(address, benchmark, cast):
    for case in benchmark.cases.all():
        case.retire(by=cast.approver.as_actor(), reason="none")

    assert "All drafts that you may review are decided." in page(signed_in(cast.engineer), address)


def test_text_of_a_case__is_never_markup(address, benchmark, cast):
    case = benchmark.cases.filter(split="dev")[0]
    case.messages = [{"role": "user", "content": "<script>alert(1)</script>"}]
    case.expectations = {"contains": ["<img src=x onerror=alert(1)>"]}
    case.save()

    body = page(signed_in(cast.engineer), address, case=str(case.pk))

    assert "<script>alert(1)</script>" not in body
    assert "<img src=x" not in body


def test_pages__of_drafting__have_no_inline_script_and_every_key_is_a_button(address, benchmark, cast):
    client = signed_in(cast.approver)
    pages = [
        client.get(address, {"exam": "1"}), client.get(reverse("admin:evals_benchmark_change", args=(benchmark.pk,))),
        client.get(reverse("admin:evals_benchmark_start")), client.get(reverse("admin:evals_benchmark_changelist")),
    ]  # fmt: skip

    assert [answer.status_code for answer in pages] == [200] * 4
    assert [inline_scripts(answer.content) for answer in pages] == [[]] * 4
    keys = re.findall(r'<(\w+) [^>]*data-key="(\w)"', pages[0].content.decode())
    assert {key for _, key in keys} >= {"a", "s", "r", "e", "u"}
    assert {tag for tag, _ in keys} == {"button", "summary"}
    script = Path("evals/static/evals/queue.js").read_text()
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", script)


def test_benchmark_page__shows_coverage_gaps_and_what_is_missing(benchmark, cast):
    body = signed_in(cast.engineer).get(reverse("admin:evals_benchmark_change", args=(benchmark.pk,))).content.decode()
    plain = signed_in(cast.auditor).get(reverse("admin:evals_benchmark_change", args=(benchmark.pk,))).content.decode()

    assert "24 more verify clusters of “Refund status”" in body
    assert "Review 120 drafts" in body
    assert body.count("Propose drafts of") >= 2
    assert "<svg" in body
    assert "120 drafts of " in body
    assert "Propose drafts of" not in plain


def test_gap_button__asks_for_a_round_and_refusals_are_shown(benchmark, cast):
    address = reverse("admin:evals_benchmark_gap", args=(benchmark.pk,))
    client = signed_in(cast.engineer)

    refused = client.post(address, {"intent": "refund"}, follow=True).content.decode()
    asked = client.post(address, {"intent": "returns"}, follow=True).content.decode()

    assert "review them first" in refused
    assert "It waits for a worker." in asked
    assert client.post(address, {"intent": "nowhere"}).status_code == 404
    assert client.get(address).status_code == 405
    assert signed_in(cast.outsider).post(address, {"intent": "returns"}).status_code == 404


def test_start_page__asks_and_refuses_in_words(benchmark, lived, cast):
    address = reverse("admin:evals_benchmark_start")
    client = signed_in(cast.engineer)

    assert f'value="{lived.slug}" selected' in client.get(address, {"agent": lived.slug}).content.decode()
    done = client.post(address, {"agent": lived.slug, "number": 140}, follow=True)
    few = client.post(address, {"agent": lived.slug, "number": 3}).content.decode()
    refused = signed_in(cast.support).post(address, {"agent": lived.slug, "number": 120}).content.decode()

    assert done.redirect_chain[-1][0] == reverse("admin:evals_benchmark_change", args=(benchmark.pk,))
    assert "greater than or equal to 100" in few
    assert "edit_benchmark" in refused
