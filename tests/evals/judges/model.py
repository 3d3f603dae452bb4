"""A model that judges over real HTTP: what a function says of each question, in the form of a chat completion."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["grading", "serve_model"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are written apart

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        said = self.server.answer(body["messages"][-1]["content"])
        message = {"role": "assistant", "content": said if isinstance(said, str) else json.dumps(said)}
        completion = {
            "id": "c", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }  # fmt: skip
        failed = isinstance(said, int)
        payload = json.dumps({"error": {"message": "no"}} if failed else completion).encode()
        self.send_response(said if failed else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args):
        pass


@contextmanager
def serve_model():
    """Yield a server with `url`, the questions `asked`, and `answer`: what it says, a number being an HTTP status."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.asked, server.answer = [], grading(lambda _: 1)
        server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def grading(grade_of):
    """Return an answer that gives each question the grade a function reads off it."""
    return lambda question: {"rationale": "because of what it says", "grade": grade_of(question)}
