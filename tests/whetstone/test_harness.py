"""The client's reading side against a platform over real HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine

from tests.whetstone.fake_platform import FakePlatform, running
from whetstone import Client


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with running() as platform:
        yield platform


def paths(platform: FakePlatform) -> list[str]:
    return [path for path, _, _ in platform.requests]


def test_get__first_time__fetches_facts_and_the_body_by_digest(platform: FakePlatform) -> None:
    with Client(platform.url, "key-1") as client:
        resolved = client.harness("desk").get(user="u1", conversation="c1", pin="p")

    assert resolved.document == {"prompt": {"system": "one"}}
    assert (resolved.source, resolved.version, resolved.state) == ("platform", 1, "ok")
    assert resolved.reference()["harness_digest"] == resolved.digest
    harness, bundle = platform.requests
    assert harness[0] == "/api/v1/agents/desk/harness"
    assert harness[1] == "user=u1&conversation=c1&bundle=0"
    assert harness[2]["Authorization"] == "Bearer key-1"
    assert harness[2]["Whetstone-Pin"] == "p"
    assert bundle[0] == f"/api/v1/harnesses/{resolved.digest}"


def test_get__within_ttl__asks_nobody(platform: FakePlatform) -> None:
    with Client(platform.url, "k") as client:
        client.harness("desk").get(user="u1")
        again = client.harness("desk").get(user="u1")

    assert again.source == "cache"
    assert len(platform.requests) == 2


def test_get__another_user__reuses_the_body(platform: FakePlatform) -> None:
    with Client(platform.url, "k") as client:
        client.harness("desk").get(user="u1")
        other = client.harness("desk").get(user="u2")

    assert other.source == "platform"
    assert paths(platform).count("/api/v1/agents/desk/harness") == 2
    assert len(platform.requests) == 3


def test_get__after_ttl_and_unchanged__is_confirmed_by_304(platform: FakePlatform) -> None:
    platform.ttl_s = 0
    with Client(platform.url, "k") as client:
        first = client.harness("desk").get(user="u1")
        again = client.harness("desk").get(user="u1")

    assert again.source == "platform"
    assert again.document is first.document
    assert "If-None-Match" in platform.requests[-1][2]


def test_get__after_ttl_and_changed__serves_the_new_document(platform: FakePlatform) -> None:
    platform.ttl_s = 0
    with Client(platform.url, "k") as client:
        client.harness("desk").get(user="u1")
        platform.documents[""] = {"prompt": {"system": "two"}}
        again = client.harness("desk").get(user="u1")

    assert again.document["prompt"]["system"] == "two"


def test_get__conversation_holds_another_pin__asks_the_platform(platform: FakePlatform) -> None:
    with Client(platform.url, "k") as client:
        pin = client.harness("desk").get(user="u1").pin
        same = client.harness("desk").get(user="u1", pin=pin)
        other = client.harness("desk").get(user="u1", pin="older")

    assert (same.source, other.source) == ("cache", "platform")


def test_get__user_with_overlay__receives_their_own_document(platform: FakePlatform) -> None:
    platform.overlays["u1"] = {"prompt": {"system": "one"}, "memory": {"user": {"name": "x"}}}
    with Client(platform.url, "k") as client:
        own = client.harness("desk").get(user="u1")
        other = client.harness("desk").get(user="u2")

    assert own.document["memory"]["user"]["name"] == "x"
    assert own.digest == other.digest != own.resolved_digest
    assert "memory" not in other.document


@pytest.mark.parametrize("failing", [500, 503, 401, 404])
def test_get__platform_fails__serves_the_last_one_and_says_so(platform: FakePlatform, failing: int) -> None:
    platform.ttl_s = 0
    with Client(platform.url, "k") as client:
        client.harness("desk").get(user="u1")
        platform.failing = failing
        stale = client.harness("desk").get(user="u1")
        unknown_user = client.harness("desk").get(user="u9")

    assert (stale.source, stale.document) == ("stale", {"prompt": {"system": "one"}})
    assert (unknown_user.source, unknown_user.pin) == ("stable", None)


def test_get__after_a_failure__does_not_ask_for_a_moment(platform: FakePlatform) -> None:
    platform.failing = 500
    with Client(platform.url, "k") as client:
        sources = {client.harness("desk").get(user=f"u{number}").source for number in range(5)}

    assert sources == {"none"}
    assert len(platform.requests) == 1


def test_get__canary_past_stale_ok__falls_back_to_stable(platform: FakePlatform) -> None:
    platform.documents["u1"] = {"prompt": {"system": "canary"}}
    platform.arms = {"u1": "canary", "u2": "control"}
    platform.ttl_s = 1
    with time_machine.travel(1_800_000_000, tick=True) as clock, Client(platform.url, "k") as client:
        assert client.harness("desk").get(user="u2").arm == "control"
        assert client.harness("desk").get(user="u1").document["prompt"]["system"] == "canary"
        platform.failing = 500
        clock.shift(30)
        soon = client.harness("desk").get(user="u1")
        clock.shift(60)
        late = client.harness("desk").get(user="u1")
        late_control = client.harness("desk").get(user="u2")

    assert (soon.source, soon.arm) == ("stale", "canary")
    assert soon.age_s == pytest.approx(30, abs=1)
    assert (late.source, late.arm, late.document["prompt"]["system"]) == ("stable", None, "one")
    assert (late_control.source, late_control.arm) == ("stale", "control")


def test_get__new_process_while_platform_is_down__reads_the_disk(platform: FakePlatform, tmp_path: Path) -> None:
    with Client(platform.url, "k", cache_dir=tmp_path) as client:
        client.harness("desk").get(user="u1")
    platform.failing = 503

    with Client(platform.url, "k", cache_dir=tmp_path) as client:
        restarted = client.harness("desk").get(user="u2")

    assert (restarted.source, restarted.document) == ("disk", {"prompt": {"system": "one"}})
    assert restarted.pin is None


def test_get__saved_file_was_altered__is_not_used(platform: FakePlatform, tmp_path: Path) -> None:
    with Client(platform.url, "k", cache_dir=tmp_path) as client:
        client.harness("desk").get(user="u1")
    (saved,) = tmp_path.iterdir()
    saved.write_text(saved.read_text().replace("one", "two"))
    platform.failing = 503

    with Client(platform.url, "k", cache_dir=tmp_path) as client:
        assert client.harness("desk").get(user="u1").source == "none"


def test_get__canary_document__is_never_saved_as_last_known_good(platform: FakePlatform, tmp_path: Path) -> None:
    platform.arms = {"u1": "canary"}
    with Client(platform.url, "k", cache_dir=tmp_path) as client:
        client.harness("desk").get(user="u1")

    assert list(tmp_path.iterdir()) == []


def test_get__nobody_listens__returns_an_empty_harness() -> None:
    with Client("http://127.0.0.1:9", "k") as client:
        resolved = client.harness("desk").get(user="u1")

    assert (resolved.source, dict(resolved.document), resolved.digest) == ("none", {}, "")


def test_get__proxy_in_the_environment__is_not_asked_for_this_machine(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(platform.url, "k") as client:
        assert client.harness("desk").get(user="u1").source == "platform"
