"""A small platform over real HTTP, for tests of what talks to it: serves harnesses, takes episodes and outcomes."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from harness.canonical import digest_of


class FakePlatform(ThreadingHTTPServer):
    """Behaves as told: `documents` by user ("" for all), a status instead of an answer when `failing` is set.

    `failing_paths` fails single paths by how they end; failures carry `failing_headers` and `failing_body`. Every
    answer waits `delay_s`, and is dated `clock_skew_s` from now. Episodes are kept once per id, as the platform does.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.documents: dict[str, dict[str, Any]] = {"": {"prompt": {"system": "one"}}}
        self.overlays: dict[str, dict[str, Any]] = {}
        self.arms: dict[str, str] = {}
        self.ttl_s = 60.0
        self.stale_ok_s = 60.0
        self.failing: int | None = None
        self.failing_paths: dict[str, int] = {}
        self.failing_headers: dict[str, str] = {}
        self.failing_body: bytes = b'{"code": "told_to_fail"}'
        self.delay_s = 0.0
        self.clock_skew_s = 0.0
        self.pins: dict[str, dict[str, Any]] = {}
        self.num_duplicates = 0
        self.asked_at: list[float] = []
        self.refused_ids: set[str] = set()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.episodes: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.outcomes: list[tuple[str, dict[str, Any]]] = []
        self.late_episodes: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def resolved(self, user: str) -> dict[str, Any]:
        base = self.documents.get(user, self.documents[""])
        document = self.overlays.get(user, base)
        return {
            "document": document,
            "version": 1,
            "digest": digest(base),
            "resolved_digest": digest(document),
            "release": "r1" if user in self.arms else None,
            "arm": self.arms.get(user),
            "weight": 0.5 if user in self.arms else None,
            "reason": "bucket",
            "pin": f"pin-{digest(document)[:8]}" if user else None,
            "ttl_s": self.ttl_s,
            "stale_ok_s": self.stale_ok_s,
            "state": "ok",
        }


def digest(document: dict[str, Any]) -> str:
    return digest_of(document)


@contextmanager
def running(port: int = 0) -> Iterator[FakePlatform]:
    with FakePlatform(port) as platform:
        thread = threading.Thread(target=platform.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield platform
        finally:
            platform.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakePlatform

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self._has_failed(url.path, url.query):
            return
        if url.path == "/healthz":
            self._send(200, b"ok\n", {})
        elif url.path.startswith("/api/v1/harnesses/"):
            wanted = url.path.rpartition("/")[2]
            kept = [*self.server.documents.values(), *(pinned["document"] for pinned in self.server.pins.values())]
            found = [document for document in kept if digest(document) == wanted]
            self._answer(200, found[0]) if found else self._answer(404, {"code": "not_found"})
        else:
            self._harness(query)

    def _harness(self, query: dict[str, str]) -> None:
        body = self.server.resolved(query.get("user", ""))
        pin = self.headers.get("Whetstone-Pin", "")
        if pin in self.server.pins:
            body = self.server.pins[pin] | {"reason": "pinned"}
        elif body["pin"]:
            self.server.pins[body["pin"]] = body.copy()
        told = {"Whetstone-Pin": body["pin"]} if body["pin"] else {}
        if query.get("bundle") == "0":
            del body["document"]
        facts = {name: value for name, value in body.items() if name not in {"document", "pin", "reason"}}
        told["ETag"] = f'"{digest(facts)}"'
        if self.headers.get("If-None-Match") == told["ETag"]:
            self._send(304, b"", told)
        else:
            self._answer(200, body, told)

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self._has_failed(url.path, url.query):
            return
        if url.path != "/api/v1/episodes":
            self._outcome(unquote(url.path.split("/")[-2]), json.loads(sent))
        elif self.headers["Content-Type"] == "application/x-ndjson":
            self._episodes([json.loads(line) for line in sent.splitlines()])
        else:
            self._episodes(json.loads(sent))

    def _episodes(self, body: list[dict[str, Any]]) -> None:
        self.server.batches.append(len(body))
        bad = [index for index, item in enumerate(body) if item["id"] in self.server.refused_ids]
        known = {item["id"] for item in self.server.episodes}
        fresh = [item for index, item in enumerate(body) if index not in bad and item["id"] not in known]
        self.server.episodes += fresh
        rejected = [{"index": index, "id": body[index]["id"], "code": "x", "reason": "told to refuse"} for index in bad]
        duplicates = len(body) - len(bad) - len(fresh)
        self.server.num_duplicates += duplicates
        self._answer(202, {"accepted": len(fresh), "duplicates": duplicates, "rejected": rejected})

    def _outcome(self, episode: str, body: dict[str, Any]) -> None:
        if self.server.late_episodes.get(episode, 0) > 0:
            self.server.late_episodes[episode] -= 1
            self._answer(404, {"code": "not_found"})
        else:
            self.server.outcomes.append((episode, body))
            self._answer(201, {})

    def _has_failed(self, path: str, query: str) -> bool:
        server = self.server
        server.requests.append((path, query, dict(self.headers)))
        server.asked_at.append(time.monotonic())
        time.sleep(server.delay_s)
        status = server.failing or next((s for end, s in server.failing_paths.items() if path.endswith(end)), None)
        if status:
            self._send(status, server.failing_body, server.failing_headers)
        return status is not None

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), headers or {})

    def _send(self, status: int, payload: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.server.clock_skew_s)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent."""
