"""POST JSON over kept connections within a time that holds for the whole exchange. Usable from many threads.

A run asks the same address thousands of times beside its own work; the standard library's client takes a third of the
time of those that do more, and its sockets let a deadline hold even for an answer that drips.
"""

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Connections", "NoAnswerError", "UnreachableError", "without_credentials"]

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_CHUNK = 64 * 1024
_CONNECT_S = 10.0


class UnreachableError(Exception):
    """Nobody took the question, or the connection broke before an answer came."""


class NoAnswerError(Exception):
    """The question was taken, and no whole answer came within the time, or one without end."""


class Connections:
    """Connections to one address, as many as are used at once."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL.")
        self._is_secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close what is not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def post(self, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Return status and content of the answer; raise `UnreachableError` or `NoAnswerError`."""
        deadline = time.monotonic() + self._timeout_s
        payload = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        connection, is_fresh = self._take()
        try:
            try:
                response = self._ask(connection, payload, deadline)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if is_fresh:
                    raise
                # It was closed while it was idle: whoever closed it has not read the question.
                connection.close()
                response = self._ask(connection, payload, deadline)
            content = _content(response, connection, deadline)
        except TimeoutError as error:
            connection.close()
            raise NoAnswerError(f"no answer within {self._timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnreachableError(f"{type(error).__name__}: {error}") from error
        except NoAnswerError:
            connection.close()
            raise
        self._give_back(connection, response)
        return response.status, content

    def _ask(self, connection: http.client.HTTPConnection, payload: bytes, deadline: float) -> http.client.HTTPResponse:
        if connection.sock is None:
            connection.timeout = min(_CONNECT_S, self._timeout_s)
            try:
                connection.connect()
            except TimeoutError as error:
                raise ConnectionError(f"no connection within {connection.timeout:g} s") from error
        connection.sock.settimeout(_left(deadline))
        connection.request("POST", self._path, body=payload, headers=self._headers)
        return connection.getresponse()

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        if self._is_secure:
            return http.client.HTTPSConnection(self._host, self._port, context=_tls()), True
        return http.client.HTTPConnection(self._host, self._port), True

    def _give_back(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        if response.will_close or connection.sock is None:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)


def without_credentials(url: str) -> str:
    """Return an address as it may be shown."""
    parts = urlsplit(url.rstrip("/"))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _content(response: http.client.HTTPResponse, connection: http.client.HTTPConnection, deadline: float) -> bytes:
    content = bytearray()
    while True:
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        chunk = response.read1(_CHUNK)
        if not chunk:
            return bytes(content)
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise NoAnswerError(f"the answer exceeds {MAX_ANSWER_BYTES} bytes")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@cache
def _tls() -> ssl.SSLContext:
    """Return this process's one context: reading the certificates takes longer than a turn."""
    return ssl.create_default_context()
