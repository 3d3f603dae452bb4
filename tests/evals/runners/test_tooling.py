import httpx
import pytest

from evals.runners.sandbox import CodeFailedError, Sandbox
from evals.runners.tooling import Toolbox, safe_tools
from tests.evals.runners.wire_server import answer, wire_server

SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"], "additionalProperties": False}
DOUBLE = "def run(arguments):\n    return {'id': arguments['id'] * 2, 'known': state['orders']}"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as one:
        yield one


@pytest.fixture
def box(sandbox):
    def make(tool, given=None, *, safe=None, **state):
        user_state = {**state, **({} if given is None else {"tools": {"lookup": given}})}
        tools = {"lookup": {"parameters": SCHEMA, **tool}}
        return Toolbox(tools, user_state, safe=safe or {}, sandbox=sandbox, http=httpx.Client(trust_env=False), seed=1)

    return make


RECORDED = {"recorded": [{"arguments": {"id": "KL-1"}, "result": {"x": 1}}, {"arguments": {"id": "2"}, "error": "no"}]}


@pytest.mark.parametrize(
    ("asked", "value", "error"),
    [("KL-1", {"x": 1}, ""), (" kl-1 ", {"x": 1}, ""), ("2", None, "no"), ("KL1", None, "no recorded result for")],
)
def test_call__recorded__belongs_to_its_arguments(box, asked, value, error):
    result = box({}, RECORDED).call("lookup", {"id": asked})

    assert (result.value, result.source) == (value, "recorded")
    assert result.error.startswith(error)
    assert bool(result.error) == bool(error)


def test_call__scripted__comes_in_the_order_of_the_calls(box):
    tools = box({}, {"scripted": [{"result": 1}, {"error": "busy"}, "nonsense"]})

    results = [tools.call("lookup", {"id": str(number)}) for number in range(4)]

    assert [(one.value, one.error) for one in results] == [
        (1, ""), (None, "busy"), (None, "the case gives no result here"), (None, "the script has 3 results"),
    ]  # fmt: skip


def test_call__own_code__is_run_in_the_sandbox_on_the_case_state(box):
    result = box({"code": DOUBLE}, orders=3).call("lookup", {"id": "ab"})

    assert (result.value, result.source, result.error) == ({"id": "abab", "known": 3}, "sandboxed", "")


def test_call__case_records__comes_before_code(box):
    assert box({"code": DOUBLE}, RECORDED).call("lookup", {"id": "KL-1"}).source == "recorded"


@pytest.mark.parametrize("arguments", [{}, {"id": 1}, {"id": "1", "more": True}])
def test_call__arguments_that_do_not_fit__are_refused_as_the_tool_would(box, arguments):
    result = box({}, RECORDED).call("lookup", arguments)

    assert result.error.startswith("The arguments do not fit: ")
    assert result.source == "none"


def test_call__nothing_known__is_an_error_and_asks_nobody(box):
    with wire_server(lambda *_: answer(_[0], b"{}")) as live:
        result = box({"settings": {"safe": True, "url": live.url}}).call("lookup", {"id": "1"})

    assert (result.error, live.requests) == ("lookup has no recorded result here", [])


def test_call__marked_safe_in_the_served_version__is_asked_where_that_says(box):
    with wire_server(lambda *_: answer(_[0], b'{"status": "sent"}')) as live, wire_server(lambda *_: "close") as other:
        served = {"tools": {"lookup": {"settings": {"safe": True, "url": live.url}}}}
        changed = {"settings": {"safe": True, "url": other.url}}
        result = box(changed, safe=safe_tools(served)).call("lookup", {"id": "1"})

    assert (result.value, result.source) == ({"status": "sent"}, "live")
    assert live.requests[0][1] == b'{"id":"1"}'
    assert other.connections == 0


@pytest.mark.parametrize(
    "behave",
    [
        lambda connection, *_: answer(connection, b"no", "500 Broken"),
        lambda connection, *_: answer(connection, b"no json"),
        lambda connection, *_: answer(connection, b'{"a": "\\u0000"}'),
        lambda *_: "close",
    ],
)
def test_call__live_tool_fails__is_an_error(box, behave):
    with wire_server(behave) as live:
        result = box({}, safe={"lookup": live.url}).call("lookup", {"id": "1"})

    assert result.error
    assert (result.value, result.source) == (None, "live")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"safe": True},
        {"safe": "yes", "url": "http://x"},
        {"safe": True, "url": "file:///etc/passwd"},
        {"url": "http://x"},
    ],
)
def test_safe_tools__not_marked_or_without_an_address__are_none(settings):
    assert safe_tools({"tools": {"lookup": {"settings": settings}}}) == {}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def run(arguments):\n    raise ValueError('no such order')", "no such order"),
        ("def run(arguments):\n    return open('/etc/passwd').read()", "Permission denied"),
        ("import socket\ndef run(arguments):\n    return 1", "socket"),
        ("def run(arguments):\n    return 'a' * 10**9", "memory limit"),
        ("def run(arguments):\n    while True: pass", "time limit"),
        ("def run(arguments):\n    return {1, 2}", "JSON"),
        ("def run(arguments) return 1", "Expected"),
        ("x = 1", "run"),
        ("import datetime\ndef run(arguments):\n    return str(datetime.datetime.now())", "not supported"),
    ],
)
def test_sandbox__code_that_may_not_or_cannot__fails_with_its_words(sandbox, code, words):
    with pytest.raises(CodeFailedError, match=words):
        sandbox.call(code, {}, state={}, seed=1)


def test_sandbox__chance__is_the_seeds(sandbox):
    code = "import random\ndef run(arguments):\n    return random.random()"

    first, again, other = (sandbox.call(code, {}, state={}, seed=seed) for seed in (1, 1, 2))

    assert first == again != other


def test_sandbox__one_call__leaves_nothing_for_the_next(sandbox):
    sandbox.call("kept = 1\ndef run(arguments):\n    return kept", {}, state={}, seed=1)

    with pytest.raises(CodeFailedError, match="kept"):
        sandbox.call("def run(arguments):\n    return kept", {}, state={}, seed=1)
