"""Signals of the steps are there before the encoder is, and none is missed or told twice."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from episodes.detecting import agents_to_read, detect_captured
from episodes.jobs import detect, read_captured
from episodes.models import CaptureTally, Episode, Signal
from harness.models import Agent
from jobs.models import Task
from tests.episodes.factories import captured, item, tool_step, understood
from tests.tampering import rewrite

pytestmark = pytest.mark.django_db


def failing(name: str) -> dict[str, object]:
    return item(name, steps=[tool_step(error="down")])


def told(agent: Agent) -> list[tuple[str, str]]:
    rows = Signal.objects.filter(episode__agent=agent).order_by("episode__external_id", "kind")
    return list(rows.values_list("episode__external_id", "kind"))


def later() -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(seconds=5))


def test_detect__captured_episodes__are_read_in_batches_and_not_again(agent: Agent) -> None:
    rows = captured(agent, failing("a"), item("b"), item("c", output={"handoff": True}), failing("d"), item("e"))

    with later():
        assert agents_to_read() == [agent.pk]
        assert detect_captured(agent.pk, batch=2) == 5
        assert agents_to_read() == []
        assert detect_captured(agent.pk) == 0

    assert told(agent) == [("a", "tool_error"), ("c", "handoff"), ("d", "tool_error")]
    assert CaptureTally.objects.get(agent=agent).signals_until == max(row.pk for row in rows)
    assert Episode.objects.waiting().count() == 5


def test_detect__of_another_agent__is_left_alone(agent: Agent, other_agent: Agent) -> None:
    captured(agent, failing("a"))
    captured(other_agent, failing("b"))

    with later():
        detect_captured(agent.pk)
        assert agents_to_read() == [other_agent.pk]

    assert told(agent) == [("a", "tool_error")]
    assert told(other_agent) == []


def test_detect__too_young__waits_for_rows_committed_late(agent: Agent) -> None:
    captured(agent, failing("a"))

    assert agents_to_read() == []
    assert detect_captured(agent.pk) == 0


def test_detect__then_understood__tells_each_signal_once(agent: Agent) -> None:
    captured(agent, failing("a"), failing("late"))
    with later():
        Signal.objects.all().delete()
        detect_captured(agent.pk)
    Signal.objects.filter(episode__external_id="late").delete()  # as if it had been committed behind the reader's back

    understood(agent)

    assert told(agent) == [("a", "tool_error"), ("late", "tool_error")]


def test_detect__steps_that_cannot_be_read__are_left_to_understanding(agent: Agent) -> None:
    rows = captured(agent, failing("a"), failing("b"))
    rewrite(Episode.objects.filter(pk=rows[0].pk), steps=[7])

    with later():
        assert detect_captured(agent.pk) == 2

    assert told(agent) == [("b", "tool_error")]


def test_read_captured__asked_twice__leaves_one_task_an_agent(agent: Agent) -> None:
    captured(agent, failing("a"))

    with later():
        read_captured()
        read_captured()
        assert Task.objects.filter(name="episodes.jobs.detect", key=str(agent.pk)).count() == 1
        detect(str(agent.pk))

    assert told(agent) == [("a", "tool_error")]
