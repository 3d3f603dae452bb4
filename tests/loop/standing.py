"""A whole platform of a story's own: servers below a temporary root, and on them all that the demo starts."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from config.embedded import Endpoints, ensure
from config.embedded.client import ServerName
from config.environment import ROOT
from demo.world import free_port
from jobs.processes import Processes, platform_programs
from tests.config.servers import ask_valkey, kill, query, server_pid, state_root, until
from tests.loop.asking import Line

__all__ = ["Standing", "standing"]

READY_S = 300.0
PROGRAMS = ("web", "worker", "runs", "embedding", "clock-worker", "clock")
WORKERS = frozenset({"worker", "runs", "embedding", "clock-worker"})


@dataclass(frozen=True)
class Standing:
    """The running platform, and what its founding printed: `agent`, `keys` and what else the story made."""

    root: Path
    endpoints: Endpoints
    base_url: str
    facts: Mapping[str, Any]
    num_workers: int

    def is_ready(self) -> bool:
        """Tell whether the web process answers and every worker has reported for work."""
        with contextlib.suppress(httpx.TransportError, redis.RedisError):
            answer = httpx.get(f"{self.base_url}/readyz", timeout=5.0, trust_env=False)
            return answer.is_success and ask_valkey(self.endpoints, "SCARD", "rq:workers") == self.num_workers
        return False

    def line(self, key: int = 0) -> Line:
        """Return a line for the agent that holds the key of this number."""
        return Line(self.base_url, self.facts["keys"][key])

    def kill(self, server: ServerName) -> None:
        """Kill -9 a server; whoever supervises it brings it back."""
        kill(server_pid(self.root, server))

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement; nothing while the database is away."""
        try:
            return query(self.endpoints, statement)
        except psycopg.OperationalError:
            return []

    def count(self, rows: str) -> int:
        """Return the number of `rows`, a table with its conditions; -1 while the database is away."""
        found = self.ask(f"SELECT count(*) FROM {rows}")
        return int(found[0][0]) if found else -1


@contextlib.contextmanager
def standing(story: str, *, logs: Path, programs: Collection[str] = PROGRAMS) -> Iterator[Standing]:
    """Lend a platform founded for `story`, with these of its programs; afterwards its audit record must hold.

    All but its logs is removed.
    """
    with state_root() as root:
        endpoints = ensure(root=root)
        environment = {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": endpoints.database_url,
            "REDIS_URL": endpoints.redis_url,
        }
        facts = json.loads(_run([sys.executable, "-m", "tests.loop.founding", story], environment))
        port = free_port()
        wanted = [one for one in platform_programs(port=port, environment=environment) if one.name in programs]
        with Processes(wanted, logs=logs):
            num_workers = len(WORKERS.intersection(programs))
            platform = Standing(root, endpoints, f"http://127.0.0.1:{port}", facts, num_workers)
            assert until(platform.is_ready, timeout_s=READY_S), f"not ready; see {logs}"
            yield platform
        assert "The record holds" in _run([sys.executable, "-m", "django", "verify_audit", "--seal"], environment)


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    outcome = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, f"{' '.join(command[1:])}:\n{outcome.stdout}{outcome.stderr}"
    return outcome.stdout
