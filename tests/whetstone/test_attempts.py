"""The loop within one task: what it runs, when it stops, and what it leaves in the episode."""

import asyncio
import time
from typing import Any

import pytest

from tests.whetstone.fake_platform import FakePlatform
from whetstone import Attempt, Budget, Checked, Client, aiterate, current_episode, iterate


@pytest.fixture
def client(connect: Any) -> Client:
    return connect()


def steps(platform: FakePlatform, client: Client) -> list[tuple[str, str, int, str]]:
    client.flush()
    return [(s["kind"], s["name"], s["attempt"], s["status"]) for s in platform.episodes[0]["steps"]]


def guess(attempt: Attempt) -> int:
    return attempt.number


def is_two(value: int) -> Checked:
    return Checked(value == 2, f"{value} is not 2")


def test_iterate__passes_at_the_second__is_final_but_no_first_pass(platform: FakePlatform, client: Client) -> None:
    with client.episode(input="?"):
        result = iterate(guess, is_two)

    assert (result.value, result.passed, result.first_pass, result.attempts) == (2, True, False, 2)
    assert (result.blocked, result.feedback) == ("", "")
    assert steps(platform, client) == [
        ("tool_call", "guess", 1, "ok"), ("check", "is_two", 1, "ok"),
        ("tool_call", "guess", 2, "ok"), ("check", "is_two", 2, "ok"),
    ]  # fmt: skip
    checks = [step["output"] for step in platform.episodes[0]["steps"] if step["kind"] == "check"]
    assert checks == [{"passed": False, "reason": "1 is not 2"}, {"passed": True, "reason": "2 is not 2"}]
    assert platform.episodes[0]["attributes"]["iteration"] == {
        "attempts": 2, "first_pass": False, "passed": True, "blocked": "",
    }  # fmt: skip
    assert platform.outcomes == []


def test_iterate__passes_at_once__is_a_first_pass() -> None:
    result = iterate(lambda attempt: "x", bool)

    assert (result.passed, result.first_pass, result.attempts) == (True, True, 1)


def test_iterate__each_attempt__learns_from_the_last() -> None:
    seen: list[tuple[int, Any, str]] = []

    def task(attempt: Attempt) -> int:
        seen.append((attempt.number, attempt.previous, attempt.feedback))
        if attempt.number == 2:
            raise ValueError("boom")
        return attempt.number * 10

    iterate(task, lambda value: Checked(False, f"{value} is wrong"), Budget(attempts=3))

    assert seen == [(1, None, ""), (2, 10, "10 is wrong"), (3, None, "ValueError: boom")]


def test_iterate__attempts_used_up__is_blocked_with_the_reason(platform: FakePlatform, client: Client) -> None:
    with client.episode(input="?") as episode:
        result = iterate(guess, lambda value: False, Budget(attempts=2))
        episode.step("tool_call", "afterwards")
    client.flush()

    assert (result.passed, result.blocked) == (False, "2 of 2 attempts failed")
    assert platform.outcomes[0][1]["reason"] == result.blocked
    assert platform.outcomes[0][1]["name"] == "blocked"
    assert platform.episodes[0]["steps"][-1]["attempt"] == 1


def test_iterate__seconds_used_up__stops_between_attempts() -> None:
    result = iterate(lambda attempt: time.sleep(0.06), lambda value: False, Budget(attempts=50, seconds=0.1))

    assert result.attempts == 2
    assert result.blocked.startswith("0.1 s were used up by 2 attempts")


@pytest.mark.parametrize("how", ["usage", "spend"])
def test_iterate__money_used_up__stops(platform: FakePlatform, client: Client, how: str) -> None:
    def task(attempt: Attempt) -> str:
        episode = current_episode()
        assert episode is not None
        if how == "usage":
            episode.step("model_call", "m")
            episode.usage(cost_usd=0.04)
        else:
            attempt.spend(0.04)
        return "x"

    with client.episode(input="?") as episode:
        episode.usage(cost_usd=9.0)
        result = iterate(task, lambda value: Checked(False, "too long"), Budget(attempts=50, cost_usd=0.1))

    assert result.attempts == 3
    assert result.cost_usd == pytest.approx(0.12)
    assert "of 0.1 USD were used up" in result.blocked
    assert result.blocked.endswith("the last check said: too long")
    # An attempt that recorded its own steps is told by them.
    expected = "model_call" if how == "usage" else "tool_call"
    assert [step[0] for step in steps(platform, client)] == [expected, "check"] * 3


def test_iterate__check_raises__counts_as_not_passed(platform: FakePlatform, client: Client) -> None:
    def check(value: int) -> bool:
        raise LookupError("no oracle")

    with client.episode(input="?"):
        result = iterate(guess, check, Budget(attempts=1))

    assert not result.passed
    assert result.feedback == "LookupError: no oracle"
    assert steps(platform, client)[1] == ("check", "check", 1, "error")


def test_iterate__interrupted_by_a_person__is_no_failed_attempt() -> None:
    def task(attempt: Attempt) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        iterate(task, bool)


def test_budget__without_an_attempt__is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Budget(attempts=0)


def test_aiterate__slow_attempt__is_canceled_when_the_seconds_are_up(platform: FakePlatform, client: Client) -> None:
    async def task(attempt: Attempt) -> int:
        await asyncio.sleep(0.0 if attempt.number == 1 else 30)
        return attempt.number

    async def check(value: int) -> Checked:
        return Checked(value == 2, "not yet")

    async def play() -> Any:
        async with client.episode(input="?"):
            return await aiterate(task, check, Budget(attempts=5, seconds=0.2))

    result = asyncio.run(play())

    assert (result.attempts, result.passed) == (2, False)
    assert result.seconds < 2
    assert "0.2 s were used up" in result.blocked
    assert [step[3] for step in steps(platform, client)] == ["ok", "ok", "error"]


def test_aiterate__passes__with_a_plain_check() -> None:
    async def task(attempt: Attempt) -> int:
        return attempt.number

    result = asyncio.run(aiterate(task, is_two))

    assert (result.value, result.first_pass) == (2, False)
