"""The cast and the smallest valid objects every test may use."""

import gc
import os
import re
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.template.base import Template
from django.test.utils import instrumented_test_render
from rest_framework.test import APIClient

from accounts.acting import MACHINE
from accounts.models import Membership, Team, User
from accounts.roles import Role
from harness.models import Agent, ApiKey

# Only test connections may let a flush through the append-only guard; durability of a test's rows is nobody's concern.
settings.DATABASES["default"]["OPTIONS"]["options"] = "-c whetstone.test_flush=on -c synchronous_commit=off"
# A run has a database of its own, so that two runs in one checkout do not meet; its name starts as the guard demands.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid():08x}")[-8:]
connection.settings_dict["TEST"]["NAME"] = f"test_whetstone_{_RUN}"
# A test's rows live in its own transaction, which no other thread can read.
settings.SERVING_LISTENS, settings.SERVING_POLL_S = False, 0.0
# Every parallel worker has a Valkey database of its own, and none is the development one.
_WORKER = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "gw0"))) + 1
settings.REDIS_URL = re.sub(r"([?&]db=|/)\d+$", rf"\g<1>{_WORKER}", settings.REDIS_URL)
_render = Template._render
# Every client of a test loads the middleware anew, and must not go through all static files for it.
settings.WHITENOISE_AUTOREFRESH = True
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
for _queue in settings.RQ_QUEUES.values():
    _queue["URL"] = settings.REDIS_URL

DOCUMENT = {
    "prompt": {
        "system": "You are the support desk of a shop.",
        "rules": {"polite": {"position": 10, "text": "Be kind."}},
    },
    "tools": {
        "lookup_order": {
            "description": "Look an order up.",
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
            "settings": {},
            "enabled": True,
        }
    },
    "context": {"documents": {}, "retrieval": {"top_k": 3, "min_score": 0.3}},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell the stories first: what mostly waits must not be what is left over at the end."""
    items.sort(key=lambda item: item.get_closest_marker("story") is None)


def pytest_collection_finish() -> None:
    """Take what was loaded out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _plain_pages(django_test_environment: None) -> None:
    """Keep no copy of what each template was rendered with: an admin page has hundreds, which cost more than the page."""
    Template._render = _render  # type: ignore[method-assign]  # as Django itself does around tests


@pytest.fixture
def kept_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `response.context` hold what the templates were rendered with."""
    monkeypatch.setattr(Template, "_render", instrumented_test_render)


@pytest.fixture(scope="module")
def lasting(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let what fixtures of a module write be there for each of its tests, and for nobody after.

    A test's own rows are undone as ever: its transaction is a part of this one. It must not look for other connections
    to see these rows, and takes copies of whatever objects stand for them.
    """
    with django_db_blocker.unblock(), transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def cast(db: None) -> SimpleNamespace:
    """Two teams and a person for every role; `outsider` belongs to the other team."""
    return make_cast()


def make_cast() -> SimpleNamespace:
    """Build the cast with a statement a table: most tests begin with it."""
    team, other_team = Team(slug="support-desk", name="Support desk"), Team(slug="warehouse", name="Warehouse")
    roles = {role.value: role for role in Role}
    roles |= {"second_engineer": Role.ENGINEER, "second_approver": Role.APPROVER}
    password = make_password("correct horse")
    people = {name: User(username=name, password=password, is_staff=True) for name in (*roles, "outsider")}
    _written([team, other_team])
    _written([*people.values()])
    _written(
        [Membership(user=people[name], team=team, role=role) for name, role in roles.items()]
        + [Membership(user=people["outsider"], team=other_team, role=role) for role in Role]
    )
    return SimpleNamespace(team=team, other_team=other_team, **people)


def _written(rows: Sequence[Any]) -> None:
    """Write governed rows of one kind, each with its history as it would have by itself."""
    model, reason = type(rows[0]), "the cast of a test"
    model._base_manager.bulk_create(rows)
    model.history.bulk_history_create(
        rows, default_change_reason=reason, custom_historical_attrs={"history_actor": str(MACHINE)}
    )


def make_agent(team: Team, owner: User, slug: str) -> Agent:
    agent = Agent.objects.create(team=team, owner=owner, slug=slug, name=slug.title(), purpose="Answers customers.")
    agent.bootstrap(DOCUMENT, by=MACHINE, reason="the first version")
    return agent


@pytest.fixture
def agent(cast: SimpleNamespace) -> Agent:
    """An agent of the cast's team, serving version 1."""
    return make_agent(cast.team, cast.administrator, "shop-desk")


@pytest.fixture
def other_agent(cast: SimpleNamespace) -> Agent:
    """An agent of the other team."""
    return make_agent(cast.other_team, cast.outsider, "warehouse-desk")


@pytest.fixture
def agent_key(agent: Agent, cast: SimpleNamespace) -> str:
    """The secret of a key with every scope an agent's key can have."""
    scopes = [
        "harness:read",
        "episode:write",
        "outcome:write",
        "outcome:truth",
        "state:write",
        "lesson:write",
        "run:play",
    ]
    _, secret = ApiKey.issue(
        kind="agent", name="the agent", owner=cast.administrator, agent=agent, scopes=scopes, by=MACHINE
    )
    return secret


@pytest.fixture
def api(db: None) -> Callable[[User | str | None], APIClient]:
    """Return a client acting as a person, as the holder of a key's secret, or as nobody."""

    def client(who: User | str | None = None) -> APIClient:
        made = APIClient()
        if isinstance(who, User):
            made.force_login(who)
        elif who:
            made.credentials(HTTP_AUTHORIZATION=f"Bearer {who}")
        return made

    return client
