"""An agent's endpoint that answers every turn after a fixed time, and counts what it was asked.

Run as `python -m tests.bench.run_endpoint PORT LATENCY_MS`. `GET /counts` says how many turns came, how many were
different (what exceeds those was asked twice), and how long they really took here on average.
"""

import hashlib
import json
import socket
import sys
import threading
import time
from collections import Counter

__all__: list[str] = []

ANSWER = json.dumps(
    {
        "output": {"text": "The answer.", "handoff": False, "sources": []},
        "steps": [{"kind": "model_call", "name": "bench", "output": {"text": "The answer."}}],
        "usage": {"cost_usd": 0.001},
    }
).encode()


class Endpoint:
    """Serves each connection from a thread of its own: to sleep is more exact than to wait in a loop."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self.asked: Counter[bytes] = Counter()
        self.taken_s = 0.0

    def serve(self, port: int) -> None:
        """Serve until killed."""
        with socket.create_server(("127.0.0.1", port), backlog=128) as server:
            while True:
                connection, _ = server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._answer_all, args=(connection,), daemon=True).start()

    def _answer_all(self, connection: socket.socket) -> None:
        received = b""
        with connection:
            while data := connection.recv(1 << 16):
                received += data
                head, separator, body = received.partition(b"\r\n\r\n")
                if not separator or len(body) < _length(head):
                    continue
                received = b""
                try:
                    connection.sendall(self._answer(head, body))
                except OSError:
                    return

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET"):
            number = self.asked.total()
            said = {"asked": number, "different": len(self.asked), "mean_ms": 1_000 * self.taken_s / max(1, number)}
            return _response(json.dumps(said).encode())
        started = time.perf_counter()
        self.asked[hashlib.sha256(body).digest()] += 1
        time.sleep(self.latency_s)
        self.taken_s += time.perf_counter() - started
        return _response(ANSWER)


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)


def _response(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


if __name__ == "__main__":
    Endpoint(float(sys.argv[2]) / 1_000).serve(int(sys.argv[1]))
