"""State directories with embedded servers of their own, apart from those of this checkout."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import ensure, stop
from config.embedded.exceptions import EmbeddedError


def _state_root() -> Iterator[Path]:
    # Not pytest's own directory, whose path leaves no room for a socket's name.
    root = Path(os.path.realpath(tempfile.mkdtemp(prefix="embedded-")))
    try:
        yield root
    finally:
        with contextlib.suppress(EmbeddedError):
            for state in (root, *root.glob("*")):
                stop(root=state)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def fresh_root() -> Iterator[Path]:
    """A state directory where nothing runs yet."""
    yield from _state_root()


@pytest.fixture(scope="session")
def _shared_root() -> Iterator[Path]:
    for root in _state_root():
        # Letters that addresses and configuration files treat in their own way.
        yield root / "a b%20c&d?é"


@pytest.fixture
def running_root(_shared_root: Path) -> Path:
    """A state directory whose servers are up, whatever the test before did to them."""
    ensure(root=_shared_root)
    return _shared_root
