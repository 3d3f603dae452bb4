"""The client's reporting side: nothing is lost silently, nothing reaches the agent as an exception."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.whetstone.fake_platform import FakePlatform, running
from whetstone import Client, EpisodeQueue


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with running() as platform:
        yield platform


def episode(number: int) -> dict[str, Any]:
    return {"agent": "desk", "id": f"e{number}", "output": {"text": "¿qué?"}}


def ids(platform: FakePlatform) -> list[str]:
    return [item["id"] for item in platform.episodes]


def test_record__many__arrive_in_order_and_in_batches(platform: FakePlatform) -> None:
    with Client(platform.url, "key-1") as client:
        taken = client.episodes.send(episode(number) for number in range(250))
        report = client.flush()

    assert taken == 250
    assert ids(platform) == [f"e{number}" for number in range(250)]
    assert max(platform.batches) == 100
    assert (report.recorded, report.accepted, report.lost) == (250, 250, 0)
    assert platform.requests[0][2]["Authorization"] == "Bearer key-1"


def test_record__platform_down_for_a_while__is_sent_again(platform: FakePlatform) -> None:
    platform.failing = 503
    with Client(platform.url, "k") as client:
        client.episodes.record(episode(1))
        waiting = client.flush(timeout_s=0.5)
        platform.failing = None
        report = client.flush(timeout_s=10)

    assert (waiting.pending, waiting.last_reason) == (1, "HTTP 503")
    assert (report.accepted, report.lost) == (1, 0)
    assert ids(platform) == ["e1"]


def test_record__bad_items__are_counted_with_their_reason(platform: FakePlatform) -> None:
    platform.refused_ids = {"e1"}
    with Client(platform.url, "k") as client:
        client.episodes.send(episode(number) for number in range(3))
        report = client.flush()

    assert (report.accepted, report.rejected, report.last_reason) == (2, 1, "told to refuse")
    assert ids(platform) == ["e0", "e2"]


@pytest.mark.parametrize("value", [object(), float("nan")])
def test_record__not_json__is_refused_without_raising(platform: FakePlatform, value: object) -> None:
    with Client(platform.url, "k") as client:
        taken = client.episodes.record({"id": "e1", "attributes": {"bad": value}})
        report = client.flush()

    assert not taken
    assert report.rejected == report.lost == 1


def test_record__whole_batch_refused__is_lost_and_said(platform: FakePlatform) -> None:
    platform.failing = 422
    with Client(platform.url, "k") as client:
        client.episodes.record(episode(1))
        report = client.flush()

    assert (report.rejected, report.pending) == (1, 0)
    assert "422" in report.last_reason


def test_record__queue_full__refuses_the_newest_at_once() -> None:
    with httpx.Client(base_url="http://127.0.0.1:9/api/v1/") as http:
        queue = EpisodeQueue(http, max_queued=2)
        taken = [queue.record(episode(number)) for number in range(3)]
        report = queue.close(timeout_s=0.1)

    assert taken == [True, True, False]
    assert (report.overflowed, report.pending, report.lost) == (1, 2, 3)


def test_close__platform_dead__returns_in_time_and_reports_the_loss() -> None:
    client = Client("http://127.0.0.1:9", "k")
    client.episodes.record(episode(1))
    started = time.monotonic()
    report = client.close(timeout_s=0.3)

    assert time.monotonic() - started < 3
    assert report.lost == 1
    assert not client.episodes.record(episode(2))
