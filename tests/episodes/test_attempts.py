"""How the attempts of a run went, read from its steps, and of which runs an agent's report is made."""

from typing import Any

import pytest

from episodes.attempts import newest_attempts
from episodes.detectors.attempts import Attempts, attempts_of
from harness.models import Agent
from tests.episodes.factories import captured, item, tool_step
from whetstone import Budget, iterate
from whetstone.episodes import Episode as Recorded


def check(passed: Any, attempt: int = 1, name: str = "runs") -> dict[str, Any]:
    return {"kind": "check", "name": name, "attempt": attempt, "output": {"passed": passed}}


@pytest.mark.parametrize(
    ("steps", "read"),
    [
        ([], None),
        ([tool_step()], None),
        ([check(None)], None),
        ([check("true")], None),
        ([{"kind": "check", "name": "guard", "output": {"fired": True}}, {"kind": "check"}], None),
        ([check(True)], Attempts(1, True, True)),
        ([check(False)], Attempts(1, False, False)),
        ([check(False), check(True, 2)], Attempts(2, False, True)),
        ([check(True), check(False, 2)], Attempts(2, True, False)),
        # the first attempt broke off before its check; then the last one did
        ([{**tool_step(error="boom"), "attempt": 1}, check(True, 2)], Attempts(2, False, True)),
        ([check(False), {**tool_step(error="boom"), "attempt": 2}], Attempts(2, False, False)),
        # two checks, and both must pass
        ([check(True, name="a"), check(False, name="b")], Attempts(1, False, False)),
        ([check(True, name="a"), check(False, name="b"), check(True, 2, "b")], Attempts(2, False, True)),
    ],
)  # fmt: skip
def test_attempts__of_any_steps__tell_the_first_from_the_last(
    steps: list[dict[str, Any]], read: Attempts | None
) -> None:
    assert attempts_of(steps) == read


def test_attempts__that_never_reached_a_check__are_those_the_client_summed_up() -> None:
    told = {"attempts": 3, "first_pass": False, "passed": False, "blocked": "3 of 3 attempts failed"}

    assert attempts_of([tool_step(error="boom")], told) == Attempts(3, False, False)


@pytest.mark.parametrize("told", [None, [], {}, {"attempts": 0, "first_pass": True, "passed": True}, {"attempts": "2"}])
def test_attempts__summed_up_in_another_shape__are_not_believed(told: Any) -> None:
    assert attempts_of([], told) is None


def test_newest__of_an_agent__are_its_judged_runs_newest_first(agent: Agent, other_agent: Agent) -> None:
    captured(agent, item("unjudged"), item("once", steps=[check(True)]))
    captured(agent, item("twice", steps=[tool_step(), check(False), {**tool_step(), "attempt": 2}, check(True, 2)]))
    captured(agent, item("never", attributes={"iteration": {"attempts": 3, "first_pass": False, "passed": False}}))
    captured(other_agent, item("elsewhere", steps=[check(True)]))

    found = newest_attempts(agent)

    assert found == [Attempts(3, False, False), Attempts(2, False, True), Attempts(1, True, True)]
    assert newest_attempts(agent, newest=1) == found[:1]


def test_newest__recorded_by_the_client_librarys_loop__are_read_as_it_went(agent: Agent) -> None:
    reported: list[Any] = []
    with Recorded(reported.append, None, is_durable=False, input="a query, please", id="looped"):
        result = iterate(lambda attempt: attempt.number, lambda value: value == 2, Budget(attempts=3))

    reported[0].pop("outcomes")  # they go to an address of their own
    captured(agent, reported[0])

    assert result.passed
    assert newest_attempts(agent) == [Attempts(2, False, True)]
