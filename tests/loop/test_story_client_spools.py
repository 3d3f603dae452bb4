"""A story: the platform dies again and again under agents that report through the client library, and so does an agent.

It dies at random moments, and between the commit of a report and the arrival of its answer. Every episode the library
accepted is there in the end, once.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.config.servers import until
from tests.loop.relaying import Relay, relayed
from tests.loop.standing import Standing, standing

pytestmark = [
    pytest.mark.story,
    pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for processes"),
]

SEED = 7
DONE_S = 150.0
VICTIMS = ("web", "an answer", "postgres", "an answer", "web", "an agent", "an answer", "web")
# Between two deaths so many episodes must arrive: the platform is back, and under load again.
ARRIVE = 30

# Reports under ids of its own until it is told to stop, and notes what was accepted, one write an id, after it was.
AGENT = """
import json, os, sys, time
from pathlib import Path
import whetstone

url, key, slug, folder, name, stop = sys.argv[1:]
noted = os.open(Path(folder) / f"{name}.accepted", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
ws = whetstone.Client(url, key, agent=slug, folder=folder)
number = 0
while not Path(stop).exists():
    harness = ws.harness(user=f"user-{number % 50}", conversation=f"{name}-{number}")
    with ws.episode(harness, id=f"{name}-{number}", input="Do you ship to Norway?") as episode:
        episode.step("retrieval", "search", output={"found": []})
        episode.output({"text": "We do. " * 100})
    if episode.accepted:
        os.write(noted, f"{episode.id}\\n".encode())
    number += 1
    time.sleep(0.05)
report = ws.close(timeout_s=100)
print(json.dumps({"rejected": report.rejected, "overflowed": report.overflowed, "pending": report.pending,
                  "inherited": report.inherited, "delivered": report.delivered, "why": report.last_reason}))
"""


class Agents:
    """Two agents' processes on one folder; whoever dies is replaced."""

    def __init__(self, platform: Standing, url: str, folder: Path) -> None:
        self.platform, self.url, self.folder, self.stop = platform, url, folder, folder / "stop"
        self.at_work = [self._started(f"agent-{number}") for number in range(2)]

    def _started(self, name: str) -> subprocess.Popen[str]:
        facts = self.platform.facts
        named = [self.url, facts["keys"][0], facts["agent"], str(self.folder), name, str(self.stop)]
        log = (self.folder / f"{name}.log").open("w")
        return subprocess.Popen([sys.executable, "-c", AGENT, *named], stdout=subprocess.PIPE, stderr=log, text=True)

    def kill_one(self) -> None:
        """Kill -9 the first and start another, which finds what it left."""
        self.at_work[0].kill()
        self.at_work[0].communicate()
        self.at_work[0] = self._started("agent-2")

    def accepted(self) -> list[str]:
        """Return the ids noted so far, each only after the library had taken the episode."""
        return [name for path in self.folder.glob("*.accepted") for name in path.read_text().splitlines()]

    def finish(self) -> list[dict[str, int]]:
        """Stop reporting and return what the libraries say became of it."""
        self.stop.touch()
        return [json.loads(agent.communicate(timeout=DONE_S)[0]) for agent in self.at_work]


def test_story__platform_and_agent_killed_under_load__every_accepted_episode_is_there_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    folder = tmp_path / "agents"
    folder.mkdir()
    with standing("capture", logs=tmp_path, programs=["web"]) as platform, relayed(_port(platform)) as relay:
        agents = Agents(platform, relay.url, folder)
        spooled = 0
        for victim in VICTIMS:
            assert until(_grows(platform, by=ARRIVE), timeout_s=DONE_S), f"nothing arrives; see {tmp_path}"
            time.sleep(chance.uniform(0.0, 1.0))
            _kill(victim, platform, agents, relay)
            time.sleep(chance.uniform(0.2, 0.8))
            spooled = max(spooled, len(agents.accepted()) - platform.count("episodes_episode"))
        assert until(_grows(platform, by=ARRIVE), timeout_s=DONE_S), f"nothing arrives; see {tmp_path}"
        assert until(lambda: any(name.startswith("agent-2-") for name in agents.accepted()), timeout_s=DONE_S)
        reports = agents.finish()
        accepted = agents.accepted()
        assert until(partial(_has_all, platform, accepted), timeout_s=DONE_S), f"{reports}; see {tmp_path}"

        stored = [name for (name,) in platform.ask("SELECT external_id FROM episodes_episode")]
        assert len(accepted) == len(set(accepted)) > 500
        assert len(stored) == len(set(stored))
        # Of an agent killed between writing an episode and noting so, one may stand beyond what was noted.
        assert len(set(stored) - set(accepted)) <= 1
        # Each with its one step: nothing was stored in part.
        assert platform.count("episodes_episode WHERE jsonb_array_length(steps) = 1") == len(stored)
        assert spooled > 0
        # What was committed and never answered was sent again, and known by its id.
        assert relay.lost == VICTIMS.count("an answer")
        assert relay.known_already >= relay.lost
        assert [(report["rejected"], report["overflowed"], report["pending"]) for report in reports] == [(0, 0, 0)] * 2
        assert sum(report["inherited"] for report in reports) > 0, "the dead agent had left nothing behind"
        left = [path for path in folder.rglob("*") if path.suffix in {".ndjson", ".lock", ".refused"}]
        assert left == []


def _port(platform: Standing) -> int:
    return int(platform.base_url.rpartition(":")[2])


def _kill(victim: str, platform: Standing, agents: Agents, relay: Relay) -> None:
    if victim == "an agent":
        # While the platform is away too, so that it has something to leave behind.
        _kill_web(platform)
        time.sleep(0.5)
        agents.kill_one()
    elif victim == "an answer":
        assert relay.lose_next_answer(partial(_kill_web, platform), timeout_s=DONE_S), "nothing is reported"
    elif victim == "web":
        _kill_web(platform)
    else:
        platform.kill("postgres")


def _kill_web(platform: Standing) -> None:
    """Kill -9 the web server with its workers, as the kernel would; what supervises it starts another."""
    words = {b"granian", str(_port(platform)).encode()}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if words <= set((entry / "cmdline").read_bytes().split(b"\0")):
                os.kill(int(entry.name), 9)
        except (FileNotFoundError, ProcessLookupError):
            continue


def _grows(platform: Standing, *, by: int) -> Callable[[], bool]:
    """Return a question: were so many more episodes stored since it was first asked?"""
    before: list[int] = []

    def ask() -> bool:
        stored = platform.count("episodes_episode")
        if stored >= 0:
            before.append(stored)
        return bool(before) and stored >= before[0] + by

    return ask


def _has_all(platform: Standing, accepted: list[str]) -> bool:
    rows = platform.ask("SELECT external_id FROM episodes_episode")
    return {name for (name,) in rows} >= set(accepted)
