"""A platform of a bench's own: fresh rows, a running server, people and agents."""

import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from accounts.acting import MACHINE, acting
from accounts.models import Membership, Team, User
from accounts.roles import Role
from demo.world import free_port, fresh_database
from harness.models import Agent, ApiKey
from jobs.processes import Processes, platform_programs
from tests.bench.environments import BENCHES

__all__ = ["Served", "served"]

_READY_S = 120
# Beside the demonstration's, whose workers may be running.
_REDIS_DB = 8


@dataclass(frozen=True)
class Served:
    """A running platform with one team, whose administrator owns the agents."""

    url: str
    team: Team
    owner: User

    def agent(self, slug: str) -> tuple[Agent, str]:
        """Return a new agent and a key that reports its episodes and reads its harness."""
        with acting(MACHINE, reason="bench"):
            agent = Agent.objects.create(team=self.team, owner=self.owner, slug=slug, name=slug, purpose="measuring")
            agent.bootstrap({"prompt": {"system": "Be brief."}}, by=MACHINE, reason="bench")
            _, key = ApiKey.issue(
                kind="agent", name=slug, owner=self.owner, agent=agent, scopes=["episode:write", "harness:read"], by=MACHINE
            )  # fmt: skip
        return agent, key

    def person(self, role: Role) -> tuple[str, str]:
        """Return name and password of a new member of the team."""
        password = secrets.token_urlsafe(9)
        with acting(MACHINE, reason="bench"):
            user = User(username=str(role), is_staff=True, is_simulated=True)
            user.set_password(password)
            user.save()
            Membership.objects.create(user=user, team=self.team, role=role)
        return user.username, password


@contextmanager
def served(bench: str, programs: Collection[str] = ()) -> Iterator[Served]:
    """Run the platform, or some of its programs, on a database of the bench's own; end them afterwards."""
    environment = fresh_database(f"whetstone_bench_{bench}", redis_db=_REDIS_DB)
    port = free_port()
    chosen = [
        one for one in platform_programs(port=port, environment=environment) if not programs or one.name in programs
    ]
    with acting(MACHINE, reason="bench"):
        team = Team.objects.create(slug="bench", name="Bench")
        owner = User(username="owner", is_simulated=True)
        owner.save()
    with Processes(chosen, logs=BENCHES / f"{bench}-logs"):
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/healthz")
        yield Served(url, team, owner)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {_READY_S} s; see the logs under {BENCHES}.")
