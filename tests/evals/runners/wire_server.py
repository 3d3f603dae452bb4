"""A server that answers on the wire exactly what a test tells it to, byte by byte."""

import socket
import threading
import time
from contextlib import contextmanager


class WireServer:
    """Each connection is served by `behave(connection, request, number of the request on it)`."""

    def __init__(self, behave):
        self.behave, self.requests, self.connections = behave, [], 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            for number in range(1_000):
                request = _read(connection)
                if request is None:
                    return
                self.requests.append(request)
                try:
                    if self.behave(connection, request, number) == "close":
                        return
                except OSError:
                    return


def _read(connection):
    received = b""
    while True:
        head, separator, body = received.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if separator and len(body) >= length:
            return head, body
        data = connection.recv(65_536)
        if not data:
            return None
        received += data


def answer(connection, content, status="200 OK"):
    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)


def drip(connection, content, pause_s):
    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode())
    for place in range(len(content)):
        time.sleep(pause_s)
        connection.sendall(content[place : place + 1])


@contextmanager
def wire_server(behave):
    server = WireServer(behave)
    try:
        yield server
    finally:
        server.socket.close()
