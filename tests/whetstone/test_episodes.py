"""An episode is recorded step by step, and sent however its block ends."""

import asyncio
import threading
from typing import Any

import pytest

from episodes.door import Read, read_item
from tests.whetstone.fake_platform import FakePlatform, digest
from whetstone import Client, Episode, current_episode


@pytest.fixture
def client(connect: Any) -> Client:
    return connect()


def one(platform: FakePlatform, client: Client) -> dict[str, Any]:
    client.flush()
    (stored,) = platform.episodes
    return stored


def test_episode__three_lines__say_all(platform: FakePlatform, client: Client) -> None:
    platform.arms = {"u1": "canary"}
    harness = client.harness(user="u1", conversation="c1")
    with client.episode(harness, input="Where is my order?", external_refs={"ticket": 7}) as episode:
        episode.step("retrieval", "search", output={"found": ["a"]}, latency_ms=1.23456)
        with episode.during("tool_call", "lookup", input={"order": "7"}) as timed:
            timed.output = {"status": "on its way"}
        episode.source("a")
        episode.usage(input_tokens=10, output_tokens=2, cost_usd=0.5, model="m")
        episode.usage(input_tokens=5, output_tokens=None)
        episode.attribute("channel", "chat")
        episode.output("It is on its way.")

    stored = one(platform, client)
    assert episode.accepted
    assert stored["id"] == episode.id
    assert stored["input"] == {"messages": [{"role": "user", "content": "Where is my order?"}]}
    assert stored["output"] == {"text": "It is on its way."}
    assert (stored["conversation"], stored["subject"]) == ("c1", "u1")
    assert (stored["harness_digest"], stored["arm"], stored["weight"]) == (
        digest(platform.documents[""]),
        "canary",
        0.5,
    )
    assert [(step["kind"], step["name"], step["attempt"], step["status"]) for step in stored["steps"]] == [
        ("retrieval", "search", 1, "ok"),
        ("tool_call", "lookup", 1, "ok"),
    ]
    assert stored["steps"][0]["latency_ms"] == 1.235
    assert stored["usage"] == {"input_tokens": 15, "output_tokens": 2, "cost_usd": 0.5, "model": "m"}
    assert stored["sources"] == ["a"]
    assert stored["external_refs"] == {"ticket": 7}
    assert stored["attributes"] == {"channel": "chat", "harness_source": "platform", "harness_age_s": 0.0}


def test_episode__as_sent__passes_the_platforms_door(platform: FakePlatform, client: Client) -> None:
    with client.episode(client.harness(user="u1"), input={"form": 1}, workflow="turn") as episode:
        episode.step("check", "self", error=ValueError("no"))
        episode.output({"text": "x"})
    with client.episode() as empty:
        pass
    client.flush()

    read = [read_item(stored, agent_slug="desk", redacted_kinds=()) for stored in platform.episodes]
    assert all(isinstance(item, Read) for item in read), read
    assert {stored["id"] for stored in platform.episodes} == {episode.id, empty.id}


def test_episode__agent_crashes__is_sent_with_the_error_which_passes_on(platform: FakePlatform, client: Client) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        client.episode(input="?") as episode,
        episode.during("tool_call", "divide"),
    ):
        raise ZeroDivisionError("by zero")

    stored = one(platform, client)
    assert stored["attributes"]["error"] == "ZeroDivisionError: by zero"
    assert (stored["steps"][0]["status"], stored["steps"][0]["error"]) == ("error", "ZeroDivisionError: by zero")


def test_episode__nonsense__never_raises(platform: FakePlatform, client: Client) -> None:
    with client.episode(input=object(), attributes={"a": {1, 2}}) as episode:
        episode.step("tool_call", None, input=object(), error=None, latency_ms=-1)  # type: ignore[arg-type]
        episode.step("tool_call", "x", latency_ms="slow")  # type: ignore[arg-type]
        episode.usage(input_tokens="many")
        episode.usage(input_tokens=3)
        episode.output({"text": b"bytes"})
        episode.outcome(None, reason=None)  # type: ignore[arg-type]

    assert episode.accepted
    assert one(platform, client)["output"] == {"text": "<5 bytes>"}


def test_episode__blocked__is_an_outcome_with_its_reason(platform: FakePlatform, client: Client) -> None:
    with client.episode(input="?") as episode:
        episode.blocked("x" * 500)
    client.flush()

    ((name, outcome),) = platform.outcomes
    assert (name, outcome["name"], outcome["reason"], outcome["source"]) == (episode.id, "blocked", "x" * 300, "agent")


def test_current_episode__threads_and_tasks__have_their_own(client: Client) -> None:
    seen: dict[str, Episode | None] = {}

    def elsewhere() -> None:
        seen["thread"] = current_episode()

    async def task(name: str) -> None:
        async with client.episode(id=name):
            await asyncio.sleep(0.01)
            seen[name] = current_episode()

    async def play() -> None:
        await asyncio.gather(task("a"), task("b"))

    with client.episode() as outer:
        with client.episode() as inner:
            assert current_episode() is inner
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        assert current_episode() is outer
    asyncio.run(play())

    assert current_episode() is None
    assert seen["thread"] is None
    assert [seen[name].id for name in "ab"] == ["a", "b"]  # type: ignore[union-attr]


def test_episode__async_with_a_spool__is_durable_and_does_not_hold_up_the_loop(
    platform: FakePlatform, connect: Any, tmp_path: Any
) -> None:
    async def play() -> bool | None:
        async with connect(folder=tmp_path, sync_each=True) as client:
            async with client.episode(input="?") as episode:
                episode.output("!")
            assert (await client.aflush()).delivered == 1
            return episode.accepted

    assert asyncio.run(play())
    assert platform.episodes[0]["output"] == {"text": "!"}


def test_from_environment__missing__says_what(monkeypatch: pytest.MonkeyPatch, platform: FakePlatform) -> None:
    monkeypatch.setenv("WHETSTONE_URL", platform.url)
    monkeypatch.delenv("WHETSTONE_KEY", raising=False)
    monkeypatch.setenv("WHETSTONE_AGENT", "desk")
    with pytest.raises(ValueError, match="WHETSTONE_KEY"):
        Client.from_environment()
    monkeypatch.setenv("WHETSTONE_KEY", "k")

    with Client.from_environment() as client:
        assert client.harness(user="u").source == "platform"
