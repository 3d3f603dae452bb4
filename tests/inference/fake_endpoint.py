"""An OpenAI-compatible server for tests: real HTTP on a local port, replies played from a script.

    with FakeEndpoint() as endpoint:
        endpoint.will(text('{"layer": "context"}'), failure(429, retry_after="0"))
        … use endpoint.url as the base URL …
        endpoint.requests[0].body["messages"]

Replies are taken in order; when none is left, the server answers 500, so that an unexpected request is seen.
"""

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["FakeEndpoint", "Received", "Reply", "failure", "page", "slow", "text"]


@dataclass(frozen=True)
class Reply:
    """One scripted HTTP reply."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


def text(
    content: str | None,
    *,
    model: str = "fake-model-2025",
    tokens: tuple[int, int] | None = (100, 20),
    finish_reason: str = "stop",
    refusal: str | None = None,
) -> Reply:
    """Return a chat completion; `tokens` None leaves usage out, as some servers do."""
    completion: dict[str, Any] = {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": content, "refusal": refusal},
            }
        ],
    }
    if tokens is not None:
        completion["usage"] = {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
        }
    return Reply(json.dumps(completion).encode())


def failure(
    status: int, *, message: str = "scripted failure", code: str | None = None, retry_after: str | None = None
) -> Reply:
    """Return an error in the provider's form."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    error = {"error": {"message": message, "type": "fake", "code": code}}
    return Reply(json.dumps(error).encode(), status=status, headers=headers)


def page(content: str) -> Reply:
    """Return an HTML page with status 200, as a proxy in between may send."""
    return Reply(content.encode(), headers={"content-type": "text/html"})


def slow(reply: Reply, *, delay_s: float) -> Reply:
    """Return the reply, sent only after `delay_s`."""
    return Reply(reply.body, reply.status, reply.headers, delay_s)


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append(Received(self.path, headers, json.loads(raw)))
        reply = self.server.next_reply(self.path)
        # An event rather than a sleep, so that closing the server does not wait for a slow reply.
        self.server.closing.wait(reply.delay_s)
        try:
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
        except (BrokenPipeError, ConnectionResetError):
            # The client gave up waiting, which is what a slow reply is for.
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's signature
        """Say nothing: requests are kept in `received`."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: deque[Reply] = deque()
        self.received: list[Received] = []
        self.closing = threading.Event()

    def next_reply(self, path: str) -> Reply:
        if not path.endswith("/chat/completions"):
            return failure(404, message=f"no such path {path!r}")
        try:
            return self.script.popleft()
        except IndexError:
            return failure(500, message="the script is at its end")


class FakeEndpoint:
    """A running server; use as a context manager."""

    def __init__(self) -> None:
        self._server = _Server()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def requests(self) -> list[Received]:
        return self._server.received

    def will(self, *replies: Reply) -> None:
        """Append replies to the script."""
        self._server.script.extend(replies)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
