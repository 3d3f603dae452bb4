"""A small platform over real HTTP, for tests of what talks to it: serves harnesses, takes episodes and outcomes."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class FakePlatform(ThreadingHTTPServer):
    """Behaves as told: `documents` by user ("" for all), `answers` with a status instead when `failing` is set."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.documents: dict[str, dict[str, Any]] = {"": {"prompt": {"system": "one"}}}
        self.overlays: dict[str, dict[str, Any]] = {}
        self.arms: dict[str, str] = {}
        self.ttl_s = 60.0
        self.stale_ok_s = 60.0
        self.failing: int | None = None
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
            "pin": f"pin-{digest(document)[:8]}",
            "ttl_s": self.ttl_s,
            "stale_ok_s": self.stale_ok_s,
            "state": "ok",
        }


def digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


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
        self.server.requests.append((url.path, url.query, dict(self.headers)))
        if self.server.failing:
            self._answer(self.server.failing, {"code": "told_to_fail"})
        elif url.path.startswith("/api/v1/harnesses/"):
            wanted = url.path.rpartition("/")[2]
            found = [document for document in self.server.documents.values() if digest(document) == wanted]
            self._answer(200, found[0]) if found else self._answer(404, {"code": "not_found"})
        else:
            self._harness(query)

    def _harness(self, query: dict[str, str]) -> None:
        body = self.server.resolved(query["user"])
        if query.get("bundle") == "0":
            del body["document"]
        etag = f'"{digest(body)}"'
        if self.headers.get("If-None-Match") == etag:
            self._answer(304, None, etag)
        else:
            self._answer(200, body, etag)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, "", dict(self.headers)))
        if self.server.failing:
            self._answer(self.server.failing, {"code": "told_to_fail"})
        elif self.path == "/api/v1/episodes":
            self._episodes(body)
        else:
            self._outcome(self.path.split("/")[-2], body)

    def _episodes(self, body: list[dict[str, Any]]) -> None:
        self.server.batches.append(len(body))
        bad = [index for index, item in enumerate(body) if item["id"] in self.server.refused_ids]
        self.server.episodes += [item for index, item in enumerate(body) if index not in bad]
        rejected = [{"index": index, "reason": "told to refuse"} for index in bad]
        self._answer(202, {"accepted": len(body) - len(bad), "rejected": rejected})

    def _outcome(self, episode: str, body: dict[str, Any]) -> None:
        if self.server.late_episodes.get(episode, 0) > 0:
            self.server.late_episodes[episode] -= 1
            self._answer(404, {"code": "not_found"})
        else:
            self.server.outcomes.append((episode, body))
            self._answer(201, {})

    def _answer(self, status: int, body: Any, etag: str = "") -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent."""
