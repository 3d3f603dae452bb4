"""Starting a benchmark: a stratified draft of captured episodes, in the split they have, saying what it expects and why."""

from collections import Counter

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.exceptions import DomainError, NotPermittedError
from audit.models import Event
from episodes.models import Conversation, Episode, Flag
from evals.drafting_jobs import draft_round
from evals.episode_cases import read_sources
from evals.exceptions import TooFewEpisodesError
from evals.models import Benchmark, Case, DraftRound
from evals.proposing_cases import fill_gap, propose_benchmark
from evals.scoring import validate_expectations
from harness.models import Change, put_in_force
from jobs.models import Task
from tests.conftest import make_agent
from tests.evals.benchmarks.world import correct, live


def cases_of(benchmark):
    return benchmark.cases.select_related("intent", "episode__conversation", "correction")


def again(agent, by, **asked):
    row = propose_benchmark(agent, by=by.as_actor(), **asked)
    draft_round(str(row.pk))
    row.refresh_from_db()
    return row


def test_start__from_two_hundred_episodes__drafts_a_hundred_and_more(drafted, benchmark):
    cases = list(cases_of(benchmark))

    assert drafted.num_drafted == len(cases) == 120
    assert drafted.sentence.startswith("120 drafts of ")
    assert (drafted.percent, drafted.num_done) == (100, drafted.num_planned)
    assert {case.status for case in cases} == {"draft"}
    assert benchmark.is_active
    assert Event.objects.filter(action="benchmark.propose_cases").count() == 1
    assert all(case.history.count() == 1 for case in cases)


def test_drafts__of_each_conversation__keep_its_split_and_are_one(benchmark):
    cases = list(cases_of(benchmark))

    assert all(case.split == case.episode.conversation.split for case in cases)
    assert len({case.episode.conversation_id for case in cases}) == len(cases)
    splits = Counter(case.split for case in cases)
    assert splits["verify"] > splits["dev"]
    assert set(splits) == {"dev", "verify", "holdout"}


def test_drafts__of_each_intent__follow_its_traffic(benchmark):
    found = Counter(case.intent.slug if case.intent else "" for case in cases_of(benchmark))

    assert found["refund"] > found["returns"] > found[""] >= 5
    assert found["refund"] == pytest.approx(0.6 * 120, abs=4)


def test_drafts__of_each_ending__have_its_kind(benchmark):
    for case in cases_of(benchmark):
        failed = case.episode.conversation.resolution == "failed"
        expected = {"known_failure"} if failed else {"edge"} if case.intent is None else {"success"}
        assert case.kind in expected


def test_drafts__of_a_user__name_nobody(benchmark):
    said = str(list(cases_of(benchmark).values("name", "cluster", "source", "messages", "expectations")))

    assert "home.test" not in said
    assert "talk " not in said
    assert len({case.cluster for case in cases_of(benchmark)}) == 120
    assert all(case.cluster.startswith("user ") for case in cases_of(benchmark))


def lived_on(talk, name, said, answer):
    """One more turn in a conversation, reported by itself."""
    return Episode.objects.create(
        agent=talk.agent, conversation=talk, external_id=name, started_at=timezone.now(), body_digest="0" * 64,
        input={"messages": [{"role": "user", "content": said}]}, output=answer,
    )  # fmt: skip


def source_of(agent, episode):
    found = read_sources(agent, episode.conversation.intent, limit=500, share=0.5, guarded=frozenset())
    return next(one for one in found if one.episode == episode)


def test_drafts__text_that_the_policy_cuts_by_now__is_cut(lived, past):
    talk = Conversation.objects.create(
        agent=lived, external_id="new", subject="x", split="dev", opening="hello", started_at=timezone.now(), last_at=timezone.now(),
        settled_at=timezone.now(), resolution="resolved", resolution_source="staff", embedding_model="m", intent=past.intents["refund"],
    )  # fmt: skip
    row = lived_on(talk, "captured before", "Write to mail.of.somebody@gmail.com, order A1", {"text": "Done."})

    made = source_of(lived, row)

    assert made.messages == [{"role": "user", "content": "Write to [email], order A1"}]


def test_messages__of_an_agent_that_reports_turn_by_turn__hold_the_turns_before(lived, past):
    talk = Conversation.objects.filter(agent=lived, resolution="failed", intent=past.intents["returns"])[0]
    second = lived_on(talk, "second", "And by post?", {"text": "Also."})
    correct(lived, [second], answer="By post it takes 9 days.")

    made = source_of(lived, second)

    assert [turn["content"] for turn in made.messages] == [talk.opening, "I do not know.", "And by post?"]
    assert made.expectations == {"contains": ["9 days"]}


def test_drafts__expectations__come_from_corrections_and_resolved_replies(benchmark, past):
    cases = list(cases_of(benchmark))
    corrected = [case for case in cases if case.correction is not None]
    resolved = [case for case in cases if case.kind == "success"]
    failed = [case for case in cases if case.kind == "known_failure" and case.correction is None and case.intent]

    assert len(corrected) >= 10
    assert {str(case.expectations) for case in corrected} == {"{'contains': ['5 days']}"}
    assert {case.correction_id for case in corrected} == {past.correction.pk}
    assert all(case.expectations["handoff"] is False for case in resolved)
    assert {case.expectations["cites"][0] for case in resolved} == {"refund-policy", "returns-policy"}
    assert {case.expectations["cites"][0] for case in failed} <= {"refund-policy", "returns-policy"}
    for case in cases:
        if case.expectations:
            validate_expectations(case.expectations)


def test_draft__expecting_nothing__is_not_put_in_use(benchmark, cast):
    silent = next(case for case in cases_of(benchmark) if not case.expectations)

    with pytest.raises(DomainError, match="cannot be scored"):
        silent.activate(by=cast.approver.as_actor())


def test_start__again__drafts_only_what_is_missing(lived, benchmark, cast):
    assert again(lived, cast.approver).num_drafted == 0
    for case in benchmark.cases.order_by("pk")[:7]:
        case.retire(by=cast.approver.as_actor(), reason="not wanted")

    row = again(lived, cast.approver)

    assert row.num_drafted == 7
    retired = set(benchmark.cases.filter(status="retired").values_list("episode_id", flat=True))
    assert not benchmark.cases.drafts().filter(episode__in=retired).exists()


def test_start__while_a_round_is_under_way__is_that_round(lived, benchmark, cast):
    first = propose_benchmark(lived, by=cast.engineer.as_actor(), number=130)
    second = propose_benchmark(lived, by=cast.approver.as_actor(), number=150)

    assert first == second
    assert Task.objects.filter(name="evals.drafting_jobs.draft_round", key=str(first.pk)).count() == 1


def test_round__played_twice__drafts_once(drafted, benchmark):
    draft_round(str(drafted.pk))

    assert benchmark.cases.count() == 120


def test_start__with_too_few_episodes__says_how_many_are_missing(cast, db):
    young = make_agent(cast.team, cast.administrator, "young-desk")
    with acting(MACHINE, reason="a short past"):
        live(young, 12)

    with pytest.raises(TooFewEpisodesError, match="12 of 200 episodes are captured, 188 more are needed"):
        propose_benchmark(young, by=cast.engineer.as_actor())
    assert not Benchmark.objects.filter(agent=young).exists()


@pytest.mark.parametrize("role", ["support", "auditor", "release_manager"])
def test_start__by_who_keeps_no_benchmarks__is_refused(lived, cast, role):
    with pytest.raises(NotPermittedError, match="edit_benchmark"):
        propose_benchmark(lived, by=getattr(cast, role).as_actor())


def test_start__with_a_benchmark_bound_by_the_policy__drafts_into_it(lived, cast):
    put_in_force(lived, "policy", {"benchmark": "official"}, by=MACHINE, reason="bound")

    made = propose_benchmark(lived, by=cast.engineer.as_actor()).benchmark

    assert made.name == "official"


def test_gap__of_an_intent__gets_verify_and_holdout_drafts_until_nothing_is_left(lived, benchmark, cast, past):
    returns = past.intents["returns"]
    for case in benchmark.cases.filter(intent=returns):
        case.retire(by=cast.approver.as_actor(), reason="none of these")
    left = Conversation.objects.filter(agent=lived, intent=returns, split__in=("verify", "holdout"))
    left = left.exclude(episodes__cases__isnull=False).count()

    row = fill_gap(benchmark, returns, by=cast.engineer.as_actor())
    draft_round(str(row.pk))
    row.refresh_from_db()

    assert row.number == 48
    assert row.num_drafted == left > 0
    assert f"{48 - left} more were wanted" in row.sentence
    assert {key.split()[0] for key in row.drafted} <= {"verify", "holdout"}


def test_gap__with_enough_drafts_waiting__asks_to_review_them(lived, benchmark, cast, past):
    change = Change.propose(
        agent=lived,
        kind="policy",
        document={"gate": {"profile": "small"}},
        rationale="small",
        by=cast.engineer.as_actor(),
    )
    change.approve(by=cast.approver.as_actor(), reason="fine")
    benchmark.refresh_from_db()

    with pytest.raises(DomainError, match="review them first"):
        fill_gap(Benchmark.objects.get(pk=benchmark.pk), past.intents["refund"], by=cast.engineer.as_actor())


def test_gap__intent_of_another_agent__is_refused(benchmark, cast, past):
    other = make_agent(cast.team, cast.administrator, "other-desk")
    with acting(MACHINE, reason="another"):
        foreign = live(other, 0)["refund"]

    with pytest.raises(DomainError, match="another agent"):
        fill_gap(benchmark, foreign, by=cast.engineer.as_actor())


def test_kinds__flagged_guarded_and_escalated__are_high_risk(lived, cast, past):
    refund = past.intents["refund"]
    flagged = Episode.objects.filter(agent=lived, conversation__intent=refund).order_by("-pk")[0]
    with acting(MACHINE, reason="flagged"):
        Flag(episode=flagged, reason="should_escalate", flagged_by_name="support").save()

    plain = read_sources(lived, refund, limit=500, share=0.5, guarded=frozenset())
    guarded = read_sources(lived, refund, limit=500, share=0.5, guarded=frozenset({refund.pk}))

    [risky] = [one for one in plain if one.candidate.place.kind == Case.Kind.HIGH_RISK]
    assert (risky.episode, risky.expectations) == (flagged, {"handoff": True})
    assert {one.candidate.place.kind for one in guarded} == {Case.Kind.HIGH_RISK}


def test_rounds__of_one_benchmark__never_run_twice_at_once(benchmark):
    DraftRound.objects.create(benchmark=benchmark, number=1, asked_by_name="somebody")
    with pytest.raises(IntegrityError), transaction.atomic():
        DraftRound.objects.create(benchmark=benchmark, number=1, asked_by_name="somebody else")
