"""The client's reporting side: nothing is lost silently, nothing reaches the agent as an exception."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.whetstone.fake_platform import FakePlatform
from whetstone import Client


def episode(number: int) -> dict[str, Any]:
    return {"agent": "desk", "id": f"e{number}", "output": {"text": "¿qué?"}}


def ids(platform: FakePlatform) -> list[str]:
    return [item["id"] for item in platform.episodes]


@pytest.fixture(params=["memory", "spool"])
def client(request: Any, connect: Any, tmp_path: Any) -> Client:
    return connect(folder=tmp_path if request.param == "spool" else None)


def test_record__many__arrive_in_order_and_in_batches(platform: FakePlatform, client: Client) -> None:
    taken = client.send(episode(number) for number in range(1250))
    report = client.flush()

    assert taken == 1250
    assert ids(platform) == [f"e{number}" for number in range(1250)]
    assert max(platform.batches) == 500
    assert (report.recorded, report.accepted, report.delivered, report.pending, report.lost) == (1250, 1250, 1250, 0, 0)
    assert platform.requests[0][2]["Authorization"] == "Bearer key-1"


def test_record__without_id_and_time__gets_both(platform: FakePlatform, client: Client) -> None:
    client.record({"output": "hello"})
    client.flush()

    (stored,) = platform.episodes
    assert len(stored["id"]) == 36
    assert abs(datetime.now(UTC) - datetime.fromisoformat(stored["started_at"])) < timedelta(minutes=1)


def test_record__platform_down_for_a_while__is_sent_again_and_once(platform: FakePlatform, client: Client) -> None:
    platform.failing = 503
    client.record(episode(1))
    waiting = client.flush(timeout_s=0.5)
    platform.failing = None
    client.record(episode(2))
    report = client.flush(timeout_s=10)

    assert waiting.pending == 1
    assert waiting.last_reason.startswith("HTTP 503")
    assert (report.delivered, report.lost) == (2, 0)
    assert ids(platform) == ["e1", "e2"]


@pytest.mark.parametrize("failing", [301, 401, 403, 404, 408, 429, 500, 503])
def test_record__refusal_that_can_be_mended__costs_no_episode(
    platform: FakePlatform, connect: Any, failing: int
) -> None:
    platform.failing = failing
    client = connect()
    client.record(episode(1))
    assert client.flush(timeout_s=0.2).pending == 1
    platform.failing = None

    assert client.flush().delivered == 1


def test_record__proxy_answers_400_in_html__is_no_refusal_of_the_platform(platform: FakePlatform, connect: Any) -> None:
    platform.failing, platform.failing_body = 400, b"<h1>plain HTTP on a port for HTTPS</h1>"
    client = connect()
    client.record(episode(1))
    assert client.flush(timeout_s=0.2).rejected == 0
    platform.failing = None

    assert client.flush().delivered == 1


@pytest.mark.parametrize("as_date", [False, True])
def test_record__platform_under_pressure__is_left_alone_as_long_as_it_asks(
    platform: FakePlatform, connect: Any, as_date: bool
) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    platform.failing, platform.failing_headers = 429, {"Retry-After": at if as_date else "2"}
    client = connect()
    client.record(episode(1))
    client.flush(timeout_s=0.5)
    platform.failing = None
    # Even a flush does not make it ask sooner.
    report = client.flush(timeout_s=10)

    first, second = platform.asked_at
    assert second - first >= (1.0 if as_date else 2.0)
    assert report.delivered == 1


def test_record__pauses__grow_and_differ(platform: FakePlatform, connect: Any) -> None:
    platform.failing = 500
    client = connect()
    client.record(episode(1))
    time.sleep(2.5)
    pauses = [after - before for before, after in zip(platform.asked_at, platform.asked_at[1:], strict=False)]

    assert 3 <= len(pauses) <= 6
    assert 0.09 < pauses[0] < 0.5
    assert pauses[-1] > pauses[0]
    assert client.report().pending == 1


def test_record__bad_items__are_counted_with_their_reason(platform: FakePlatform, client: Client) -> None:
    platform.refused_ids = {"e1"}
    client.send(episode(number) for number in range(3))
    report = client.flush()

    assert (report.delivered, report.rejected, report.last_reason) == (2, 1, "told to refuse")
    assert ids(platform) == ["e0", "e2"]


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (float("nan"), "nan"),
        (2**60, str(2**60)),
        (1e300, "1e+300"),
        (0.1234567890123456789, 0.12345678901234568),
        ("a\x00b\ud800", "a\N{REPLACEMENT CHARACTER}b?"),
        (b"abc", "<3 bytes>"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        ({1: (2, {3})}, {"1": [2, [3]]}),
        (TypeError("no"), "no"),
    ],
)
def test_record__what_is_not_plain_json__is_written_as_well_as_it_can_be(
    platform: FakePlatform, client: Client, value: Any, arrives: Any
) -> None:
    assert client.record({"id": "e1", "attributes": {"odd": value}})
    client.flush()

    assert platform.episodes[0]["attributes"]["odd"] == arrives


class Awkward:
    def __str__(self) -> str:
        raise RuntimeError("not now")


def circle() -> dict[str, Any]:
    around: dict[str, Any] = {}
    around["around"] = around
    return around


@pytest.mark.parametrize("broken", [None, 7, "text", {"id": Awkward()}, {"a": Awkward()}])
def test_record__what_cannot_be_written__is_refused_without_raising(client: Client, broken: Any) -> None:
    assert not client.record(broken)
    report = client.flush()

    assert (report.recorded, report.unreadable, report.lost) == (1, 1, 1)
    assert report.last_reason.startswith("not JSON")


def test_record__endless_nesting__is_cut(platform: FakePlatform, client: Client) -> None:
    assert client.record({"id": "e1", "attributes": circle()})
    assert client.flush().delivered == 1


def test_record__one_spoils_the_batch__the_others_get_through(platform: FakePlatform, client: Client) -> None:
    original = type(platform).finish_request

    class Handler(platform.RequestHandlerClass):  # type: ignore[name-defined,misc]
        def _episodes(self, body: list[dict[str, Any]]) -> None:
            if any(item["id"] == "e7" for item in body):
                self._send(422, b'{"code": "told_to_fail"}', {})
            else:
                super()._episodes(body)

    platform.RequestHandlerClass = Handler
    client.send(episode(number) for number in range(20))
    report = client.flush()

    assert (report.delivered, report.rejected, report.pending) == (19, 1, 0)
    assert ids(platform) == [f"e{number}" for number in range(20) if number != 7]
    assert original is type(platform).finish_request


def test_record__too_large_for_the_platform__is_halved_until_it_fits(platform: FakePlatform, client: Client) -> None:
    class Handler(platform.RequestHandlerClass):  # type: ignore[name-defined,misc]
        def _episodes(self, body: list[dict[str, Any]]) -> None:
            self._send(413, b"too large", {}) if len(body) > 3 else super()._episodes(body)

    platform.RequestHandlerClass = Handler
    client.send(episode(number) for number in range(20))

    assert client.flush().delivered == 20
    assert sorted(ids(platform)) == sorted(f"e{number}" for number in range(20))


def test_record__queue_full__refuses_the_newest_at_once() -> None:
    client = Client("http://127.0.0.1:9", "k", agent="desk", max_queued=2)
    # One batch is in the sender's hands, two more fit.
    client.record(episode(0))
    time.sleep(0.5)
    taken = [client.record(episode(number)) for number in range(1, 4)]
    report = client.close(timeout_s=0.1)

    assert taken == [True, True, False]
    assert (report.accepted, report.overflowed, report.pending, report.lost) == (3, 1, 3, 4)


def test_record__while_the_platform_hangs__costs_the_agent_nothing(platform: FakePlatform, client: Client) -> None:
    platform.delay_s = 2.0
    client.record(episode(0))
    time.sleep(0.3)
    longest = 0.0
    for number in range(1, 500):
        started = time.perf_counter()
        client.record(episode(number))
        longest = max(longest, time.perf_counter() - started)

    assert longest < 1.0
    platform.delay_s = 0.0
    assert client.flush().delivered == 500


def test_outcome__of_an_episode__follows_it(platform: FakePlatform, client: Client) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    client.record(episode(1) | {"outcomes": [{"name": "blocked", "value": 1.0, "reason": "no key"}]})
    client.outcome("e 1/x", "resolved", source="customer", at=at)
    report = client.flush()

    (first, blocked), (second, resolved) = platform.outcomes
    assert (first, second) == ("e1", "e 1/x")
    assert (blocked["name"], blocked["reason"], blocked["source"]) == ("blocked", "no key", "agent")
    assert (resolved["name"], resolved["source"], resolved["at"]) == ("resolved", "customer", at.isoformat())
    assert platform.requests[0][0] == "/api/v1/episodes"
    assert (report.delivered, report.lost) == (3, 0)


@pytest.mark.parametrize(("failing", "rejected"), [(403, 1), (404, 1), (422, 1), (503, 0), (429, 0)])
def test_outcome__refused__never_holds_up_the_episodes(
    platform: FakePlatform, connect: Any, failing: int, rejected: int
) -> None:
    platform.failing_paths = {"/outcomes": failing}
    client = connect()
    client.record(episode(1) | {"outcomes": [{"name": "resolved"}]})
    client.flush(timeout_s=0.5)

    assert ids(platform) == ["e1"]
    assert client.report().rejected == rejected
    platform.failing_paths = {}
    assert client.flush().pending == 0
    assert len(platform.outcomes) == 1 - rejected


def test_close__platform_dead__returns_in_time_and_reports_the_loss() -> None:
    client = Client("http://127.0.0.1:9", "k", agent="desk")
    client.record(episode(1))
    started = time.monotonic()
    report = client.close(timeout_s=0.3)

    assert time.monotonic() - started < 3
    assert report.lost == 1
    assert not client.record(episode(2))
    assert client.close().overflowed == 1


AT_EXIT = """
import sys, whetstone
ws = whetstone.Client(sys.argv[1], "k", agent="desk")
for number in range(20):
    ws.record({"id": f"e{number}"})
if sys.argv[2] == "crash":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("end", ["return", "crash"])
def test_exit__without_a_close__still_sends(platform: FakePlatform, end: str) -> None:
    subprocess.run([sys.executable, "-c", AT_EXIT, platform.url, end], check=False, timeout=30)

    assert ids(platform) == [f"e{number}" for number in range(20)]


LATE = """
import atexit, sys, whetstone
ws = whetstone.Client(sys.argv[1], "k", agent="desk")
atexit.register(ws.record, {"id": "late"})
"""


def test_exit__recorded_while_the_interpreter_ends__is_still_sent(platform: FakePlatform) -> None:
    done = subprocess.run([sys.executable, "-c", LATE, platform.url], check=False, timeout=30, capture_output=True)

    assert done.stderr == b""
    assert ids(platform) == ["late"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_record__after_a_fork__each_process_sends_its_own_once(platform: FakePlatform, client: Client) -> None:
    platform.failing = 503
    client.record(episode(1))
    time.sleep(0.4)
    pid = os.fork()
    if pid == 0:
        fresh = client.report().recorded == 0
        client.record(episode(2))
        platform.failing = None
        os._exit(0 if client.flush(0.1).pending == 1 and fresh else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    platform.failing = None
    report = client.flush()

    assert (report.recorded, report.delivered) == (1, 1)
    assert ids(platform).count("e1") == 1
