"""A line between agents and a web server that can break where an answer has been given and not yet arrived."""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

__all__ = ["Relay", "relayed"]

_CHUNK = 64 * 1024
_REPORT = re.compile(rb"POST /api/v1/episodes HTTP")
_TAKEN = re.compile(rb"HTTP/1\.1 202 ")
_DUPLICATES = re.compile(rb'"duplicates":(\d+)')


class Relay:
    """Hands bytes on between both sides, and knows of reported episodes when they were answered."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.lost = 0
        self._handed_on: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._instead: Callable[[], None] | None = None
        self._is_lost = threading.Event()
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def known_already(self) -> int:
        """Return how many episodes were answered as known. An answer may come in pieces, so whole lines are read."""
        return sum(int(count) for said in [*self._handed_on] for count in _DUPLICATES.findall(bytes(said)))

    def lose_next_answer(self, instead: Callable[[], None], *, timeout_s: float) -> bool:
        """Call `instead` when the next report has been answered, and never hand that answer on; tell whether one was."""
        with self._lock:
            self._is_lost.clear()
            self._instead = instead
        return self._is_lost.wait(timeout_s)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.to_port)) as far:
            reports: list[bytes] = []
            handed_on = bytearray()
            self._handed_on.append(handed_on)
            threading.Thread(target=self._ask, args=(near, far, reports), daemon=True).start()
            while data := far.recv(_CHUNK):
                if reports and _TAKEN.match(data) and self._loses():
                    break
                near.sendall(data)
                handed_on += data
            for side in (near, far):
                side.shutdown(socket.SHUT_RDWR)

    def _ask(self, near: socket.socket, far: socket.socket, reports: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(_CHUNK):
                if _REPORT.match(data):
                    reports[:] = [data]
                elif data.startswith(b"GET "):
                    reports.clear()
                far.sendall(data)
            far.shutdown(socket.SHUT_WR)

    def _loses(self) -> bool:
        with self._lock:
            instead, self._instead = self._instead, None
        if instead is None:
            return False
        instead()
        self.lost += 1
        self._is_lost.set()
        return True


@contextlib.contextmanager
def relayed(to_port: int) -> Iterator[Relay]:
    """Lend a relay to a port of this machine."""
    relay = Relay(to_port)
    try:
        yield relay
    finally:
        relay.close()
