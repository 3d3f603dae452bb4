"""A model server over real HTTP: chat completions and responses, whole or as a stream, and errors on demand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("It is ", "on its way.")
CALL = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"order": "7"}'}}
CHAT_USAGE = {
    "prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 3},
}  # fmt: skip
RESPONSE_USAGE = {
    "input_tokens": 10, "output_tokens": 4, "total_tokens": 14, "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip


class FakeOpenAI(ThreadingHTTPServer):
    """Calls a tool when it is offered one and has not answered yet, else says WORDS.

    `failing` answers with that status instead.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.failing: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def running() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeOpenAI

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.failing:
            self._send(self.server.failing, {"error": {"message": "told to fail", "code": "x"}})
        elif self.path.endswith("/chat/completions"):
            self._stream(_chunks(asked), named=False) if asked.get("stream") else self._send(200, _completion(asked))
        else:
            self._stream(_events(asked), named=True) if asked.get("stream") else self._send(200, _response(asked))

    def _send(self, status: int, body: Any) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _stream(self, events: list[dict[str, Any]], *, named: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for event in events:
            name = f"event: {event['type']}\n" if named else ""
            self.wfile.write(f"{name}data: {json.dumps(event)}\n\n".encode())
        if not named:
            self.wfile.write(b"data: [DONE]\n\n")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent."""


def _is_calling(asked: dict[str, Any]) -> bool:
    return bool(asked.get("tools")) and asked["messages"][-1]["role"] != "tool"


def _finish(asked: dict[str, Any]) -> str:
    return "tool_calls" if _is_calling(asked) else "stop"


def _completion(asked: dict[str, Any]) -> dict[str, Any]:
    text: dict[str, Any] = {"content": "".join(WORDS)}
    if asked.get("response_format"):
        text = {"content": '{"order": "7"}'}
    message = {"role": "assistant", "refusal": None} | (
        {"content": None, "tool_calls": [CALL]} if _is_calling(asked) else text
    )
    choice = {"index": 0, "finish_reason": _finish(asked), "logprobs": None, "message": message}
    return {
        "id": "c1", "object": "chat.completion", "created": 1, "model": f"{asked['model']}-1", "choices": [choice],
        "usage": CHAT_USAGE,
    }  # fmt: skip


def _chunks(asked: dict[str, Any]) -> list[dict[str, Any]]:
    about = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": f"{asked['model']}-1"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if _is_calling(asked):
        head = CALL | {"index": 0, "function": {"name": "lookup", "arguments": ""}}
        deltas.append({"tool_calls": [head]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in ('{"order":', ' "7"}')]
    else:
        deltas += [{"content": word} for word in WORDS]
    chunks = [about | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append(about | {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(asked)}]})
    return [*chunks, about | {"choices": [], "usage": CHAT_USAGE}]


def _response(asked: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    content = [{"type": "output_text", "text": "".join(WORDS), "annotations": []}]
    message = {"type": "message", "id": "m1", "status": status, "role": "assistant", "content": content}
    return {
        "id": "r1", "object": "response", "created_at": 1, "model": f"{asked['model']}-1", "status": status,
        "output": [message] if status == "completed" else [], "usage": RESPONSE_USAGE, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "error": None,
    }  # fmt: skip


def _events(asked: dict[str, Any]) -> list[dict[str, Any]]:
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "m1", "output_index": 0, "content_index": 0, "logprobs": []}
    item = {"type": "message", "id": "m1", "status": "in_progress", "role": "assistant", "content": []}
    events = [
        {"type": "response.created", "response": _response(asked, "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", "part": part, **place},
        *({"type": "response.output_text.delta", "delta": word, **place} for word in WORDS),
        {"type": "response.completed", "response": _response(asked)},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(events)]
