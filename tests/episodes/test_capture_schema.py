"""What the OpenAPI document says of capture, and what it does not: schemathesis sends both to every operation."""

import json
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.models import Membership
from accounts.roles import Role
from episodes.intents import define
from episodes.judging import CorrectionText, correct
from episodes.patterns import place
from harness.models import Agent, ApiKey
from tests.episodes.factories import captured, item, lived, retrieval_step, tool_step
from tests.episodes.test_patterns import critique

pytestmark = pytest.mark.django_db

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
POSTS = (
    "/api/v1/episodes", "/api/v1/episodes/{id}/outcomes", "/api/v1/episodes/{id}/flags", "/api/v1/corrections",
    "/api/v1/intents",
)  # fmt: skip
GETS = (
    "/api/v1/agents/{slug}/harness", "/api/v1/harnesses/{digest}", "/api/v1/episodes", "/api/v1/episodes/{id}",
    "/api/v1/conversations", "/api/v1/corrections", "/api/v1/critiques", "/api/v1/patterns", "/api/v1/intents",
    "/api/v1/completeness",
)  # fmt: skip
OF_AGENTS = {*GETS[:2], POSTS[0]}
FOR_BOTH = {POSTS[1]}
BOUNDED = settings(
    deadline=None,
    derandomize=True,
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@cache
def document() -> Any:
    # Its import takes as long as many tests: only the process that runs these pays for it.
    import schemathesis

    loaded = schemathesis.openapi.from_path(DOCUMENT)
    loaded.app = get_wsgi_application()
    return loaded


def cases(path: str, method: str, holes: dict[str, str], *, is_valid: bool) -> st.SearchStrategy[Any]:
    from schemathesis import GenerationMode

    operation = document()[path][method.upper()]
    mode = GenerationMode.POSITIVE if is_valid else GenerationMode.NEGATIVE
    return operation.as_strategy(mode, path_parameters=holes or None)


@pytest.fixture(autouse=True)
def _as_one_request() -> Iterator[None]:
    """Keep the test's connection over requests, as Django's own client does, and no lines about refusals."""
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    request_finished.connect(close_old_connections)
    request_started.connect(close_old_connections)


@pytest.fixture
def keys(agent: Agent, agent_key: str, cast: SimpleNamespace) -> tuple[str, str]:
    """The keys of the agent and of a person with every role."""
    for role in Role:
        Membership.objects.get_or_create(user=cast.engineer, team=cast.team, role=role, agent_id=None)
    _, persons = ApiKey.issue(
        kind="person", name="everything", owner=cast.engineer, scopes=["view", "flag_episode", "correct_episode"],
        by=cast.engineer.as_actor(),
    )  # fmt: skip
    return agent_key, persons


def assert_sound(case: Any, key: str) -> None:
    """No crash; what was promised where it worked; a problem with a code and a sentence where it did not."""
    from schemathesis.checks import (
        content_type_conformance,
        not_a_server_error,
        response_schema_conformance,
    )

    answer = case.call(headers={"Authorization": f"Bearer {key}"})
    if answer.status_code < 400:
        checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
        case.validate_response(answer, checks=checks)
    else:
        assert answer.status_code < 500, (answer.status_code, case.as_curl_command())
        problem = json.loads(answer.content)
        assert answer.headers["content-type"] == ["application/problem+json"]
        assert problem["status"] == answer.status_code
        assert problem["code"]
        assert problem["detail"]


@pytest.mark.parametrize(("path", "method"), [*((p, "post") for p in POSTS), *((p, "get") for p in GETS)])
def test_operation__whatever_is_sent__is_answered_as_promised_or_with_a_reason(
    path: str, method: str, agent: Agent, keys: tuple[str, str], cast: SimpleNamespace
) -> None:
    [episode] = captured(agent, item("an-episode", steps=[tool_step(order_id="2", error="no order '2'")]))
    if method == "get":
        lived(agent, item("another", "Where is my parcel now?", steps=[retrieval_step(0.1)]), end="failed")
        correct([episode], CorrectionText(answer="It is on its way."), by=cast.engineer.as_actor())
        define(
            agent, by=cast.engineer.as_actor(), name="Refund", definition="Money back.", examples=["a b", "c d", "e f"]
        )
        place(critique(agent, "p"), kind="k", vector=None)
    there = {"id": str(episode.pk), "slug": agent.slug, "digest": agent.stable.digest if agent.stable else ""}
    holes = {name: value for name, value in there.items() if f"{{{name}}}" in path}

    for key in keys if path in FOR_BOTH else keys[:1] if path in OF_AGENTS else keys[1:]:
        for is_valid in (True, False):
            attack(path, method, holes, key, is_valid=is_valid)


def attack(path: str, method: str, holes: dict[str, str], key: str, *, is_valid: bool) -> None:
    @BOUNDED
    @given(st.data())
    def send(data: st.DataObject) -> None:
        filled = data.draw(st.sampled_from([holes, holes, {}])) if is_valid else holes
        assert_sound(data.draw(cases(path, method, filled, is_valid=is_valid)), key)

    send()
