"""A small real agent over HTTP: it answers with the context document whose tag occurs in the message."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # thousands of trials share a few connections
    disable_nagle_algorithm = True  # headers and body are written apart

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if self.server.outages > 0:
            self.server.outages -= 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        text = body["messages"][-1]["content"].lower()
        time.sleep(self.server.delay_s)
        documents = body["harness"].get("context", {}).get("documents", {})
        deaf = self.server.deaf.get(body["harness"].get("model", {}).get("name"), ())
        found = [n for n, one in documents.items() if n not in deaf and any(tag in text for tag in one.get("tags", []))]
        crashes = "crash" in text
        said = {
            "text": documents[found[0]]["text"] if found else "I cannot help.",
            "handoff": False,
            "sources": found[:1],
        }
        usage = {"latency_ms": 5.0, "cost_usd": 0.001, "model_fingerprint": self.server.fingerprint}
        answer = {"output": said, "steps": [], "usage": usage}
        payload = json.dumps({"error": "boom"} if crashes else answer).encode()
        self.send_response(500 if crashes else 200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args):
        pass


@contextmanager
def endpoint():
    """Serve the agent; yields a server with `url`, `asked`, `outages` (how many requests fail first), `fingerprint` and `deaf`.

    `deaf` names, by model, the documents that the model does not make use of.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.asked, server.outages, server.delay_s, server.deaf, server.fingerprint = [], 0, 0.0, {}, ""
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
