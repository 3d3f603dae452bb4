"""Whatever stands in the address and the headers of a fetch: an answer, never a crash, and no header of the sender's."""

import json
import logging
from collections.abc import Iterator

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.models import Agent

pytestmark = pytest.mark.django_db

# What a server hands on: octets as Latin-1 without line breaks.
OCTETS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=40)
MARKS = st.sampled_from(
    ["*", '"', 'W/"a"', '"a", "b",,', ",", "\xff", "a" * 9_000, "\x00", '"\ud83d', "wsp_a.b.c", ".", "..", "=;,", "%00", "{}", "-1", "0", "0.0"]
)  # fmt: skip
IN_HEADERS = st.sampled_from(
    ["Whetstone-Pin", "If-None-Match", "Baggage", "Traceparent", "Accept", "Accept-Encoding", "X-Request-Id"]
)
IN_QUERY = st.sampled_from(["user", "conversation", "bundle", "pin", "format", "agent"])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(deadline=None, derandomize=True, max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(IN_HEADERS, OCTETS | MARKS, max_size=4),
    st.dictionaries(IN_QUERY, st.text(max_size=20) | MARKS, max_size=4),
    st.sampled_from(["harness", "digest"]),
)
def test_fetch__hostile_headers_and_query__are_answered(
    agent: Agent, agent_key: str, headers: dict[str, str], query: dict[str, str], what: str
) -> None:
    assert agent.stable is not None
    address = (
        f"/api/v1/agents/{agent.slug}/harness" if what == "harness" else f"/api/v1/harnesses/{agent.stable.digest}"
    )
    safe = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}

    answer = Client(raise_request_exception=False).get(
        address, safe, headers=headers | {"authorization": f"Bearer {agent_key}"}
    )

    assert answer.status_code in {200, 304, 400, 404 if "format" in query else 406, 422}, answer.content
    if answer.status_code == 200:
        assert json.loads(answer.content)
        assert answer["ETag"]
        assert answer["Cache-Control"].startswith("private")
    elif answer.status_code != 304:
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]


@settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=list(HealthCheck))
@given(OCTETS | MARKS, OCTETS)
def test_fetch__pin_from_anywhere__is_never_handed_back_unread(
    agent: Agent, agent_key: str, pin: str, user: str
) -> None:
    answer = Client(raise_request_exception=False).get(
        f"/api/v1/agents/{agent.slug}/harness",
        {"user": user.replace("\x00", "")},
        headers={"Whetstone-Pin": pin, "authorization": f"Bearer {agent_key}"},
    )

    assert answer.status_code == 200, answer.content
    assert answer.json()["digest"] == agent.stable.digest if agent.stable else ""
    assert answer.headers.get("Whetstone-Pin", "") != pin or not pin
