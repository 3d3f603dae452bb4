"""Outcomes, flags, corrections: who may say what, what follows, what the record keeps."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from accounts.acting import MACHINE, Actor
from accounts.exceptions import NotPermittedError
from audit.models import Event
from episodes.exceptions import BadCorrectionError, BadOutcomeError, UntrustedSourceError
from episodes.intents import define
from episodes.judging import CorrectionText, correct, flag, report_outcome
from episodes.models import Conversation, CorrectedEpisode, Correction, Critique, Episode, Flag, Outcome
from episodes.reviewing import review
from harness.canonical import DocumentError
from harness.models import Agent, ApiKey
from jobs.models import Task
from tests.episodes.factories import LONG_AGO, actor, captured, item, lived, retrieval_step

pytestmark = pytest.mark.django_db


@pytest.fixture
def episode(agent: Agent) -> Episode:
    return captured(agent, item("a"))[0]


def key_actor(agent: Agent, cast: SimpleNamespace, *scopes: str) -> Actor:
    key, _ = ApiKey.issue(kind="agent", name="k", owner=cast.administrator, agent=agent, scopes=scopes, by=MACHINE)
    return key.as_actor()


def test_outcome__customer__resolves_at_once(episode: Episode) -> None:
    outcome, is_new = report_outcome(episode, name="resolved", source="customer", by=MACHINE)

    assert is_new
    assert outcome.recorded_by == "whetstone"
    conversation = Conversation.objects.get()
    assert (conversation.resolution, conversation.resolution_source, conversation.settled_at) == (
        "resolved",
        "customer",
        None,
    )


def test_outcome__weaker_voice_later__changes_nothing(episode: Episode, cast: SimpleNamespace) -> None:
    report_outcome(episode, name="failed", source="customer", by=MACHINE)
    report_outcome(episode, name="resolved", source="staff", by=actor(cast.support))

    assert Conversation.objects.get().resolution == "failed"


def test_outcome__same_report_again__is_recognized(episode: Episode) -> None:
    first, _ = report_outcome(episode, name="resolved", source="customer", by=MACHINE, at=LONG_AGO)
    second, is_new = report_outcome(episode, name="resolved", source="customer", by=MACHINE, at=LONG_AGO)

    assert (first, is_new, Outcome.objects.count()) == (second, False, 1)


def test_outcome__business_result__leaves_the_resolution(episode: Episode) -> None:
    report_outcome(episode, name="repurchased", source="customer", by=MACHINE, value=49.9)

    assert Conversation.objects.get().resolution == "open"


@pytest.mark.parametrize(
    ("scopes", "source", "allowed"),
    [
        (["outcome:truth"], "customer", True),
        (["outcome:write"], "customer", False),
        (["outcome:write"], "agent", True),
        (["episode:write"], "agent", False),
        (["outcome:write", "outcome:truth"], "detector", False),
    ],
)
def test_outcome__keys__speak_only_by_their_scope(
    episode: Episode, agent: Agent, cast: SimpleNamespace, scopes: list[str], source: str, allowed: bool
) -> None:
    by = key_actor(agent, cast, *scopes)

    if allowed:
        report_outcome(episode, name="resolved", source=source, by=by)
    else:
        with pytest.raises(UntrustedSourceError):
            report_outcome(episode, name="resolved", source=source, by=by)


def test_outcome__people__speak_as_staff_where_they_have_the_role(
    episode: Episode, agent: Agent, cast: SimpleNamespace
) -> None:
    report_outcome(episode, name="resolved", source="staff", by=actor(cast.support))

    for person in (cast.auditor, cast.outsider):
        with pytest.raises(NotPermittedError):
            report_outcome(episode, name="resolved", source="staff", by=actor(person))
    with pytest.raises(NotPermittedError):
        report_outcome(episode, name="resolved", source="staff", by=key_actor(agent, cast, "outcome:truth"))
    with pytest.raises(UntrustedSourceError):
        report_outcome(episode, name="resolved", source="customer", by=actor(cast.support))


def test_outcome__malformed__is_refused(episode: Episode) -> None:
    with pytest.raises(BadOutcomeError, match="no outcome's name"):
        report_outcome(episode, name="Very Good", source="customer", by=MACHINE)
    with pytest.raises(BadOutcomeError, match="no source"):
        report_outcome(episode, name="resolved", source="rumor", by=MACHINE)
    with pytest.raises(BadOutcomeError, match="future"):
        report_outcome(episode, name="resolved", source="customer", by=MACHINE, at=timezone.now() + timedelta(days=3))
    with pytest.raises(DocumentError):
        report_outcome(episode, name="resolved", source="customer", by=MACHINE, value=float("nan"))
    assert not Outcome.objects.exists()


def test_outcome__late_on_a_settled_conversation__asks_for_a_review(agent: Agent) -> None:
    [episode] = lived(agent, item("a", steps=[retrieval_step(0.1)]))
    Task.objects.all().delete()

    report_outcome(episode, name="failed", source="customer", by=MACHINE)

    assert Task.objects.get().arguments == [[str(episode.conversation_id)]]


def test_flag__support__marks_with_history_and_event_but_no_text(episode: Episode, cast: SimpleNamespace) -> None:
    mark = flag(episode, reason="wrong", note="it told jane.roe@gmail.com the wrong day", by=actor(cast.support))

    assert mark.note == "it told [email] the wrong day"
    assert mark.flagged_by == cast.support
    assert mark.history.get().history_user == cast.support
    event = Event.objects.get(action="episode.flag")
    assert (event.actor, event.facts) == ("support", {"flag": str(mark.pk), "reason": "wrong"})


def test_flag__twice__is_one(episode: Episode, cast: SimpleNamespace) -> None:
    first = flag(episode, reason="wrong", by=actor(cast.support))

    assert flag(episode, reason="wrong", by=actor(cast.support)) == first
    assert flag(episode, reason="wrong", by=actor(cast.engineer)) != first
    assert flag(episode, reason="tone", by=actor(cast.support)) != first
    assert Flag.objects.count() == 3


def test_flag__without_the_role__is_refused(episode: Episode, cast: SimpleNamespace) -> None:
    for person in (cast.auditor, cast.approver, cast.outsider):
        with pytest.raises(NotPermittedError):
            flag(episode, reason="wrong", by=actor(person))
    with pytest.raises(NotPermittedError):
        flag(episode, reason="wrong", by=MACHINE)
    assert not Flag.objects.exists()


def test_flag__settled_conversation__gets_its_critique(agent: Agent, cast: SimpleNamespace) -> None:
    [episode] = lived(agent, item("a"), end="resolved")

    flag(episode, reason="should_escalate", by=actor(cast.support))
    review(episode.conversation_id)

    critique = Critique.objects.get()
    assert (critique.is_failure, critique.layer) == (True, "guardrails")


def test_correct__one_for_many__covers_each_with_its_own_arguments(agent: Agent, cast: SimpleNamespace) -> None:
    first, second = captured(agent, item("a"), item("b"))
    text = CorrectionText(title="Order ids", tool="lookup_order", arguments={"style": "dashed"})

    correction = correct(
        [first, second, first], text, by=actor(cast.engineer), per_episode_arguments={second.pk: {"order_id": "KL-2"}}
    )

    rows = {row.episode_id: row.arguments for row in CorrectedEpisode.objects.filter(correction=correction)}
    assert rows == {first.pk: {}, second.pk: {"order_id": "KL-2"}}
    assert correction.corrected_by == cast.engineer
    event = Event.objects.get(action="episode.correct")
    assert event.facts == {"episodes": 2, "answer": False, "tool": "lookup_order", "should_escalate": False}


def test_correct__with_an_intent__names_conversations_that_had_none(agent: Agent, cast: SimpleNamespace) -> None:
    [episode] = captured(agent, item("a", "hello"))
    intent = define(agent, name="Refund", definition="Money back.", examples=["one a", "two b", "three c"], by=MACHINE)

    correct([episode], CorrectionText(answer="Within 30 days.", intent=intent), by=actor(cast.support))

    assert Conversation.objects.get().intent == intent


def test_correct__settled_conversation__becomes_a_failure_in_the_right_layer(
    agent: Agent, cast: SimpleNamespace
) -> None:
    [episode] = lived(agent, item("a"), end="resolved")

    correct([episode], CorrectionText(answer="Within 30 days."), by=actor(cast.support))
    review(episode.conversation_id)

    assert (Critique.objects.get().layer, Critique.objects.get().is_failure) == ("context", True)


def test_correct__says_nothing_or_covers_nothing__is_refused(
    agent: Agent, other_agent: Agent, episode: Episode, cast: SimpleNamespace
) -> None:
    by = actor(cast.engineer)
    [strange] = captured(other_agent, item("x"))
    with pytest.raises(BadCorrectionError, match="at least one"):
        correct([], CorrectionText(answer="a"), by=by)
    with pytest.raises(BadCorrectionError, match="Say what"):
        correct([episode], CorrectionText(title="only a title"), by=by)
    with pytest.raises(BadCorrectionError, match="name of the tool"):
        correct([episode], CorrectionText(answer="a", arguments={"b": 1}), by=by)
    with pytest.raises(BadCorrectionError, match="several agents"):
        correct([episode, strange], CorrectionText(answer="a"), by=by)
    with pytest.raises(BadCorrectionError, match="does not cover"):
        correct([episode], CorrectionText(tool="t"), by=by, per_episode_arguments={strange.pk: {}})
    with pytest.raises(DocumentError):
        correct([episode], CorrectionText(answer="a\x00"), by=by)
    with pytest.raises(NotPermittedError):
        correct([strange], CorrectionText(answer="a"), by=by)
    assert not Correction.objects.exists()
