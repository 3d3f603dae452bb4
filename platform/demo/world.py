"""Everything the demo needs around the loop: a database of its own, people, the agent, and running processes."""

import re
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from accounts.acting import MACHINE, acting
from accounts.models import Membership, Team, User
from accounts.roles import Role
from demo.scenario import Scenario
from demo.staff import Person
from evals.gate.policy import ADVISABLE
from harness.models import Agent, ApiKey
from harness.policy import demo_policy
from jobs.processes import Processes, Program, platform_programs

__all__ = ["DATABASE", "PEOPLE", "World", "demo_limits", "free_port", "fresh_database", "open_world", "use_database"]

DATABASE = "whetstone_demo"
PEOPLE: Mapping[str, Role] = {
    "support": Role.SUPPORT,
    "engineer": Role.ENGINEER,
    "approver": Role.APPROVER,
    "second-approver": Role.APPROVER,
    "release-manager": Role.RELEASE_MANAGER,
    "on-call": Role.ON_CALL,
    "auditor": Role.AUDITOR,
    "administrator": Role.ADMINISTRATOR,
}
READY_S = 240.0


@dataclass
class World:
    """The running demonstration."""

    scenario: Scenario
    agent: Agent
    base_url: str
    agent_url: str
    outcome_key: str
    passwords: dict[str, str]
    processes: Processes
    staff: dict[str, Person] = field(default_factory=dict)


def use_database(name: str, *, redis_db: int = 9) -> dict[str, str]:
    """Point this process at database `name` of the configured servers; return the environment for children.

    Two platforms on one Redis need two of its databases, or workers of one would take the other's jobs.
    """
    connection.close()
    settings.DATABASES["default"]["NAME"] = name
    connection.settings_dict["NAME"] = name
    config = connection.settings_dict
    redis_url = re.sub(r"([?&]db=|/)\d+$", rf"\g<1>{redis_db}", settings.REDIS_URL)
    for queue in settings.RQ_QUEUES.values():
        queue["URL"] = redis_url
    address = f"{quote(config['USER'])}{':' + quote(config['PASSWORD']) if config['PASSWORD'] else ''}"
    query = f"?host={quote(str(config['HOST']), safe='')}&port={config['PORT']}"
    return {"DATABASE_URL": f"postgresql://{address}@/{name}{query}", "REDIS_URL": redis_url}


def fresh_database(name: str = DATABASE, *, redis_db: int = 9) -> dict[str, str]:
    """Drop and make database `name`, migrate it, and return the environment for children. Only the demo's own goes."""
    config = connection.settings_dict
    address = {"host": config["HOST"], "port": config["PORT"], "user": config["USER"], "password": config["PASSWORD"]}
    with psycopg.connect(dbname="postgres", autocommit=True, **address) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{name}"')
    environment = use_database(name, redis_db=redis_db)
    call_command("migrate", verbosity=0)
    return environment


def free_port() -> int:
    """Return a port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _people(team: Team) -> dict[str, str]:
    passwords = {name: secrets.token_urlsafe(9) for name in PEOPLE}
    for name, role in PEOPLE.items():
        user = User(username=name, is_staff=True, is_simulated=True)
        user.set_password(passwords[name])
        user.save()
        Membership.objects.create(user=user, team=team, role=role)
    return passwords


def _agent(scenario: Scenario, team: Team, endpoint: str) -> tuple[Agent, str, str]:
    owner = User.objects.get(username="administrator")
    agent = Agent.objects.create(
        team=team,
        owner=owner,
        slug=scenario.agent_slug,
        name=scenario.name,
        purpose=scenario.purpose,
        endpoint=endpoint,
    )
    agent.bootstrap(scenario.starting_document(), by=owner.as_actor(), reason="the harness the agent shipped with")
    _, agent_key = ApiKey.issue(
        kind="agent", name="the agent", owner=owner, agent=agent, scopes=["harness:read", "episode:write"], by=MACHINE
    )
    _, outcome_key = ApiKey.issue(
        kind="agent", name="the shop's own records", owner=owner, agent=agent,
        scopes=["outcome:write", "outcome:truth"], by=MACHINE,
    )  # fmt: skip
    return agent, agent_key, outcome_key


@contextmanager
def open_world(scenario: Scenario, folder: Path, *, port: int, logs: Path) -> Iterator[World]:
    """Start platform, backend and agent on fresh rows, log the staff in, and end everything afterwards."""
    environment = fresh_database()
    agent_port, backend_port = free_port(), free_port()
    base_url, agent_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{agent_port}"
    with acting(MACHINE, reason="demonstration"):
        team = Team.objects.create(slug="demo", name="Demonstration")
        passwords = _people(team)
        agent, agent_key, outcome_key = _agent(scenario, team, agent_url)
    programs = [
        *platform_programs(port=port, environment=environment),
        Program(
            "backend",
            [sys.executable, "-m", "demo.backend", "--scenario", str(folder), "--port", str(backend_port),
             "--accepts", *scenario.backend.accepts],
        ),
        Program(
            "agent",
            [sys.executable, "-m", "demo.agent", "--port", str(agent_port), "--whetstone", base_url, "--key", agent_key,
             "--agent", scenario.agent_slug, "--backend", f"http://127.0.0.1:{backend_port}",
             "--recordings", str(folder / "recordings.json")],
        ),
    ]  # fmt: skip
    if not (folder / "recordings.json").is_file():
        programs[-1] = replace(programs[-1], command=list(programs[-1].command)[:-2])
    with Processes(programs, logs=logs) as processes:
        for url in (f"{base_url}/healthz", f"http://127.0.0.1:{backend_port}/healthz", f"{agent_url}/healthz"):
            _wait_for(url)
        world = World(scenario, agent, base_url, agent_url, outcome_key, passwords, processes)
        world.staff = {name: Person(base_url, name, passwords[name]).login() for name in PEOPLE}
        yield world


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {READY_S:.0f} s; see the logs.")


def demo_limits(*, gate_off: bool) -> dict[str, Any]:
    """Return the demo's policy document. With the gate off, every gate that may be advisory only advises."""
    policy = demo_policy()
    if gate_off:
        policy["gate"] = {"profile": "demo", "advisory": [*sorted(ADVISABLE)]}
    return policy
