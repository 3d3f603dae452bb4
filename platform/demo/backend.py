"""The shop's own systems as the live agent reaches them: `GET /orders/<id>` over HTTP.

It answers with a row, or refuses with a reason: 400 for an id in a style it does not accept, 404 for one it does not
know. Run it by `python -m demo.backend --scenario DIR --port 8200`.
"""

import argparse
import json
import re
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from demo.agent.arguments import resource
from demo.scenario import load

__all__ = ["STYLES", "BackendServer"]

type Rows = Mapping[str, Mapping[str, Any]]

STYLES = {"dashed": re.compile(r"[A-Z]+-\d+"), "plain": re.compile(r"[A-Z]+\d+")}


class BackendServer(ThreadingHTTPServer):
    """Serves the rows of `tables` (`{tool: {id: row}}`) to who writes the ids in an accepted style."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], tables: Mapping[str, Rows], accepts: Iterable[str]) -> None:
        self.accepts = tuple(accepts)
        self._tables = {
            resource(tool): {_plain(row_id): row for row_id, row in rows.items()} for tool, rows in tables.items()
        }
        super().__init__(address, _Handler)

    def look_up(self, path: str) -> tuple[HTTPStatus, Mapping[str, Any]]:
        """Return the status and body for a request path."""
        table_name, _, row_id = unquote(urlsplit(path).path).strip("/").partition("/")
        table = self._tables.get(table_name)
        if table is None:
            return HTTPStatus.NOT_FOUND, {"error": f"there are no {table_name!r} here"}
        if not any(STYLES[style].fullmatch(row_id) for style in self.accepts):
            styles = " or ".join(self.accepts)
            return HTTPStatus.BAD_REQUEST, {"error": f"{row_id!r} is not a number in the {styles} style"}
        row = table.get(_plain(row_id))
        if row is None:
            return HTTPStatus.NOT_FOUND, {"error": f"{row_id!r} is unknown"}
        return HTTPStatus.OK, row


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: BackendServer

    def do_GET(self) -> None:
        status, body = (HTTPStatus.OK, {"status": "ok"}) if self.path == "/healthz" else self.server.look_up(self.path)
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent: order numbers are the customers'."""


def _plain(row_id: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", row_id.upper())


def main() -> int:
    """Serve a scenario's tables until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="demo.backend", description="The live systems behind the agent's tools.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one and prints it")
    parser.add_argument("--scenario", type=Path, required=True, help="scenario folder")
    parser.add_argument("--accepts", nargs="*", choices=sorted(STYLES), help="styles, instead of the scenario's")
    options = parser.parse_args()
    backend = load(options.scenario).backend
    accepts = backend.accepts if options.accepts is None else options.accepts
    with BackendServer((options.host, options.port), backend.tables, accepts) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # From a thread: `shutdown` waits for the loop that this handler interrupts.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        sys.stdout.write(f"backend listens on http://{options.host}:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
