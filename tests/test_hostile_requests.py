"""No request crashes a view: hostile values at every endpoint of the OpenAPI document and on every page of the admin.

Each place meets some of the values, drawn anew in every run; the run's seed draws them again.
"""

import base64
import copy
import json
import logging
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from accounts.models import Membership, User
from accounts.roles import Role
from audit.transitions import Edge, Stateful
from episodes.models import Episode
from evals.models import Benchmark, Case, Run
from harness.models import Agent
from proposals.models import Proposal
from releases.models import Release
from tests.conftest import make_agent, make_cast
from tests.machines import ENDPOINTS, MACHINES, Stage, put

SCHEMA: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
OPERATIONS = sorted(
    (path, method)
    for path, item in SCHEMA["paths"].items()
    for method in item
    if method in {"get", "post", "put", "patch", "delete"}
)
RESOURCES = sorted({path.split("/")[3] for path, _ in OPERATIONS})
OF_AGENTS = {"agents", "episodes", "harnesses"}  # where an agent's own key comes further than the door
OF_KEYS = {
    "/api/v1/episodes", "/api/v1/episodes/{id}/outcomes", "/api/v1/episodes/{id}/flags", "/api/v1/agents/{slug}/lessons",
    "/api/v1/agents/{slug}/users/{subject}/state",
}  # fmt: skip
PAGES = sorted(admin.site._registry, key=lambda model: model._meta.label)
ROWS: dict[str, type[Any]] = {
    "proposals": Proposal, "runs": Run, "releases": Release, "benchmarks": Benchmark, "cases": Case, "episodes": Episode,
}  # fmt: skip

IN_PATHS = ("%00", "nonsense", "%ED%A0%80", "a" * 300, "%F0%9F%98%80", "-1", "..%2f")
IN_QUERIES = (
    "{0}=%00", "{0}=%ED%A0%80", "{0}=%ff", "{0}=nonsense", "{0}=-1", "{0}=99999999999999999999", "{0}=" + "a" * 3_000,
    "cursor=" + base64.b64encode(b"p=%00").decode(), "cursor=" + base64.b64encode(b"p=abc").decode(), "cursor=%00", "x%00=1",
)  # fmt: skip
BODIES = (
    b"[" * 200_000, b'{"a":' * 3_000 + b"1" + b"}" * 3_000, b"{", b"null", b'"a"', b"1", b"[]", b'{"a":NaN}', b"\xff",
    b'{"reason":"\\ud800"}', b'{"reason":"\\u0000"}', b'{"\\u0000":1}', b'{"reason":"a","reason":"b"}', b"9" * 5_000,
)  # fmt: skip
# As JSON text, to say what Python would refuse to write.
IN_FIELDS = (
    '"\\ud800"', '{"\\u0000":1}', json.dumps("a" * 50_000), "null", "-1", "1e308", '"9e999"', '"nan"', "9" * 400, "9007199254740991",
    "true", "[]", "{}", "[null]", '[{"a":{}}]', '"nonsense"', '"00000000-0000-7000-8000-000000000000"',
)  # fmt: skip
COOKIE = '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\000\\000"'


class Attacker:
    """Sends requests whose writes are undone, and remembers those that were answered with a crash."""

    def __init__(self, client: Client) -> None:
        self.client, self.crashed = client, []  # type: tuple[Client, list[str]]
        self.client.raise_request_exception = False

    def send(self, method: str, path: str, body: bytes | str | None = None, **more: Any) -> int:
        with transaction.atomic():
            data = {} if body is None else {"data": body, "content_type": "application/json"}
            answer = getattr(self.client, method)(path, **data, **more)
            transaction.set_rollback(True)
        if answer.status_code >= 500:
            _, error, _ = getattr(answer, "exc_info", None) or (None, answer.content[:80], None)
            self.crashed.append(f"{method} {path[:90]} {str(body)[:120]} {more}: {str(error)[:160]}")
        elif answer.status_code >= 400 and path.startswith("/api/"):
            json.loads(answer.content)
            assert answer["Content-Type"].startswith("application/problem+json"), (method, path)
        return int(answer.status_code)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of refusals, each with its request: nobody reads those lines, and keeping them costs most of the time."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def built(lasting: None) -> SimpleNamespace:
    """A world with a row of everything and a person with every role, for all tests of the module."""
    cast = make_cast()
    agent = make_agent(cast.team, cast.administrator, "shop-desk")
    stage = Stage(agent, cast)
    for role in Role:
        for person in (cast.engineer, cast.on_call):
            Membership.objects.get_or_create(user=person, team=cast.team, role=role, agent_id=None)
    return SimpleNamespace(cast=cast, agent=agent, stage=stage)


@pytest.fixture
def stage(built: SimpleNamespace, db: None) -> Stage:
    return copy.deepcopy(built.stage)  # type: ignore[no-any-return]  # a namespace holds anything


@pytest.fixture
def agent(stage: Stage) -> Agent:
    return stage.agent


@pytest.fixture
def cast(stage: Stage) -> SimpleNamespace:
    return stage.cast


@pytest.fixture
def everybody(cast: SimpleNamespace) -> User:
    return cast.engineer  # type: ignore[no-any-return]  # a namespace holds anything


@pytest.fixture
def attackers(everybody: User, agent_key: str) -> tuple[Attacker, Attacker]:
    person, key = APIClient(), APIClient()
    person.force_login(everybody)
    key.credentials(HTTP_AUTHORIZATION=f"Bearer {agent_key}")
    return Attacker(person), Attacker(key)


def address(path: str, agent: Agent, **hostile: str) -> str:
    """Return the operation's path with rows of the world in its holes, but for the hostile ones."""
    resource = path.split("/")[3]
    model = ROWS.get(resource) or next((m for m, name in ENDPOINTS.items() if name == resource), None)
    row = model._default_manager.first() if model else None
    holes = {
        "slug": agent.slug, "subject": "user-one", "digest": agent.stable.digest if agent.stable else "", "id": row.pk if row else "x",
    }  # fmt: skip
    return path.format(**{**holes, **hostile})


def example(schema: dict[str, Any], name: str, agent: Agent) -> Any:
    """Return a value of the schema, naming rows of the world where the field's name says which."""
    if "$ref" in schema:
        return example(SCHEMA["components"]["schemas"][schema["$ref"].rpartition("/")[2]], name, agent)
    for kind in ("allOf", "oneOf", "anyOf"):
        if kind in schema:
            return example(schema[kind][0], name, agent)
    named = {
        "agent": agent.slug, "team": agent.team.slug, "kind": "policy", "proposal": str(Proposal.objects.first().pk),  # type: ignore[union-attr]  # the world has one
        "episodes": [str(Episode.objects.first().pk)], "scopes": ["view"], "document": {},  # type: ignore[union-attr]  # the world has one
    }  # fmt: skip
    if name in named:
        return named[name]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {key: example(value, key, agent) for key, value in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [example(schema["items"], name, agent)]
    if schema.get("format") == "uuid":
        return "00000000-0000-7000-8000-000000000000"
    plain = {"string": "words", "integer": 1, "number": 0.5, "boolean": False}
    return "2030-01-01T00:00:00Z" if schema.get("format") == "date-time" else plain.get(schema.get("type", ""), {})


def hostile_bodies(body: Any) -> Iterator[str]:
    """Yield the body with each of its fields made hostile in turn, and with each left out."""
    many = isinstance(body, list)
    fields = body[0] if many else body
    if not isinstance(fields, dict):
        return
    wrap = "[%s]" if many else "%s"
    for name in fields:
        others = {key: value for key, value in fields.items() if key != name}
        yield wrap.replace("%s", json.dumps(others))
        # What PostgreSQL cannot store meets every field. Verbs share the one field `reason`; few values do for each.
        for value in (*IN_FIELDS[:2], *random.sample(IN_FIELDS[2:], 5 if len(fields) > 1 else 2)):
            comma = ", " if others else ""
            yield wrap.replace("%s", f"{json.dumps(others)[:-1]}{comma}{json.dumps(name)}: {value}}}")


def operations(resource: str) -> list[tuple[str, str]]:
    return [(path, method) for path, method in OPERATIONS if path.split("/")[3] == resource]


@pytest.mark.parametrize("resource", RESOURCES)
def test_endpoints__hostile_addresses_and_queries__never_crash(resource: str, attackers: Any, agent: Agent) -> None:
    for path, method in operations(resource):
        holes = {p["name"] for p in SCHEMA["paths"][path][method].get("parameters", ()) if p["in"] == "path"}
        asked = [p["name"] for p in SCHEMA["paths"][path][method].get("parameters", ()) if p["in"] == "query"]
        for attacker in attackers if resource in OF_AGENTS else attackers[:1]:
            for hole in holes:
                for value in random.sample(IN_PATHS, 4):
                    attacker.send(method, address(path, agent, **{hole: value}), b"{}" if method != "get" else None)
            for name in [*asked, "agent"] if method == "get" else ():
                for query in random.sample(IN_QUERIES, 4):
                    attacker.send(method, f"{address(path, agent)}?{query.format(name)}")

    assert attackers[0].crashed + attackers[1].crashed == []


@pytest.mark.parametrize("resource", RESOURCES)
def test_endpoints__hostile_bodies__never_crash(resource: str, attackers: Any, agent: Agent) -> None:
    person, key = attackers
    for path, method in operations(resource):
        content = SCHEMA["paths"][path][method].get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            continue
        where, schema = address(path, agent), content["application/json"]["schema"]
        good = example(schema, "", agent)
        for attacker in (person, key) if path in OF_KEYS else (person,):
            for body in (*random.sample(BODIES, 7), json.dumps(good), *hostile_bodies(good)):
                attacker.send(method, where, body)

    assert person.crashed + key.crashed == []


FORMS = [(model, edge) for model in MACHINES for edge in model.EDGES if edge.form and edge.permission]


@pytest.mark.parametrize(("model", "edge"), FORMS, ids=[f"{m.__name__}.{e.verb}" for m, e in FORMS])
def test_verbs__hostile_arguments__never_crash(
    model: type[Stateful], edge: Edge, stage: Stage, cast: SimpleNamespace
) -> None:
    row = stage.row(model)
    put(row, min(edge.sources))
    stage.prepare(row, edge)
    client = APIClient()
    client.force_login(cast.on_call)
    attacker = Attacker(client)

    assert edge.form
    good = {"reason": "because", **dict.fromkeys(edge.form.model_fields, "words")}
    for body in hostile_bodies(good):
        attacker.send("post", f"/api/v1/{ENDPOINTS[model]}/{row.pk}/{edge.verb}", body)
    for name in edge.form.model_fields:
        for value in random.sample(IN_FIELDS, 6):
            attacker.send(
                "post",
                f"/api/v1/{ENDPOINTS[model]}/{row.pk}/{edge.verb}",
                f'{{"reason": "because", "{name}": {value}}}',
            )

    assert attacker.crashed == []


@pytest.mark.parametrize("app", sorted({model._meta.app_label for model in PAGES}))
def test_pages__hostile_addresses_and_queries__never_crash(app: str, everybody: User) -> None:
    client = Client()
    client.force_login(everybody)
    attacker = Attacker(client)

    for model in PAGES:
        if model._meta.app_label != app:
            continue
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        listing = reverse(f"{base}_changelist")
        for query in ("q=%00", "q=%F0%9F", "o=99", "p=999", "p=abc", "status__exact=%00", "agent__id__exact=abc", "e=1",
                      "team__id__exact=%00", "owner__password__startswith=m", "state__exact=nonsense"):  # fmt: skip
            attacker.send("get", f"{listing}?{query}")
        for key in ("%00", "nonsense", "_00", "a" * 300):
            for page in random.sample(("change", "history", "delete", "verb/abc"), 2):
                attacker.send("get", f"{listing}{key}/{page}/")

    assert attacker.crashed == []


@pytest.mark.parametrize(
    "header", ["Bearer wsk_\x00_a", "Bearer \xff", "Bearer wsk_a\x00b_zzz", "Bearer wsk_", "bearer  "]
)
@pytest.mark.parametrize("path", ["/api/v1/agents", "/metrics"])
def test_keys__malformed__are_refused(db: None, path: str, header: str) -> None:
    answer = APIClient(raise_request_exception=False).get(path, HTTP_AUTHORIZATION=header, REMOTE_ADDR="203.0.113.9")

    assert answer.status_code in {401, 403}


@pytest.mark.parametrize("path", ["/admin/", "/api/v1/agents", "/healthz"])
def test_cookies__with_nul__are_refused(db: None, path: str) -> None:
    answer = Client(raise_request_exception=False).get(path, HTTP_COOKIE=f"sessionid={COOKIE}")

    assert answer.status_code == 400


def test_user_state__of_a_name_longer_than_its_column__is_invalid(attackers: Any, agent: Agent) -> None:
    where, body = (
        f"/api/v1/agents/{agent.slug}/users/{'a' * 300}/state",
        json.dumps({"overlay": {"memory": {"user": {}}}}),
    )

    assert {attackers[1].send(method, where, body) for method in ("put", "patch")} == {422}
    assert attackers[1].crashed == []


def test_body__larger_than_allowed__is_a_problem(attackers: Any, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000

    answer = attackers[0].client.post(
        "/api/v1/changes", b'{"a":"' + b"x" * 2_000 + b'"}', content_type="application/json"
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/nowhere", "/v1/nowhere"])
def test_address__of_no_view__is_a_problem_for_programs(db: None, path: str) -> None:
    answer = Client().get(path)

    assert (answer.status_code, answer["Content-Type"], answer.json()["code"]) == (
        404,
        "application/problem+json",
        "not_found",
    )
