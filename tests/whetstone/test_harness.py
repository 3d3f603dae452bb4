"""The client's reading side against a platform over real HTTP."""

import asyncio
import copy
import json
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import time_machine

from tests.whetstone.fake_platform import FakePlatform, digest
from whetstone import Client, Harness

ONE = {"prompt": {"system": "one"}}
TWO = {"prompt": {"system": "two"}}


def paths(platform: FakePlatform) -> list[str]:
    return [path for path, _, _ in platform.requests]


def test_get__first_time__fetches_facts_and_the_body_by_digest(platform: FakePlatform, connect: Any) -> None:
    harness = connect().harness(user="u1", conversation="c1", pin="p")

    assert harness.document == ONE
    assert (harness.source, harness.version, harness.state) == ("platform", 1, "ok")
    assert harness.age_s == pytest.approx(0, abs=1)
    assert (harness.user, harness.conversation) == ("u1", "c1")
    assert harness.reference()["harness_digest"] == harness.digest == digest(ONE)
    first, bundle = platform.requests
    assert first[:2] == ("/api/v1/agents/desk/harness", "user=u1&conversation=c1&bundle=0")
    assert first[2]["Authorization"] == "Bearer key-1"
    assert first[2]["Whetstone-Pin"] == "p"
    assert bundle[0] == f"/api/v1/harnesses/{harness.digest}"


def test_get__within_ttl__asks_nobody(platform: FakePlatform, connect: Any) -> None:
    client = connect()
    client.harness(user="u1")
    again = client.harness(user="u1")

    assert again.source == "memory"
    assert len(platform.requests) == 2


def test_get__another_user__reuses_the_body(platform: FakePlatform, connect: Any) -> None:
    client = connect()
    client.harness(user="u1")
    other = client.harness(user="u2")

    assert other.source == "platform"
    assert paths(platform).count("/api/v1/agents/desk/harness") == 2
    assert len(platform.requests) == 3


def test_get__past_ttl__answers_at_once_and_is_confirmed_behind_by_304(
    platform: FakePlatform, connect: Any, until: Any
) -> None:
    platform.ttl_s = 0.05
    client = connect()
    first = client.harness(user="u1")
    time.sleep(0.06)
    platform.delay_s = 1.0
    started = time.perf_counter()
    stale = client.harness(user="u1")

    assert time.perf_counter() - started < 0.5
    assert (stale.source, stale.document) == ("stale", ONE)
    assert 0.05 <= stale.age_s < 1.0
    assert until(lambda: client.harness(user="u1").age_s < 0.05)
    assert client.harness(user="u1").served.document is first.document
    assert "If-None-Match" in platform.requests[2][2]
    assert not any("/harnesses/" in path for path in paths(platform)[2:])


def test_get__changed_on_the_platform__comes_to_the_turn_after_the_next(
    platform: FakePlatform, connect: Any, until: Any
) -> None:
    platform.ttl_s = 0.05
    client = connect()
    client.harness(user="u1")
    platform.documents[""] = TWO
    time.sleep(0.06)

    assert client.harness(user="u1").document == ONE
    assert until(lambda: client.harness(user="u1").document == TWO)


def test_get__asked_many_times_while_stale__revalidates_once(platform: FakePlatform, connect: Any) -> None:
    platform.ttl_s = 0.05
    client = connect()
    client.harness(user="u1")
    time.sleep(0.06)
    platform.delay_s = 0.2
    for _ in range(100):
        client.harness(user="u1")
    time.sleep(0.1)

    assert len(platform.requests) == 3


def test_get__past_the_stale_window__asks_the_platform_again(platform: FakePlatform, connect: Any) -> None:
    platform.ttl_s = platform.stale_ok_s = 0.0
    client = connect()
    client.harness(user="u1")
    platform.documents[""] = TWO

    assert (client.harness(user="u1").source, client.harness(user="u1").document) == ("platform", TWO)


def test_get__new_conversation_of_a_known_user__answers_at_once_and_fetches_its_pin(
    platform: FakePlatform, connect: Any, until: Any
) -> None:
    client = connect()
    client.harness(user="u1")
    platform.delay_s = 0.1
    began = client.harness(user="u1", conversation="c2")

    assert (began.source, began.pin, began.document) == ("memory", None, ONE)
    assert until(lambda: client.harness(user="u1", conversation="c2").pin is not None)
    assert platform.requests[-1][1] == "user=u1&conversation=c2&bundle=0"


def test_get__conversation__echoes_its_pin_and_stays_on_its_version(
    platform: FakePlatform, connect: Any, until: Any
) -> None:
    platform.ttl_s = 0.05
    client = connect()
    pin = client.harness(user="u1", conversation="c1").pin
    platform.documents[""] = TWO
    time.sleep(0.06)
    client.harness(user="u1", conversation="c1")

    assert until(lambda: len(platform.requests) == 3)
    assert platform.requests[2][2]["Whetstone-Pin"] == pin
    assert until(lambda: client.harness(user="u1", conversation="c1").age_s < 0.05)
    assert client.harness(user="u1", conversation="c1").document == ONE
    # What this conversation is pinned to is not what the user's next one begins with.
    client.harness(user="u1", conversation="c2")
    assert until(lambda: client.harness(user="u1", conversation="c2").document == TWO)


def test_get__pin_of_another_process__is_asked_for_once(platform: FakePlatform, connect: Any) -> None:
    platform.documents[""] = TWO
    other = connect().harness(user="u1", conversation="c1")
    platform.documents[""] = ONE
    client = connect()
    client.harness(user="u1", conversation="c1")
    pinned = client.harness(user="u1", conversation="c1", pin=other.pin)
    again = client.harness(user="u1", conversation="c1", pin=other.pin)

    assert (pinned.source, pinned.document, pinned.pin) == ("platform", TWO, other.pin)
    assert (again.source, again.document) == ("memory", TWO)


def test_get__user_with_a_layer__receives_their_own_document(platform: FakePlatform, connect: Any) -> None:
    platform.overlays["u1"] = ONE | {"memory": {"user": {"name": "x"}}}
    client = connect()
    own, other = client.harness(user="u1"), client.harness(user="u2")

    assert own.document["memory"]["user"]["name"] == "x"
    assert own.digest == other.digest != own.resolved_digest
    assert "memory" not in other.document


def test_get__document_is_not_what_its_digest_names__is_not_used(platform: FakePlatform, connect: Any) -> None:

    original = platform.resolved
    platform.resolved = lambda user: original(user) | {"resolved_digest": "0" * 64}  # type: ignore[method-assign]
    harness = connect().harness(user="u1")

    assert harness.source == "none"
    assert "digest" in harness.reason


@pytest.mark.parametrize("failing", [500, 503, 401, 404])
def test_get__platform_fails__serves_the_last_one_and_says_so(
    platform: FakePlatform, connect: Any, failing: int
) -> None:
    platform.ttl_s = 0
    client = connect()
    client.harness(user="u1")
    platform.failing = failing
    stale = client.harness(user="u1")
    unknown_user = client.harness(user="u9")

    assert (stale.source, stale.document) == ("stale", ONE)
    assert (unknown_user.source, unknown_user.document, unknown_user.pin) == ("stable", ONE, None)
    assert str(failing) in unknown_user.reason


def test_get__platform_hangs__nobody_waits_twice(platform: FakePlatform, connect: Any) -> None:
    client = connect(timeout_s=0.3, fallback=TWO)
    platform.delay_s = 1.0
    client.harness(user="u0")
    started = time.perf_counter()
    harnesses = [client.harness(user=f"u{number}") for number in range(1, 50)]

    assert time.perf_counter() - started < 5 * 0.3
    assert {harness.source for harness in harnesses} == {"packaged"}


def test_get__platform_comes_back__is_found_out_behind_the_turns(
    platform: FakePlatform, connect: Any, until: Any
) -> None:
    platform.failing = 500
    client = connect(fallback=TWO)
    assert client.harness(user="u1").source == "packaged"
    platform.failing = None

    assert client.harness(user="u1").source == "packaged"
    assert until(lambda: client.harness(user="u1").source == "memory")
    assert client.harness(user="u1").document == ONE


def test_get__after_a_failure__does_not_ask_for_a_moment(platform: FakePlatform, connect: Any) -> None:
    platform.failing = 500
    client = connect()
    sources = {client.harness(user=f"u{number}").source for number in range(5)}

    assert sources == {"none"}
    assert len(platform.requests) == 1


def test_get__canary_past_stale_ok__is_left_for_stable(platform: FakePlatform, connect: Any) -> None:
    platform.documents["u1"] = {"prompt": {"system": "canary"}}
    platform.arms = {"u1": "canary", "u2": "control"}
    platform.ttl_s = 1
    with time_machine.travel(1_800_000_000, tick=True) as clock:
        client = connect()
        assert client.harness(user="u2").arm == "control"
        assert client.harness(user="u1").document["prompt"]["system"] == "canary"
        platform.failing = 500
        clock.shift(30)
        soon = client.harness(user="u1")
        clock.shift(60)
        late = client.harness(user="u1")
        late_control = client.harness(user="u2")

    assert (soon.source, soon.arm) == ("stale", "canary")
    assert soon.age_s == pytest.approx(30, abs=1)
    assert (late.source, late.arm, late.document["prompt"]["system"]) == ("stable", None, "one")
    assert (late_control.source, late_control.arm) == ("stale", "control")


def test_get__only_canaries_were_seen__a_stable_one_is_fetched_to_leave_them_for(
    platform: FakePlatform, connect: Any, until: Any, tmp_path: Path
) -> None:
    platform.documents["u1"] = {"prompt": {"system": "canary"}}
    platform.arms = {"u1": "canary"}
    client = connect(folder=tmp_path)
    client.harness(user="u1")

    assert until(lambda: bool(list(tmp_path.rglob("harness.json"))))
    saved = next(tmp_path.rglob("harness.json")).read_text()
    assert "one" in saved
    assert "canary" not in saved
    platform.failing = 500
    with time_machine.travel(time.time() + 100, tick=True):
        assert (late := client.harness(user="u1")).source == "stable"
        assert late.document == ONE


def test_get__new_process_while_platform_is_down__reads_the_disk(
    platform: FakePlatform, connect: Any, tmp_path: Path
) -> None:
    connect(folder=tmp_path).harness(user="u1")
    platform.failing = 503
    restarted = connect(folder=tmp_path, fallback=TWO).harness(user="u2")

    assert (restarted.source, restarted.document, restarted.pin) == ("disk", ONE, None)
    assert restarted.age_s == pytest.approx(0, abs=5)


@pytest.mark.parametrize("change", [("one", "two"), ("{", ""), ('"sha256": "', '"sha256": "0')])
def test_get__saved_file_was_altered__is_not_used(
    platform: FakePlatform, connect: Any, tmp_path: Path, change: tuple[str, str]
) -> None:
    connect(folder=tmp_path).harness(user="u1")
    saved = next(tmp_path.rglob("harness.json"))
    saved.write_text(saved.read_text().replace(*change))
    platform.failing = 503

    assert connect(folder=tmp_path).harness(user="u1").source == "none"
    assert connect(folder=tmp_path, fallback=TWO).harness(user="u1").source == "packaged"


def test_get__folder_cannot_be_written__costs_nothing_but_the_fallback(
    platform: FakePlatform, connect: Any, tmp_path: Path
) -> None:
    client = connect(folder=tmp_path)
    next(tmp_path.iterdir()).joinpath("harness.json").mkdir()

    assert client.harness(user="u1").source == "platform"


@pytest.mark.parametrize("shape", ["document", "answer", "file"])
def test_fallback__packaged_with_the_agent__is_served_without_an_age(
    platform: FakePlatform, connect: Any, tmp_path: Path, shape: str
) -> None:
    platform.failing = 500
    answer = {"document": TWO, "digest": digest(TWO), "version": 7}
    path = tmp_path / "harness.json"
    path.write_text(json.dumps(TWO))
    fallback = {"document": TWO, "answer": answer, "file": path}[shape]
    harness = connect(fallback=fallback).harness(user="u1")

    assert (harness.source, harness.document, harness.age_s) == ("packaged", TWO, None)
    assert harness.digest == digest(TWO)
    assert harness.version == (7 if shape == "answer" else None)


@pytest.mark.parametrize(
    "fallback", ["/nowhere/harness.json", {"document": TWO, "digest": "0" * 64}, {"document": {"a": float("nan")}}]
)
def test_fallback__unusable__is_refused_at_the_start(connect: Any, fallback: Any) -> None:
    with pytest.raises(ValueError, match=r"packaged harness"):
        connect(fallback=fallback)


def test_get__nobody_listens__returns_an_empty_harness() -> None:
    with Client("http://127.0.0.1:9", "k", agent="desk") as client:
        harness = client.harness(user="u1")

    assert (harness.source, dict(harness.document), harness.digest, harness.age_s) == ("none", {}, "", None)
    assert "ConnectError" in harness.reason


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://x", "http://[", "http://127.0.0.1:99999"])
def test_get__broken_address__never_raises(url: str) -> None:
    try:
        client = Client(url, "k", agent="desk")
    except ValueError:
        return
    assert client.harness(user="u1").source == "none"
    client.close(timeout_s=0)


def test_document__is_read_only_all_the_way_down(platform: FakePlatform, connect: Any) -> None:
    platform.documents[""] = ONE | {"tools": {"x": {"required": ["a"]}}}
    harness: Harness = connect().harness(user="u1")
    document: Any = harness.document

    for change in (
        lambda: document.update(a=1),
        lambda: document["prompt"].__setitem__("system", "mine"),
        lambda: document["tools"]["x"]["required"].append("b"),
        lambda: document.pop("prompt"),
    ):
        with pytest.raises(TypeError, match="read-only"):
            change()
    with pytest.raises(AttributeError):
        harness.source = "memory"  # type: ignore[misc]
    thawed = harness.thaw()
    thawed["tools"]["x"]["required"].append("b")
    copy.deepcopy(document)["prompt"]["system"] = "mine"
    pickled = pickle.loads(pickle.dumps(document))  # noqa: S301 - our own bytes
    assert json.loads(json.dumps(document)) == pickled == platform.documents[""]


def test_get__many_threads__all_are_served(platform: FakePlatform, connect: Any) -> None:
    platform.ttl_s = 0.001
    client = connect()
    sources: set[str] = set()

    def ask(number: int) -> None:
        for turn in range(200):
            sources.add(client.harness(user=f"u{turn % 7}", conversation=f"c{number}").source)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sources <= {"platform", "memory", "stale"}


def test_aget__first_time_and_again__does_not_hold_up_the_loop(platform: FakePlatform, connect: Any) -> None:
    platform.delay_s = 0.1

    async def play() -> tuple[str, str, int]:
        client, ticks = connect(), 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        first = await client.aharness(user="u1")
        ticking.cancel()
        return first.source, (await client.aharness(user="u1")).source, ticks

    first, again, ticks = asyncio.run(play())
    assert (first, again) == ("platform", "memory")
    assert ticks >= 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_get__after_a_fork__both_processes_go_on(platform: FakePlatform, connect: Any, until: Any) -> None:
    platform.ttl_s = 0.01
    client = connect()
    client.harness(user="u1")
    time.sleep(0.02)
    client.harness(user="u1")
    pid = os.fork()
    if pid == 0:
        time.sleep(0.02)
        known = client.harness(user="u1").source in {"stale", "memory"}
        new = client.harness(user="u2").source == "platform"
        fresh = until(lambda: client.harness(user="u1").age_s < 0.02)
        os._exit(0 if known and new and fresh else 1)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert client.harness(user="u3").source == "platform"


def test_get__proxy_in_the_environment__is_not_asked_for_this_machine(
    platform: FakePlatform, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert connect().harness(user="u1").source == "platform"
