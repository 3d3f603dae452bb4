"""A story: agents report episodes while Valkey is killed under them; all is kept, and read once."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.config.servers import until
from tests.loop.asking import ASKED
from tests.loop.standing import Standing, standing

pytestmark = [
    pytest.mark.story,
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for processes"),
]

CLIENTS, BATCHES, SIZE = 4, 15, 6
TOTAL = CLIENTS * BATCHES * SIZE
# Every so many episodes a tool fails for good, every so many a person takes over.
TOOL_FAILS_EVERY, HANDS_OFF_EVERY = 4, 6
DONE_S = 150.0


class Reporter:
    """An agent that reports episodes in batches under ids of its own, and notes what was acknowledged."""

    def __init__(self, platform: Standing, number: int) -> None:
        self.platform = platform
        self.number = number
        self.acknowledged: list[str] = []
        self.known_already = 0

    def work(self) -> None:
        with self.platform.line() as line:
            for batch in range(BATCHES):
                items = [_episode(f"client-{self.number}-{batch * SIZE + place}") for place in range(SIZE)]
                # The answer to every fifth batch is lost on its way, as it were, so the batch is sent again.
                for _ in range(2 if batch % 5 == 0 else 1):
                    receipt = line.insist("POST", "/episodes", json=items).json()
                    assert receipt["rejected"] == []
                    assert receipt["accepted"] + receipt["duplicates"] == SIZE
                    self.known_already += receipt["duplicates"]
                self.acknowledged += [item["id"] for item in items]


def _episode(name: str) -> dict[str, Any]:
    number = int(name.rpartition("-")[2])
    episode: dict[str, Any] = {
        "id": name,
        "conversation": f"conversation-{name}",
        "subject": f"user-{name}",
        "input": {"messages": [{"role": "user", "content": ASKED[number % len(ASKED)]}]},
        "output": {"text": "We do.", "handoff": number % HANDS_OFF_EVERY == 0},
        "steps": [{"kind": "retrieval", "name": "search", "output": {"found": []}}],
    }
    if number % TOOL_FAILS_EVERY == 0:
        call = {
            "kind": "tool_call",
            "name": "rates",
            "input": {"to": "no"},
            "status": "error",
            "error": "no such country",
        }
        episode["steps"].append(call)
    return episode


def _names(every: int) -> Iterator[str]:
    for client in range(CLIENTS):
        yield from (f"client-{client}-{number}" for number in range(0, BATCHES * SIZE, every))


def test_story__valkey_killed_in_capture__every_acknowledged_episode_is_there_and_understood_once(
    tmp_path: Path,
) -> None:
    with standing("capture", logs=tmp_path) as platform:
        clients = [Reporter(platform, number) for number in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as threads:
            at_work = [threads.submit(client.work) for client in clients]
            for third in (1, 2):
                goal = third * TOTAL // 3
                assert until(partial(_have_sent, clients, goal), timeout_s=DONE_S)
                platform.kill("valkey")
                assert _sent(clients) < TOTAL, "everything was reported before the kill"
            for work in at_work:
                work.result(timeout=DONE_S)

        assert until(partial(_is_quiet, platform), timeout_s=DONE_S), f"{_unfinished(platform)}; see {tmp_path}"
        _assert_stored_once(platform, clients)
        _assert_understood_once(platform)


def _sent(clients: list[Reporter]) -> int:
    return sum(len(client.acknowledged) for client in clients)


def _have_sent(clients: list[Reporter], goal: int) -> bool:
    return _sent(clients) >= goal


def _unfinished(platform: Standing) -> dict[str, int]:
    return {
        "unread": platform.count("episodes_episode WHERE understood_at IS NULL"),
        "unsettled": platform.count("episodes_conversation WHERE settled_at IS NULL"),
        "tasks": platform.count("jobs_task WHERE state IN ('ready', 'claimed')"),
    }


def _is_quiet(platform: Standing) -> bool:
    return not any(_unfinished(platform).values())


def _assert_stored_once(platform: Standing, clients: list[Reporter]) -> None:
    acknowledged = sorted(name for client in clients for name in client.acknowledged)
    assert sorted(name for (name,) in platform.ask("SELECT external_id FROM episodes_episode")) == acknowledged
    assert len(acknowledged) == len(set(acknowledged)) == TOTAL
    assert sum(client.known_already for client in clients) > 0
    assert platform.count("episodes_conversation") == TOTAL
    steps = platform.ask("SELECT sum(jsonb_array_length(steps)) FROM episodes_episode")
    assert steps == [(TOTAL + len([*_names(TOOL_FAILS_EVERY)]),)]


def _assert_understood_once(platform: Standing) -> None:
    failing_tools, handed_off = set(_names(TOOL_FAILS_EVERY)), set(_names(HANDS_OFF_EVERY))
    assert _episodes_with(platform, "signal", "kind = 'tool_error'") == sorted(failing_tools)
    assert _episodes_with(platform, "signal", "kind = 'handoff'") == sorted(handed_off)
    # Nothing in the database forbids a second statement of a detector, or a second count.
    assert _episodes_with(platform, "outcome", "name = 'escalated'") == sorted(handed_off)
    counted = platform.ask("SELECT sum(num_conversations) FROM episodes_intent")
    assert counted == [(platform.count("episodes_conversation WHERE intent_id IS NOT NULL"),)]
    critiques = _episodes_with(platform, "critique", "true")
    assert len(critiques) == len(set(critiques))
    # A conversation whose tool failed for good, or that a person took over, has failed.
    failed = failing_tools | handed_off
    assert _episodes_with(platform, "critique", "is_failure") == sorted(failed)
    # Patterns are made of the dev split alone; each failure is in one of them, and counted there, once.
    in_dev = _episodes_with(
        platform,
        "critique",
        "is_failure AND conversation_id IN (SELECT id FROM episodes_conversation WHERE split = 'dev')",
    )
    assert platform.count("episodes_patternmember") == len(in_dev)
    assert platform.ask("SELECT coalesce(sum(num_episodes), 0) FROM episodes_pattern") == [(len(in_dev),)]
    committed = platform.ask("SELECT sum((facts->>'count')::int) FROM audit_event WHERE action = 'episodes.captured'")
    assert (committed[0][0] or 0) == platform.count("episodes_episode WHERE committed_at IS NOT NULL")
    assert platform.ask("SELECT name, last_error FROM jobs_task WHERE state = 'failed'") == []


def _episodes_with(platform: Standing, fact: str, condition: str) -> list[str]:
    rows = platform.ask(
        f"SELECT e.external_id FROM episodes_{fact} f JOIN episodes_episode e ON e.id = f.episode_id WHERE {condition}"
    )
    return sorted(name for (name,) in rows)
