"""A platform that does as it is told, and clients of it that end with the test."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.whetstone.fake_platform import FakePlatform, running
from whetstone import Client


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with running() as platform:
        yield platform


@pytest.fixture
def connect(platform: FakePlatform) -> Iterator[Callable[..., Client]]:
    """Return what makes a client of the platform for the agent `desk`."""
    made: list[Client] = []

    def connect(**options: Any) -> Client:
        made.append(Client(platform.url, "key-1", agent="desk", **options))
        return made[-1]

    yield connect
    for client in made:
        client.close(timeout_s=0)


@pytest.fixture
def until() -> Callable[..., bool]:
    def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    return until
