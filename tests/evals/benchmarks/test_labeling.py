"""Saying what drafts expect: once for all drafts of a correction, and never by who may not read them."""

import pytest

from accounts.acting import MACHINE
from accounts.exceptions import DomainError, NotPermittedError
from accounts.models import Membership
from accounts.roles import Role
from audit.models import Event
from episodes.models import Episode
from evals.drafting_jobs import label_drafts
from evals.exceptions import CaseUsedError, NotDraftError, OwnChangeError
from evals.labeling import accept_correction, label, label_by_corrections, label_correction, siblings_of, why_expected
from evals.models import Case, CurationTrial
from evals.scoring import UnknownExpectationError
from evals.secrecy import writers_among
from tests.console.world import make_proposal
from tests.evals.benchmarks.world import correct


def draft(benchmark, **where):
    return benchmark.cases.drafts().filter(**where).select_related("benchmark__agent", "episode").order_by("pk")[0]


def corrected(benchmark, past):
    return benchmark.cases.filter(correction=past.correction)


def test_label__one_draft__is_written_down_with_its_author(benchmark, cast):
    case = draft(benchmark, split="verify")

    label(case, {"contains": ["tomorrow"]}, by=cast.approver.as_actor(), kind="high_risk", intent="returns")

    case.refresh_from_db()
    assert (case.expectations, case.kind, case.intent.slug) == ({"contains": ["tomorrow"]}, "high_risk", "returns")
    assert case.author == cast.approver
    assert Event.objects.filter(action="case.label").get().actor_user_id == cast.approver.pk
    case.activate(by=cast.second_approver.as_actor())
    assert writers_among([cast.approver.pk], benchmark) == ["approver"]


def test_label__as_it_was__makes_nobody_its_author(benchmark, cast):
    case = draft(benchmark, split="verify", correction__isnull=False)

    label(case, case.expectations, by=cast.approver.as_actor())

    case.refresh_from_db()
    assert case.author is None
    assert case.history.count() == 1


def test_label__exam_by_who_does_not_read_it__is_refused(benchmark, cast):
    label(draft(benchmark, split="dev"), {"contains": ["x"]}, by=cast.engineer.as_actor())

    for split in ("verify", "holdout"):
        with pytest.raises(NotPermittedError, match="belongs to the exam"):
            label(draft(benchmark, split=split), {"contains": ["x"]}, by=cast.engineer.as_actor())
    with pytest.raises(NotPermittedError, match="edit_benchmark"):
        label(draft(benchmark, split="dev"), {"contains": ["x"]}, by=cast.auditor.as_actor())


def test_label__nonsense_or_in_use__is_refused(benchmark, cast):
    approver, case = cast.approver.as_actor(), draft(benchmark, split="dev", correction__isnull=False)

    with pytest.raises(UnknownExpectationError):
        label(case, {}, by=approver)
    with pytest.raises(DomainError, match="no intent"):
        label(case, {"contains": ["x"]}, by=approver, intent="nowhere")
    with pytest.raises(DomainError, match="no kind"):
        label(case, {"contains": ["x"]}, by=approver, kind="odd")
    case.activate(by=approver)
    with pytest.raises(NotDraftError, match="only drafts"):
        label(case, {"contains": ["x"]}, by=approver)


def test_label_correction__in_one_act__labels_every_draft_of_it_and_no_other(benchmark, cast, past):
    before = corrected(benchmark, past).count()
    others = benchmark.cases.exclude(correction=past.correction).filter(expectations={"contains": ["week"]}).count()

    changed = label_correction(
        draft(benchmark, correction=past.correction), {"contains": ["week"]}, by=cast.approver.as_actor()
    )

    assert len(changed) == before >= 10
    assert {str(case.expectations) for case in corrected(benchmark, past)} == {"{'contains': ['week']}"}
    assert (
        benchmark.cases.exclude(correction=past.correction).filter(expectations={"contains": ["week"]}).count()
        == others
    )


def test_label_correction__by_who_reads_no_exam__labels_dev_drafts_only(benchmark, cast, past):
    case = draft(benchmark, correction=past.correction, split="dev")

    changed = label_correction(case, {"contains": ["week"]}, by=cast.engineer.as_actor())

    assert {one.split for one in changed} == {"dev"}
    assert {one.split for one in corrected(benchmark, past).filter(expectations={"contains": ["5 days"]})} == {
        "verify",
        "holdout",
    }


def test_label_correction__a_tool_with_arguments_of_each_episode__keeps_them(lived, benchmark, cast):
    cases = list(benchmark.cases.filter(split="dev", correction=None)[:2])
    said = correct(lived, [case.episode for case in cases], tool="refund", arguments={"fast": "yes"})
    for cover, number in zip(said.coverage.order_by("id"), ("A1", "B2"), strict=True):
        cover.arguments = {"order_id": number}
        cover.save()
    label_by_corrections(by=MACHINE)

    first = Case.objects.select_related("benchmark__agent").get(pk=cases[0].pk)
    label_correction(
        first,
        {"tool_called": {"name": "refund", "arguments": {"fast": "no", "order_id": "A1"}}},
        by=cast.engineer.as_actor(),
    )

    found = [Case.objects.get(pk=case.pk).expectations["tool_called"]["arguments"] for case in cases]
    assert found == [{"fast": "no", "order_id": "A1"}, {"fast": "no", "order_id": "B2"}]


def test_accept_correction__in_one_act__puts_every_draft_of_it_in_use(benchmark, cast, past):
    case = draft(benchmark, correction=past.correction, split="verify")

    accepted = accept_correction(case, by=cast.approver.as_actor())

    assert len(accepted) == corrected(benchmark, past).count()
    assert {one.status for one in corrected(benchmark, past)} == {"active"}
    assert siblings_of(case, cast.approver.as_actor()) == []


def test_accept_correction__by_who_has_an_open_proposal__changes_nothing(lived, benchmark, cast, past):
    Membership.objects.create(user=cast.approver, team=cast.team, role=Role.ENGINEER)
    make_proposal(lived, Episode.objects.create(
        agent=lived, conversation=draft(benchmark, split="dev").episode.conversation, external_id="e", body_digest="0" * 64,
        started_at=lived.created_at, input={"messages": [{"role": "user", "content": "<b>my</b> order"}]}, output={},
    ), author=cast.approver)  # fmt: skip
    case = draft(benchmark, correction=past.correction, split="dev")

    with pytest.raises(OwnChangeError, match="second person"):
        accept_correction(case, by=cast.approver.as_actor())

    assert {one.status for one in corrected(benchmark, past)} == {"draft"}


def test_correction__written_after_the_drafts__labels_them_at_the_clock(lived, benchmark, cast):
    cases = list(benchmark.cases.filter(correction=None, kind="success").select_related("episode")[:6])
    kept = cases[0]
    kept.benchmark = benchmark
    label(kept, {"contains": ["by hand"]}, by=cast.approver.as_actor())
    said = correct(lived, [case.episode for case in cases], answer="It takes 7 weeks.")

    label_drafts()
    label_drafts()

    now = [Case.objects.get(pk=case.pk) for case in cases]
    assert now[0].expectations == {"contains": ["by hand"]}
    assert {str(case.expectations) for case in now[1:]} == {"{'contains': ['7 weeks']}"}
    assert {(case.correction, case.kind) for case in now[1:]} == {(said, "known_failure")}
    assert {case.history.count() for case in now[1:]} == {2}
    assert why_expected(now[1])["contains"] == "the facts in the correction's answer"
    assert why_expected(now[0])["contains"] == "as approver wrote it"


def test_correction__that_it_should_be_handed_over__makes_drafts_high_risk(lived, benchmark):
    case = draft(benchmark, correction=None, kind="success")
    correct(lived, [case.episode], should_escalate=True)

    assert label_by_corrections(by=MACHINE) == 1

    case.refresh_from_db()
    assert (case.kind, case.expectations) == ("high_risk", {"handoff": True})


def test_reopen__case_that_was_played__keeps_its_text(benchmark, cast):
    case = draft(benchmark, split="verify", correction__isnull=False)
    case.activate(by=cast.approver.as_actor())
    CurationTrial.objects.create(case=case, digest="0" * 64, trial=0, passed=True, latency_ms=1)

    with pytest.raises(CaseUsedError, match="retire it"):
        case.reopen(by=cast.approver.as_actor(), reason="a mistake")
