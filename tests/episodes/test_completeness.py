"""Nothing lost: what could not be read fails alone and says why, the account closes, and a gap alarms."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.acting import MACHINE
from audit.models import Event
from audit.spans import Span
from episodes import completeness, understanding
from episodes.amending import amend
from episodes.assembling import assemble_due
from episodes.commitments import commit_waiting
from episodes.completeness import count_captured, is_count_due, reasons, tallies
from episodes.finding import matches
from episodes.gaps import gaps, stuck
from episodes.jobs import pass_stuck, take_account, understand, understand_one_by_one
from episodes.models import CaptureTally, Conversation, Episode, EpisodeText, Signal, Trace, TraceFragment
from episodes.reanalysis import analyze_again
from episodes.settling import settle_agent
from episodes.trace_jobs import assemble_traces
from episodes.tracing import receive
from episodes.understanding import understand_carefully, understand_waiting
from harness.models import Agent
from inference.encoder import encode
from jobs.models import Task
from tests.episodes.factories import captured, item, tool_step
from tests.episodes.otlp.making import AGENT, a_span
from tests.tampering import rewrite, triggers_off

pytestmark = pytest.mark.django_db


def odd(name: str) -> dict[str, Any]:
    """An episode that no reader can make sense of, once `spoil` has been at it."""
    return item(name, "This one is odd, to say the least")


def spoil(episode: Episode) -> None:
    """Store what the door would never have let in: rows are also changed by hand, by repairs, by older versions."""
    rewrite(Episode.objects.filter(pk=episode.pk), input=["not", "an", "object"], steps=[7])


def mend(episode: Episode) -> None:
    rewrite(Episode.objects.filter(pk=episode.pk), input=episode.input, steps=[])


def account(agent: Agent) -> dict[str, int]:
    count_captured()
    row = CaptureTally.objects.get(agent=agent)
    return {name: getattr(row, name) for name in ("captured", "analyzed", "pending", "failed", "missing")}


def waiting_since(agent: Agent, seconds: float) -> None:
    rewrite(Episode.objects.filter(agent=agent), captured_at=timezone.now() - timedelta(seconds=seconds))


def test_analysis__one_cannot_be_read__it_alone_fails_and_says_why(agent: Agent) -> None:
    rows = captured(agent, item("a", steps=[tool_step(error="down")]), odd("b"), item("c"))
    spoil(rows[1])

    assert understand_waiting(agent.pk) == 3

    first, second, third = (Episode.objects.get(pk=row.pk) for row in rows)
    assert first.understood_at is not None
    assert third.understood_at is not None
    assert (second.understood_at, second.analysis_failed_at is not None) == (None, True)
    assert "Error: " in second.analysis_error
    assert not Episode.objects.waiting().exists()
    assert Signal.objects.filter(episode=first).exists()
    assert set(EpisodeText.objects.values_list("episode_id", flat=True)) == {first.pk, third.pk}


def test_analysis__the_fault_is_not_the_episodes__nothing_fails_and_all_waits(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured(agent, item("a"), item("b"))

    def away(texts: object) -> None:
        raise OperationalError("the server is away")

    monkeypatch.setattr(understanding, "encode", away)
    with pytest.raises(OperationalError):
        understand_waiting(agent.pk)
    with pytest.raises(OperationalError):
        understand_carefully(agent.pk)

    assert Episode.objects.waiting().count() == 2
    assert not Episode.objects.not_analyzed().exists()


def test_analysis__the_worker_dies_at_one__it_is_passed_and_named(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = captured(agent, item("deadly"), item("b"))

    class Killed(BaseException):
        """What a signal does to a process."""

    def kill(texts: Any) -> Any:
        raise Killed

    monkeypatch.setattr(understanding, "encode", kill)
    with pytest.raises(Killed):
        understand_one_by_one(str(agent.pk))
    monkeypatch.setattr(understanding, "encode", encode)
    understand_one_by_one(str(agent.pk))

    deadly, other = (Episode.objects.get(pk=row.pk) for row in rows)
    assert "died" in deadly.analysis_error
    assert other.understood_at is not None


def test_conversation__its_episode_failed__settles_all_the_same(agent: Agent) -> None:
    row = captured(agent, odd("a"))[0]
    spoil(row)
    assert settle_agent(agent, then=lambda ids: None) == []

    understand_waiting(agent.pk)

    with pytest.raises(AttributeError):
        settle_agent(agent, then=lambda ids: None)
    mend(row)
    assert settle_agent(agent, then=lambda ids: None) == [row.conversation_id]
    assert Conversation.objects.get().settled_at is not None


def test_again__after_it_failed__is_analyzed_and_recorded(agent: Agent, cast: SimpleNamespace) -> None:
    rows = captured(agent, odd("a"), item("b"))
    spoil(rows[0])
    understand_waiting(agent.pk)
    mend(rows[0])
    Task.objects.all().delete()

    number = analyze_again(rows, by=cast.support.as_actor(), reason="mended")

    assert number == 1
    assert Task.objects.get().key == str(agent.pk)
    assert account(agent) == {"captured": 2, "analyzed": 1, "pending": 1, "failed": 0, "missing": 0}
    understand_waiting(agent.pk)
    assert account(agent)["analyzed"] == 2
    event = Event.objects.get(action="episode.analyze_again")
    assert (event.reason, event.team_id) == ("mended", agent.team_id)


def test_again__by_the_button_of_a_failed_episode__waits_again(agent: Agent, cast: SimpleNamespace) -> None:
    rows = captured(agent, odd("a"), item("b"))
    spoil(rows[0])
    understand_waiting(agent.pk)
    mend(rows[0])
    client = Client()
    client.force_login(cast.support)

    def verb(row: Episode) -> str:
        return reverse("admin:episodes_episode_verb", args=(row.pk, "analyze_again"))

    page = client.get(reverse("admin:episodes_episode_change", args=(rows[0].pk,))).content.decode()
    other = client.get(reverse("admin:episodes_episode_change", args=(rows[1].pk,))).content.decode()
    response = client.post(verb(rows[0]), {"reason": "mended"})

    assert (verb(rows[0]) in page, verb(rows[1]) in other) == (True, False)
    assert response.status_code == 302
    assert Episode.objects.waiting().get() == rows[0]


def test_rows__failed_without_a_reason_or_though_understood__are_refused(agent: Agent) -> None:
    row = captured(agent, item("a"))[0]
    now = timezone.now()

    for wrong in (
        {"analysis_failed_at": now}, {"analysis_error": "odd"},
        {"analysis_failed_at": now, "analysis_error": "odd", "understood_at": now},
    ):  # fmt: skip
        with pytest.raises(IntegrityError), transaction.atomic():
            Episode.objects.filter(pk=row.pk).update(**wrong)


def test_account__of_any_state__closes(agent: Agent, other_agent: Agent) -> None:
    rows = captured(agent, item("a"), odd("b"), item("c"))
    spoil(rows[1])
    assert account(agent) == {"captured": 3, "analyzed": 0, "pending": 3, "failed": 0, "missing": 0}

    understand_waiting(agent.pk)
    captured(agent, item("d"))
    commit_waiting(limit=2)

    assert account(agent) == {"captured": 4, "analyzed": 2, "pending": 1, "failed": 1, "missing": 0}
    commit_waiting()
    assert account(agent) == {"captured": 4, "analyzed": 2, "pending": 1, "failed": 1, "missing": 0}
    assert CaptureTally.objects.get(agent=agent).recorded == 4
    assert not CaptureTally.objects.filter(agent=other_agent).exists()


def test_account__rows_vanished_behind_the_record__are_missing_and_alarm(agent: Agent) -> None:
    captured(agent, item("a"), item("b"))
    understand_waiting(agent.pk)
    commit_waiting()
    with triggers_off():
        EpisodeText.objects.all().delete()
        Episode.objects.filter(external_id="a").delete()

    assert account(agent) == {"captured": 2, "analyzed": 1, "pending": 0, "failed": 0, "missing": 1}
    assert "1 episodes of shop-desk entered the record" in gaps(MACHINE)[0].sentence


def test_account__of_an_amended_episode__counts_it_once(agent: Agent) -> None:
    captured(agent, item("a"), item("b"))
    understand_waiting(agent.pk)
    commit_waiting()

    assert amend(agent, item("a", "My parcel is at the neighbour's"), reason="its run said more") == ""

    once = {"captured": 2, "analyzed": 2, "pending": 0, "failed": 0, "missing": 0}
    assert account(agent) == once
    commit_waiting()
    assert account(agent) == once
    assert list(matches(MACHINE, "neighbour", Span())) == [Episode.objects.get(external_id="a").pk]


def test_lag__of_the_newest__counts_what_waits_with_its_age(agent: Agent) -> None:
    captured(agent, *(item(f"e{n}") for n in range(20)))
    understand_waiting(agent.pk)
    now = timezone.now()
    rewrite(Episode.objects.all(), captured_at=now - timedelta(seconds=10), understood_at=now - timedelta(seconds=8))
    count_captured()
    assert tallies(MACHINE)[0].lag_p95_s == pytest.approx(2.0, abs=0.01)

    captured(agent, *(item(f"late{n}") for n in range(5)))
    rewrite(Episode.objects.waiting(), captured_at=timezone.now() - timedelta(seconds=60))
    count_captured()

    assert tallies(MACHINE)[0].lag_p95_s == pytest.approx(60, abs=5)


def test_count__took_long__rests_for_fifty_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completeness, "_last", {"at": 1_000.0, "took": 1.0})

    monkeypatch.setattr(completeness, "monotonic", lambda: 1_049.0)
    assert not is_count_due()
    take_account()
    monkeypatch.setattr(completeness, "monotonic", lambda: 1_051.0)
    assert is_count_due()
    take_account()
    assert not is_count_due()


def test_gap__no_task_at_all__alarms_after_its_grace(agent: Agent, other_agent: Agent) -> None:
    captured(agent, item("a"))
    captured(other_agent, item("a"))
    Task.objects.all().delete()
    assert gaps(MACHINE) == []

    waiting_since(agent, 130)

    assert [gap.agent for gap in gaps(MACHINE)] == ["shop-desk"]
    assert "no task will come to them" in gaps(MACHINE)[0].sentence


@pytest.mark.parametrize(
    ("state", "since_s", "lease_s", "alarms"),
    [
        ("ready", 100, None, False), ("ready", 400, None, True), ("claimed", 400, 20, False), ("claimed", 400, -20, True),
        ("done", 100, None, True), ("failed", 100, None, True),
    ],
)  # fmt: skip
def test_gap__by_the_state_of_its_task__alarms_or_not(
    agent: Agent, state: str, since_s: float, lease_s: float | None, alarms: bool
) -> None:
    captured(agent, item("a"))
    waiting_since(agent, 500)
    now = timezone.now()
    lease = now + timedelta(seconds=lease_s) if lease_s else None
    Task.objects.all().delete()
    Task.objects.create(
        name=understand.name, key=str(agent.pk), queue="embedding", state=state, lease_until=lease,
        available_at=now - timedelta(seconds=since_s),
    )  # fmt: skip

    assert bool(gaps(MACHINE)) is alarms


def test_gap__of_another_team__is_not_told(agent: Agent, cast: SimpleNamespace) -> None:
    captured(agent, item("a"))
    Task.objects.all().delete()
    waiting_since(agent, 500)

    assert len(gaps(cast.support.as_actor())) == 1
    assert not any(ask(cast.outsider.as_actor()) for ask in (gaps, reasons, tallies))


@pytest.mark.parametrize(("due_s", "alarms"), [(60, False), (200, True)])
def test_gap__trace_that_nobody_assembles__alarms_after_its_grace(
    agent: Agent, cast: SimpleNamespace, due_s: float, alarms: bool
) -> None:
    receive(agent, [a_span(1, 0, attributes=AGENT)], [])
    Trace.objects.update(due_at=timezone.now() - timedelta(seconds=due_s))

    found = [gap.sentence for gap in gaps(cast.support.as_actor())]

    assert ["Traces of shop-desk that nobody makes into episodes: 1," in said for said in found] == [True] * alarms
    assert gaps(cast.outsider.as_actor()) == []


def test_gap__traces_are_being_worked_off__does_not_alarm(agent: Agent) -> None:
    receive(agent, [a_span(1, 0, attributes=AGENT)], [])
    Trace.objects.update(due_at=timezone.now() - timedelta(seconds=200))
    assemble_traces()
    assert gaps(MACHINE) == []

    Task.objects.update(available_at=timezone.now() - timedelta(seconds=301))

    assert "has had no worker since" in gaps(MACHINE)[0].sentence


def test_gap__task_of_traces_comes_and_never_gets_through__alarms_after_five_minutes(agent: Agent) -> None:
    receive(agent, [a_span(1, 0, attributes=AGENT)], [])
    Trace.objects.update(due_at=timezone.now() - timedelta(seconds=301))
    assemble_traces()

    assert "does not get through" in gaps(MACHINE)[0].sentence


@pytest.fixture
def refused(agent: Agent) -> Trace:
    """A trace that came days ago, to a platform whose clock stood still, and is refused now."""
    receive(agent, [a_span(1, 0, attributes=AGENT)], [])
    TraceFragment.objects.update(body=b'[9,"of a version that nobody reads"]')
    ago = timezone.now() - timedelta(days=3)
    Trace.objects.update(first_at=ago, last_at=ago, due_at=ago)
    assemble_due()
    return Trace.objects.get()


@pytest.mark.parametrize(("hours", "alarms"), [(23, True), (25, False)])
def test_gap__trace_that_became_no_episode__alarms_for_a_day_with_the_reason(
    agent: Agent, refused: Trace, hours: float, alarms: bool
) -> None:
    Trace.objects.update(refused_at=refused.refused_at - timedelta(hours=hours))

    found = [gap.sentence for gap in gaps(MACHINE)]

    said = f"Traces of shop-desk whose newest records are in no episode: 1,|{refused.error}"
    assert [all(part in sentence for part in said.split("|")) for sentence in found] == [True] * alarms


def test_gap__more_of_a_refused_trace_comes__is_over_until_it_is_read(agent: Agent, refused: Trace) -> None:
    assert len(gaps(MACHINE)) == 1

    receive(agent, [a_span(2, 1)], [])

    assert gaps(MACHINE) == []


def test_stuck__its_task_failed_while_it_waited__is_passed_one_by_one(agent: Agent) -> None:
    captured(agent, item("a"))
    waiting_since(agent, 60)
    Task.objects.all().delete()
    pass_stuck()
    assert not Task.objects.exists()
    Task.objects.create(
        name=understand.name, key=str(agent.pk), queue="embedding", state="failed", finished_at=timezone.now()
    )

    assert stuck() == [agent.pk]
    pass_stuck()
    pass_stuck()

    assert Task.objects.unfinished().get().name == understand_one_by_one.name
    understand_one_by_one(str(agent.pk))
    assert stuck() == []


def test_reasons__of_what_failed__come_with_their_number(agent: Agent) -> None:
    for row in captured(agent, odd("a"), odd("b"), item("c")):
        if row.external_id != "c":
            spoil(row)
    understand_waiting(agent.pk)

    assert [(reason.agent_id, reason.number) for reason in reasons(MACHINE)] == [(agent.pk, 2)]


def test_api__of_a_member__shows_account_reasons_and_alarms(
    agent: Agent, other_agent: Agent, cast: SimpleNamespace, api: Callable[..., APIClient], agent_key: str
) -> None:
    rows = captured(agent, odd("a"), item("b"))
    spoil(rows[0])
    understand_waiting(agent.pk)
    captured(other_agent, item("c"))
    Task.objects.all().delete()
    waiting_since(other_agent, 500)
    count_captured()

    own = api(cast.support).get("/api/v1/completeness").json()
    CaptureTally.objects.all().delete()
    theirs = api(cast.outsider).get("/api/v1/completeness").json()

    assert len(own) == 1
    assert {name: own[0][name] for name in ("agent", "captured", "analyzed", "pending", "failed", "missing", "alarms")} == {
        "agent": "shop-desk", "captured": 2, "analyzed": 1, "pending": 0, "failed": 1, "missing": 0, "alarms": [],
    }  # fmt: skip
    assert own[0]["reasons"][0]["number"] == 1
    assert own[0]["lag_p95_s"] >= 0
    assert [(row["agent"], len(row["alarms"])) for row in theirs] == [("warehouse-desk", 1)]
    assert api(agent_key).get("/api/v1/completeness").status_code == 403
    assert api().get("/api/v1/completeness").status_code == 401
