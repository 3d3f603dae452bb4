"""Bodies that come without a length, as chunked ones do."""

import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from config.wsgi import application
from episodes.models import TraceFragment
from harness.models import Agent
from tests.episodes.test_traces import as_json, run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """Keep the test's connection over the request, as Django's own client does."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


def post(key: str, body: bytes, **more: Any) -> tuple[str, bytes]:
    """Send a body as a server hands a chunked one on: without its length, ended by the end of the input."""
    said: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/v1/traces", "QUERY_STRING": "", "SERVER_NAME": "localhost",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost",
        "HTTP_TRANSFER_ENCODING": "chunked", "HTTP_AUTHORIZATION": f"Bearer {key}", "CONTENT_TYPE": "application/json",
        "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(), **more,
    }  # fmt: skip
    answer = b"".join(application(environ, lambda status, headers: said.append(status)))
    return said[0], answer


@pytest.mark.parametrize("is_packed", [False, True])
def test_body__without_a_length__is_read_whole(agent: Agent, agent_key: str, is_packed: bool) -> None:
    body = json.dumps(as_json(run())).encode()
    packed = {"HTTP_CONTENT_ENCODING": "gzip"} if is_packed else {}

    status, _ = post(agent_key, gzip.compress(body) if is_packed else body, **packed)

    assert status == "200 OK"
    assert TraceFragment.objects.filter(agent=agent).count() == 1


def test_body__without_a_length_and_larger_than_any__is_refused(agent: Agent, agent_key: str) -> None:
    status, answer = post(agent_key, b" " * (17 * 1024 * 1024))

    assert status.startswith("413")
    assert b"Send fewer" in answer
