"""State directories with embedded servers of their own, apart from those of this checkout."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded import ensure, stop
from tests.config.servers import seen, state_root


@pytest.fixture
def fresh_root() -> Iterator[Path]:
    """A state directory where nothing runs yet."""
    with state_root() as root:
        yield root


@pytest.fixture(scope="session")
def _shared_root() -> Iterator[Path]:
    with state_root() as root:
        # Letters that addresses and configuration files treat in their own way.
        yield root / "a b%20c&d?é"


@pytest.fixture
def running_root(_shared_root: Path) -> Path:
    """A state directory whose servers are up, whatever the test before did to them."""
    ensure(root=_shared_root)
    if seen(_shared_root)["keeper"] is None:
        stop(root=_shared_root)
        ensure(root=_shared_root)
    return _shared_root
