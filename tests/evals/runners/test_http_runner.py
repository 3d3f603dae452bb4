"""The agent's endpoint as it may behave: well, badly, late, never."""

import json
import socket
import threading

import pytest

from evals.runners import HttpRunner, InfrastructureError
from tests.evals.runners.wire_server import answer, drip, wire_server

OUTPUT = {"text": "Within 30 days.", "handoff": False}
GOOD = json.dumps(
    {"output": OUTPUT, "steps": [{"kind": "tool_call"}], "usage": {"latency_ms": 7, "cost_usd": 0.2}}
).encode()
QUESTION = [{"role": "user", "content": "How long?"}]


def ask(server, *, timeout_s=5.0, times=1):
    with HttpRunner(server.url, timeout_s=timeout_s) as runner:
        played = [runner.play({"prompt": {}}, QUESTION, user_state={"user": "u7"}, seed=3) for _ in range(times)]
    return played[-1]


def said(content, status="200 OK"):
    return lambda connection, request, number: answer(connection, content, status)


def test_play__good_answer__is_read_and_asked_with_all_it_needs():
    with wire_server(said(GOOD)) as server:
        played = ask(server)

    assert (played.output, played.latency_ms, played.cost_usd, played.crashed) == (OUTPUT, 7.0, 0.2, False)
    head, body = server.requests[0]
    assert head.startswith(b"POST /turn HTTP/1.1")
    assert json.loads(body) == {
        "harness": {"prompt": {}}, "messages": QUESTION, "user": "u7", "user_state": {"user": "u7"}, "tools": "recorded",
        "seed": 3,
    }  # fmt: skip


def test_play__model_fingerprint__is_kept():
    content = json.dumps({"output": OUTPUT, "usage": {"model_fingerprint": "small fp_1"}}).encode()
    with wire_server(said(content)) as server:
        assert ask(server).fingerprint == "small fp_1"


@pytest.mark.parametrize(
    ("content", "status", "error"),
    [
        (b'{"error": "boom"}', "500 Internal Server Error", "500: boom"),
        (b"<html>oops</html>", "200 OK", "200: <html>oops"),
        (b'{"output": "no object"}', "200 OK", "200: "),
        (b'[{"output": {}}]', "200 OK", "200: "),
        (b'{"output": {}, "steps": 7}', "200 OK", "another form"),
        (b'{"output": {}, "steps": ["x"]}', "200 OK", "another form"),
        (b'{"output": {}, "usage": {"cost_usd": NaN}}', "200 OK", "cost_usd is nan"),
        (b'{"output": {}, "usage": {"cost_usd": -1}}', "200 OK", "cost_usd is -1.0"),
        (b'{"output": {}, "usage": {"latency_ms": "soon"}}', "200 OK", "another form"),
        (b'{"output": {}, "usage": 3}', "200 OK", "another form"),
    ],
)
def test_play__answer_that_is_none__is_a_crash(content, status, error):
    with wire_server(said(content, status)) as server:
        played = ask(server)

    assert played.crashed
    assert error in played.error


@pytest.mark.parametrize("status", ["429 Too Many", "502 Bad Gateway", "503 Unavailable", "504 Late"])
def test_play__not_ready__is_infrastructure(status):
    with wire_server(said(b"", status)) as server, pytest.raises(InfrastructureError, match=status[:3]):
        ask(server)


def test_play__nobody_listens__is_infrastructure():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with HttpRunner(f"http://127.0.0.1:{port}") as runner, pytest.raises(InfrastructureError):
        runner.play({}, QUESTION, user_state={}, seed=0)


def test_play__connection_breaks_instead_of_an_answer__is_infrastructure():
    with wire_server(lambda connection, request, number: "close") as server, pytest.raises(InfrastructureError):
        ask(server)


def test_play__takes_the_turn_and_never_answers__crashed():
    over = threading.Event()
    with wire_server(lambda connection, request, number: over.wait(20)) as server:
        played = ask(server, timeout_s=0.2)
        over.set()

    assert (played.crashed, played.error) == (True, "no answer within 0.2 s")
    assert played.latency_ms >= 200


def test_play__answer_drips_for_ever__is_cut_off():
    with wire_server(lambda connection, request, number: drip(connection, GOOD, pause_s=0.05)) as server:
        played = ask(server, timeout_s=0.3)

    assert (played.crashed, played.error) == (True, "no answer within 0.3 s")


def test_play__many_turns__share_a_connection():
    with wire_server(said(GOOD)) as server:
        ask(server, times=5)

    assert (server.connections, len(server.requests)) == (1, 5)


def test_play__idle_connection_closed__is_opened_again_without_a_loss():
    def once(connection, request, number):
        answer(connection, GOOD)
        return "close"

    with wire_server(once) as server:
        played = ask(server, times=3)

    assert not played.crashed
    assert (server.connections, len(server.requests)) == (3, 3)


def test_play__answer_in_chunks__is_read():
    def chunks(connection, request, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (GOOD[:20], GOOD[20:]):
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")

    with wire_server(chunks) as server:
        assert ask(server, times=2).output == OUTPUT
    assert server.connections == 1


def test_play__credentials_in_the_address__are_sent_as_such():
    with (
        wire_server(said(GOOD)) as server,
        HttpRunner(server.url.replace("http://", "http://me:p%40ss@")) as runner,
    ):
        runner.play({}, QUESTION, user_state={}, seed=0)

    assert b"Authorization: Basic bWU6cEBzcw==" in server.requests[0][0]


def test_runner__name__says_where_and_no_credentials():
    assert HttpRunner("http://me:secret@127.0.0.1:9/desk/").name == "http http://127.0.0.1:9/desk"
