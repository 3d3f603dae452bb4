"""A story: PostgreSQL is killed twice while a release ramps, and the release still ends as planned, nobody flipping."""

import itertools
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.config.servers import until
from tests.loop.asking import ASKED, Line
from tests.loop.standing import Standing, standing

pytestmark = [
    pytest.mark.story,
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for processes"),
]

VISITORS, USERS = 4, 200
VISITS_BEFORE_KILL = 20
PAUSE_S = 0.3
"""Between two visits of one visitor, so that the platform also keeps up on a busy machine."""
DONE_S = 400.0
SIGN_OF_LIFE = timedelta(seconds=10)
"""The guard writes the same reading down again after so long, not earlier."""


@dataclass(frozen=True)
class Sight:
    """What one fetch said: who is served, when, as which arm at which weight, under which pin."""

    user: str
    at: float
    weight: float | None
    arm: str | None
    digest: str
    conversation: str
    pin: str | None


@dataclass
class Visitors:
    """Users of one agent process: they fetch, talk, and their ends are reported; after an outage they come back."""

    platform: Standing
    number: int
    done: threading.Event
    outages: list[float]
    sights: list[Sight] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    returned: int = 0
    unclean: list[str] = field(default_factory=list)

    def work(self) -> None:
        users = itertools.cycle(range(self.number, USERS, VISITORS))
        with self.platform.line() as line:
            for visit, user in enumerate(users):
                if self.done.wait(PAUSE_S):
                    break
                if self.returned < len(self.outages):
                    self._come_back(line)
                self._visit(line, f"user-{user}", f"visit-{self.number}-{visit}")
            self.unclean = line.unclean()

    def _visit(self, line: Line, user: str, name: str) -> None:
        seen = _fetch(self.platform, line, user, name)
        self.sights.append(seen)
        episode = {
            "id": name, "conversation": name, "subject": user, "started_at": datetime.now(UTC).isoformat(),
            "input": {"messages": [{"role": "user", "content": ASKED[0]}]}, "output": {"text": "We do."},
            "harness_digest": seen.digest, "weight": seen.weight, "arm": seen.arm or "",
            "release": self.platform.facts["release"] if seen.arm else None,
        }  # fmt: skip
        receipt = line.insist("POST", "/episodes", json=episode).json()
        assert receipt["accepted"] + receipt["duplicates"] == 1, receipt
        # The change cures what fails without it for every other user.
        is_cured = seen.digest == self.platform.facts["candidate"]
        end = "resolved" if is_cured or len(self.told) % 2 else "failed"
        outcome = {"name": end, "source": "customer", "value": 1, "at": datetime.now(UTC).isoformat()}
        line.insist("POST", f"/episodes/{name}/outcomes", json=outcome)
        self.told.append(name)

    def _come_back(self, line: Line) -> None:
        """Look again for everybody seen at the newest weight, once as newcomers to a talk and once in their last one."""
        self.returned += 1
        newest = self.sights[-1].weight
        for seen in {one.user: one for one in self.sights if one.weight == newest}.values():
            self.sights.append(_fetch(self.platform, line, seen.user, f"again-{self.returned}-{seen.user}"))
            kept = _fetch(self.platform, line, seen.user, seen.conversation, pin=seen.pin)
            assert (kept.digest, kept.arm, kept.weight) == (seen.digest, seen.arm, seen.weight), "the pin did not hold"


def _fetch(platform: Standing, line: Line, user: str, conversation: str, *, pin: str | None = None) -> Sight:
    query = {"user": user, "conversation": conversation, "bundle": "0"}
    path = f"/agents/{platform.facts['agent']}/harness"
    answer = line.insist("GET", path, params=query, headers={"Whetstone-Pin": pin} if pin else {})
    facts = answer.json()
    return Sight(user, time.time(), facts["weight"], facts["arm"], facts["digest"], conversation, facts["pin"])


@contextmanager
def _visited(platform: Standing, outages: list[float]) -> Iterator[list[Visitors]]:
    """Let users come until the block ends; whatever failed one of them fails the story."""
    done = threading.Event()
    visitors = [Visitors(platform, number, done, outages) for number in range(VISITORS)]
    with ThreadPoolExecutor(VISITORS) as threads:
        at_work = [threads.submit(one.work) for one in visitors]
        try:
            yield visitors
        finally:
            done.set()
        for work in at_work:
            work.result(timeout=DONE_S)


def test_story__postgres_killed_in_a_ramp__the_release_is_promoted_and_nobody_flips(tmp_path: Path) -> None:
    with standing("ramp", logs=tmp_path) as platform:
        outages: list[float] = []
        unclean: list[str] = []
        with _visited(platform, outages) as visitors:
            for key, weight in enumerate((0.1, 0.5), start=1):
                assert until(partial(_is_under_way, visitors, weight), timeout_s=DONE_S), _release(platform)
                platform.kill("postgres")
                outages.append(time.time())
                # An agent that starts in the middle of it: its key is new to the web process.
                with platform.line(key) as newcomer:
                    _fetch(platform, newcomer, "", "")
                    unclean += newcomer.unclean()
            assert until(partial(_is_over, platform), timeout_s=DONE_S), f"{_release(platform)}; see {tmp_path}"

        unclean += [answer for one in visitors for answer in one.unclean]
        assert unclean == []
        _assert_ended_as_planned(platform)
        _assert_nobody_flipped(visitors, outages)
        _assert_stored_once(platform, visitors)
        _assert_guard_looked_once_at_a_time(platform)


def _is_under_way(visitors: list[Visitors], weight: float) -> bool:
    return sum(seen.weight == weight for one in visitors for seen in [*one.sights]) >= VISITS_BEFORE_KILL


def _release(platform: Standing) -> dict[str, Any]:
    names = ("status", "weight", "effect", "aftermath_closed_at", "guard_sentence")
    rows = platform.ask(f"SELECT {', '.join(names)} FROM releases_release")
    return dict(zip(names, rows[0], strict=True)) if rows else {}


def _is_over(platform: Standing) -> bool:
    return _release(platform).get("aftermath_closed_at") is not None


def _assert_ended_as_planned(platform: Standing) -> None:
    release = _release(platform)
    assert (release["status"], release["effect"]) == ("promoted", "verified"), release
    reference = f"releases.release:{platform.facts['release']}"
    events = platform.ask(f"SELECT action FROM audit_event WHERE object_ref = '{reference}' ORDER BY id")
    steps = ["draft", "submit", "approve", "start", "advance", "begin_promotion", "promote", "close_aftermath"]
    assert [action for (action,) in events] == [f"release.{step}" for step in steps]
    edges = platform.ask(
        "SELECT action FROM audit_event WHERE facts ? 'from' GROUP BY object_ref, action HAVING count(*) > 1"
    )
    assert edges == []
    stable = platform.ask("SELECT v.digest FROM harness_agent a JOIN harness_harnessversion v ON v.id = a.stable_id")
    assert stable == [(platform.facts["candidate"],)]


def _assert_nobody_flipped(visitors: list[Visitors], outages: list[float]) -> None:
    drawn: dict[str, list[Sight]] = defaultdict(list)
    for one in visitors:
        for seen in one.sights:
            if seen.arm is not None:
                drawn[seen.user].append(seen)
    for user, sights in drawn.items():
        arms = [seen.arm for seen in sights]
        assert arms == sorted(arms, key=("control", "canary").index), f"{user} flipped: {sights}"
        at_weight = {(seen.weight, seen.arm) for seen in sights}
        assert len(at_weight) == len({weight for weight, _ in at_weight}), f"{user} had two arms at a weight: {sights}"
    for weight, killed_at in zip((0.1, 0.5), outages, strict=True):
        sides = [{seen.at < killed_at for seen in sights if seen.weight == weight} for sights in drawn.values()]
        assert {True, False} in sides, f"nobody was seen on both sides of the outage at {weight}"


def _assert_stored_once(platform: Standing, visitors: list[Visitors]) -> None:
    told = sorted(name for one in visitors for name in one.told)
    episodes = "episodes_episode WHERE external_id LIKE 'visit-%'"
    assert sorted(name for (name,) in platform.ask(f"SELECT external_id FROM {episodes}")) == told
    outcomes = platform.ask(
        "SELECT e.external_id FROM episodes_outcome o JOIN episodes_episode e ON e.id = o.episode_id"
        " WHERE o.source = 'customer'"
    )
    assert sorted(name for (name,) in outcomes) == told
    # Who was served what is noted in memory first, which the outage must not cost either.
    served = {(seen.user, seen.weight, seen.arm) for one in visitors for seen in one.sights if seen.arm}
    assert until(lambda: platform.count("releases_exposure") >= len(served))
    exposures = platform.ask("SELECT subject, weight, arm FROM releases_exposure")
    assert Counter(exposures) == Counter(served)


def _assert_guard_looked_once_at_a_time(platform: Standing) -> None:
    """Two guards at once would write down the same reading twice, or look back at a weight that was left."""
    ticks = platform.ask(
        "SELECT at, stage, status, reading->>'code', reading->>'decision' FROM releases_guardtick ORDER BY id"
    )
    moments, stages = [tick[0] for tick in ticks], [tick[1] for tick in ticks]
    assert len(set(moments)) == len(moments)
    assert moments == sorted(moments)
    assert stages == sorted(stages)
    assert set(stages) == {0, 1, 2}
    for before, after in itertools.pairwise(ticks):
        assert before[1:] != after[1:] or after[0] - before[0] >= SIGN_OF_LIFE * 0.9, (before, after)
