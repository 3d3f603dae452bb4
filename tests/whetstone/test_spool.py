"""The spool: what was accepted survives any end of the process, and is sent by exactly one of those who share it."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.whetstone.fake_platform import FakePlatform
from whetstone import Client
from whetstone.outbox import OutboxFullError
from whetstone.spool import Spool

DEAD = "http://127.0.0.1:9"


def ids(platform: FakePlatform) -> list[str]:
    return [item["id"] for item in platform.episodes]


def files(folder: Path, end: str) -> list[Path]:
    return sorted(folder.rglob(f"*{end}"))


def spool(folder: Path, **options: Any) -> Spool:
    return Spool(folder, **{"max_bytes": 1_000_000, "sync_each": False} | options)


def line(number: int, size: int = 0) -> bytes:
    return json.dumps({"id": f"e{number}", "pad": "x" * size}).encode() + b"\n"


WRITER = """
import os, signal, sys, time, whetstone
ws = whetstone.Client(sys.argv[1], "k", agent="desk", folder=sys.argv[2])
for number in range(int(sys.argv[4])):
    if ws.record({"id": f"{sys.argv[3]}-{number}"}):
        print(number, flush=True)
if sys.argv[5] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif sys.argv[5] == "wait":
    time.sleep(60)
"""


def write(url: str, folder: Path, name: str, count: int, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, str(folder), name, str(count), end]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_record__process_killed_at_once__the_next_one_sends_all(
    platform: FakePlatform, connect: Any, tmp_path: Path, until: Any
) -> None:
    platform.failing = 503
    process = write(platform.url, tmp_path, "first", 700, "kill")
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert len(printed.split()) == 700
    platform.failing = None
    client = connect(folder=tmp_path)
    client.record({"id": "second-0"})
    report = client.flush()

    assert sorted(ids(platform)) == sorted([f"first-{number}" for number in range(700)] + ["second-0"])
    assert platform.num_duplicates == 0
    assert (report.recorded, report.delivered, report.inherited, report.pending) == (1, 1, 700, 0)
    client.close()
    assert files(tmp_path, ".ndjson") == files(tmp_path, ".lock") == []


def test_client__left_something_behind__sends_without_being_asked(
    platform: FakePlatform, connect: Any, tmp_path: Path, until: Any
) -> None:
    platform.failing = 503
    write(platform.url, tmp_path, "first", 5, "kill").communicate(timeout=30)
    platform.failing = None
    connect(folder=tmp_path)

    assert until(lambda: len(platform.episodes) == 5)


def test_client__neighbour_alive__leaves_its_segments_alone_until_it_dies(
    platform: FakePlatform, connect: Any, tmp_path: Path, until: Any
) -> None:
    platform.failing = 503
    neighbour = write(platform.url, tmp_path, "neighbour", 3, "wait")
    assert neighbour.stdout is not None
    for _ in range(3):
        neighbour.stdout.readline()
    client = connect(folder=tmp_path)
    client.record({"id": "mine"})
    os.kill(neighbour.pid, signal.SIGSTOP)
    time.sleep(0.5)  # until what it had asked is answered
    platform.failing = None
    assert client.flush().delivered == 1
    assert ids(platform) == ["mine"]

    os.kill(neighbour.pid, signal.SIGKILL)
    neighbour.communicate()
    assert until(lambda: len(platform.episodes) == 4, seconds=12)
    assert platform.num_duplicates == 0


def test_client__many_processes_on_one_folder_some_killed__each_episode_arrives_once(
    platform: FakePlatform, connect: Any, tmp_path: Path, until: Any
) -> None:
    platform.delay_s = 0.02
    ends = ["kill", "return", "kill", "return"]
    writers = [write(platform.url, tmp_path, f"w{number}", 200, end) for number, end in enumerate(ends)]
    for writer in writers:
        writer.communicate(timeout=60)
    connect(folder=tmp_path)

    assert until(lambda: len(platform.episodes) == 800, seconds=15)
    assert len(set(ids(platform))) == 800


def test_close__platform_away__keeps_all_for_the_next_process(
    platform: FakePlatform, connect: Any, tmp_path: Path
) -> None:
    platform.failing = 500
    client = connect(folder=tmp_path)
    client.send({"id": f"e{number}"} for number in range(10))
    report = client.close(timeout_s=0.2)
    assert (report.pending, report.spooled, report.lost) == (10, 10, 0)
    platform.failing = None

    assert connect(folder=tmp_path).flush().inherited == 10
    assert ids(platform) == [f"e{number}" for number in range(10)]


def test_client__other_agent_or_platform__has_a_spool_of_its_own(
    platform: FakePlatform, connect: Any, tmp_path: Path
) -> None:
    for url, agent in ((DEAD, "desk"), (platform.url, "other")):
        client = Client(url, "k", agent=agent, folder=tmp_path)
        platform.failing = 503
        client.record({"id": agent})
        client.close(timeout_s=0)
    platform.failing = None

    assert connect(folder=tmp_path).flush().inherited == 0
    assert platform.episodes == []


def test_client__files__are_for_the_owner_alone(connect: Any, platform: FakePlatform, tmp_path: Path) -> None:
    platform.failing = 503
    connect(folder=tmp_path / "state").record({"id": "e1"})

    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "state").rglob("*") if path.parent.name == "spool"}
    assert modes == {0}


def test_client__refused_by_the_platform__is_kept_to_look_at(
    platform: FakePlatform, connect: Any, tmp_path: Path
) -> None:
    platform.refused_ids = {"e1"}
    client = connect(folder=tmp_path)
    client.send({"id": f"e{number}"} for number in range(3))
    client.flush()

    (kept,) = files(tmp_path, ".refused")
    assert [json.loads(row)["id"] for row in kept.read_text().splitlines()] == ["e1"]


def test_add__full__refuses_the_newest_and_has_room_again_when_sent(tmp_path: Path) -> None:
    own = spool(tmp_path, max_bytes=1000)
    own.add(line(1, 400))
    own.add(line(2, 400))
    with pytest.raises(OutboxFullError, match="1000 bytes"):
        own.add(line(3, 400))
    batch = own.take()
    assert batch is not None
    batch.done()
    own.add(line(3, 400))

    assert files(tmp_path, ".ndjson")
    own.close()


def test_add__others_fill_the_folder__counts_theirs_too(tmp_path: Path) -> None:
    first = spool(tmp_path, max_bytes=1000)
    first.add(line(1, 800))
    second = spool(tmp_path, max_bytes=1000)
    with pytest.raises(OutboxFullError):
        second.add(line(2, 400))
    first.close()
    second.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from whetstone.spool import Spool
own = Spool(Path(sys.argv[1]), max_bytes=10**6, sync_each=False)
own.add(b'{"id": "e1"}\\n')
resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
try:
    own.add(b'{"id": "e2"}\\n')
except OSError as error:
    print(error.errno)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
own.add(b'{"id": "e3"}\\n')
print(own.take().lines())
"""


def test_add__disk_has_room_for_half_a_record__says_so_and_spoils_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stdout.splitlines() == [str(errno.EFBIG), str([b'{"id": "e1"}\n', b'{"id": "e3"}\n'])]


def test_deliver__segment_cannot_be_read_for_a_moment__is_sent_afterwards(
    platform: FakePlatform, connect: Any, tmp_path: Path
) -> None:
    platform.failing = 503
    client = connect(folder=tmp_path)
    client.send({"id": f"e{number}"} for number in range(600))
    (first, *_) = files(tmp_path, ".ndjson")
    hidden = first.with_suffix(".hidden")
    client.flush(timeout_s=0.3)
    client.close(timeout_s=0)
    first.rename(hidden)
    first.mkdir()
    platform.failing = None
    later = connect(folder=tmp_path)
    assert later.flush(timeout_s=0.5).pending == 0
    first.rmdir()
    hidden.rename(first)

    assert later.flush(timeout_s=10).inherited == 600
    assert len(set(ids(platform))) == 600


def test_take__torn_last_line__is_what_nobody_was_told_of(tmp_path: Path) -> None:
    own = spool(tmp_path)
    own.add(line(1))
    own.add(line(2))
    own.close()
    (segment,) = files(tmp_path, ".ndjson")
    segment.write_bytes(segment.read_bytes() + b'{"id": "half')
    later = spool(tmp_path)
    later.adopt()
    batch = later.take()

    assert batch is not None
    assert batch.lines() == [line(1), line(2)]
    assert (batch.num_records, batch.is_inherited) == (2, True)
    batch.done()
    assert list(tmp_path.iterdir()) == []
    later.close()


def test_adopt__two_at_once__only_one_gets_a_dead_writers_segments(tmp_path: Path) -> None:
    own = spool(tmp_path)
    for number in range(1200):
        own.add(line(number))
    own.close()
    first, second = spool(tmp_path), spool(tmp_path)
    first.adopt()
    second.adopt()
    taken = [first.take(), first.take(), first.take(), first.take()]

    assert second.take() is None
    assert sum(len(batch.lines()) for batch in taken if batch) == 1200
    # The first ends before it has sent the last one.
    for batch in taken[:2]:
        assert batch is not None
        batch.done()
    first.close()
    second.adopt()
    rest = second.take()
    assert rest is not None
    assert rest.lines() == [line(number) for number in range(1000, 1200)]
    second.close()


def num_open() -> int:
    """Return how many descriptors this process has; 0 where the system does not say."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else 0


def test_spool__a_year_of_writers__leaves_no_file_and_no_descriptor(tmp_path: Path) -> None:
    before = num_open()
    for number in range(50):
        own = spool(tmp_path, sync_each=number % 2 == 0)
        own.add(line(number))
        batch = own.take()
        assert batch is not None
        batch.done()
        own.close()

    assert list(tmp_path.iterdir()) == []
    assert num_open() == before


def test_to_sync__dirty_and_sealed__are_given_once(tmp_path: Path) -> None:
    own = spool(tmp_path)
    for number in range(600):
        own.add(line(number))
    synced = own.to_sync()

    assert len(synced) == 3  # the sealed segment, the open one, and the folder that names both
    assert own.to_sync() == []
    for fd in synced:
        os.close(fd)
    own.close()


def test_record__folder_taken_away_under_it__never_raises(platform: FakePlatform, connect: Any, tmp_path: Path) -> None:
    client = connect(folder=tmp_path / "state")
    platform.failing = 503
    client.record({"id": "e1"})
    time.sleep(0.3)
    for path in files(tmp_path, ".ndjson"):
        path.unlink()
    platform.failing = None
    report = client.flush()

    assert report.pending == 0
    assert report.delivered + report.rejected == 1
