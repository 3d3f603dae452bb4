"""The agent's HTTP face: `POST /turn` and `GET /healthz`."""

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from demo.agent.engine import Library, Turn, play
from demo.agent.tools import LiveTools, RecordedTools
from whetstone import Client, Harness

__all__ = ["Agent", "AgentServer", "BadTurnError"]

log = logging.getLogger("demo.agent")

_KEPT_PINS = 20_000
_MAX_BODY_BYTES = 8_000_000


class BadTurnError(ValueError):
    """A request that is no turn; the message says what to send."""


@dataclass(slots=True)
class Agent:
    """One deployed agent: it serves live users by its released harness, and plays any document it is given."""

    slug: str
    client: Client
    live: LiveTools
    recorded: RecordedTools
    library: Library
    pins: OrderedDict[str, str] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def turn(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Play one turn. Without a harness it is live: fetched, and reported as an episode named in `episode`."""
        messages = request.get("messages")
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise BadTurnError("`messages` must be a list of objects with `role` and `content`.")
        document = request.get("harness")
        if document is None:
            return self._live_turn(messages, request)
        if not isinstance(document, dict):
            raise BadTurnError("`harness` must be a document (an object), or null for a live turn.")
        tools = self.live if request.get("tools") == "live" else self.recorded
        return play(document, messages, tools, self.library).as_json() | {"episode": None}

    def _live_turn(self, messages: list[dict[str, str]], request: Mapping[str, Any]) -> dict[str, Any]:
        user = str(request.get("user") or "")
        conversation = str(request.get("conversation") or uuid4())
        with self.lock:
            pin = self.pins.get(conversation)
        harness = self.client.harness(user=user, conversation=conversation, pin=pin)
        self._keep_pin(conversation, harness.pin)
        started_at = datetime.now(UTC)
        turn = play(harness.document, messages, self.live, self.library)
        num_asked = sum(message.get("role") == "user" for message in messages)
        episode_id = f"{conversation}.{num_asked}"
        self.client.record(
            self._episode(turn, harness)
            | {"id": episode_id, "conversation": conversation, "subject": user, "input": {"messages": messages}}
            | {"started_at": started_at.isoformat(), "ended_at": datetime.now(UTC).isoformat()}
        )
        return turn.as_json() | {"episode": episode_id}

    def _keep_pin(self, conversation: str, pin: str | None) -> None:
        if pin is None:
            return
        with self.lock:
            self.pins[conversation] = pin
            self.pins.move_to_end(conversation)
            while len(self.pins) > _KEPT_PINS:
                self.pins.popitem(last=False)

    def _episode(self, turn: Turn, harness: Harness) -> dict[str, Any]:
        return {
            "agent": self.slug,
            "workflow": "turn",
            "output": turn.output,
            "steps": turn.steps,
            "sources": turn.output["sources"],
            "usage": turn.usage,
            "external_refs": {},
            "attributes": {"harness_source": harness.source, "harness_age_s": _rounded(harness.age_s)},
        } | harness.reference()


class AgentServer(ThreadingHTTPServer):
    """Serves one agent, a thread per kept-alive connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], agent: Agent) -> None:
        self.agent = agent
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: AgentServer

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(HTTPStatus.OK, {"status": "ok", "agent": self.server.agent.slug})
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "There is GET /healthz and POST /turn."})

    def do_POST(self) -> None:
        # Read first, whatever the path: an unread body would be taken for the next request of this connection.
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY_BYTES:
            self.close_connection = True
            self._answer(HTTPStatus.CONTENT_TOO_LARGE, {"error": f"A turn has at most {_MAX_BODY_BYTES} bytes."})
            return
        body = self.rfile.read(length)
        if self.path != "/turn":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "There is GET /healthz and POST /turn."})
            return
        try:
            answer = self.server.agent.turn(_parsed(body))
        except BadTurnError as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except Exception as error:
            # The edge of the process: a document that breaks the engine is a result of that document, not the end.
            log.exception("turn.crashed")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}: {error}"})
        else:
            self._answer(HTTPStatus.OK, answer)

    def _answer(self, status: HTTPStatus, body: Mapping[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent: a line per turn would drown what matters, and queries carry users' words."""


def _rounded(age_s: float | None) -> float | None:
    return None if age_s is None else round(age_s, 1)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except ValueError as error:
        raise BadTurnError(f"The body is not JSON: {error}.") from error
    if not isinstance(request, dict):
        raise BadTurnError("The body must be one JSON object.")
    return request
