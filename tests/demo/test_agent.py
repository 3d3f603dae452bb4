"""The agent: its engine on real vectors, its process over real HTTP, and what its source must not contain."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import demo.agent
from demo.agent.arguments import extract, styled
from demo.agent.engine import Library, Turn, play
from demo.agent.retrieval import index, passages, rank
from demo.agent.tools import RecordedTools, ToolResult
from demo.customers import AgentEndpoint, meter
from demo.scenario import load
from episodes.door import Read, read_item
from inference.encoder import encode
from tests.demo.desk import SHOP, desk, process, write_scenario
from tests.whetstone.fake_platform import FakePlatform, digest, running

LOOSE = {"parameters": {"required": ["order_id"], "properties": {"order_id": {"type": "string"}}}}
TIGHT = {
    "parameters": {
        "required": ["order_id"],
        "properties": {"order_id": {"type": "string", "pattern": "^KL-?[0-9]{5}$"}},
    }
}
AWKWARD = "2 lamps ordered on the 14th, order kl-48213"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenario(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    return load(folder).starting_document()


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(encode)


class Shelf:
    """Tools that answer every call with the same row and remember what they were asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []

    def call(self, name: str, arguments: Any) -> ToolResult:
        self.calls.append((name, dict(arguments)))
        return ToolResult({"status": "on a shelf"}, None, 1.0)


@pytest.fixture
def say(document: dict[str, Any], library: Library) -> Callable[..., Turn]:
    def say(*texts: str, document: dict[str, Any] = document, tools: Any = None) -> Turn:
        messages = [{"role": "user", "content": text} for text in texts]
        return play(document, messages, tools or RecordedTools({}), library)

    return say


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copied = copy.deepcopy(document)
    place = copied
    *parents, last = path.split("/")
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return copied


# What a schema lets the agent read out of a message.


@pytest.mark.parametrize(
    ("tool", "text", "expected"),
    [
        (TIGHT, AWKWARD, {"order_id": "KL48213"}),
        (LOOSE, AWKWARD, {"order_id": "2"}),
        (LOOSE, "ordered on the 14th: KL-48213", {"order_id": "14th"}),
        (LOOSE, "my order KL-48213, thanks", {"order_id": "KL48213"}),
        (TIGHT | {"settings": {"number_style": "dashed"}}, AWKWARD, {"order_id": "KL-48213"}),
        (TIGHT | {"settings": {"number_style": "dashed"}}, "order KL48213", {"order_id": "KL-48213"}),
    ],
)
def test_extract__schema__decides_what_is_taken(tool: dict[str, Any], text: str, expected: dict[str, str]) -> None:
    assert extract(tool, text) == (expected, [])


@pytest.mark.parametrize("tool", [TIGHT, LOOSE])
def test_extract__nothing_fits__names_what_is_missing(tool: dict[str, Any]) -> None:
    assert extract(tool, "where is my parcel") == ({}, ["order_id"])


def test_extract__broken_or_empty_schema__takes_nothing() -> None:
    broken = {"parameters": {"required": ["a"], "properties": {"a": {"type": "string", "pattern": "("}}}}

    assert extract(broken, AWKWARD) == ({}, ["a"])
    assert extract({}, AWKWARD) == ({}, [])


def test_styled__text_that_is_no_number__stays() -> None:
    assert styled("14th", "dashed") == "14th"


# Retrieval.


def test_passages__title_text_and_tags__each_once() -> None:
    assert passages({"title": "A", "text": "B", "tags": ["C", "A", " "]}) == ["A", "A. B", "C"]
    assert passages({"text": "B"}) == ["B"]
    assert passages({}) == []


def test_rank__scores__are_half_nearest_half_centroid() -> None:
    vectors = {"x": [1.0, 0.0], "y": [0.0, 1.0]}
    found = index(
        {"a": {"title": "x", "tags": ["y"]}, "b": {"title": "y"}},
        lambda texts: np.array([vectors[text] for text in texts], dtype=np.float32),
    )

    ranked = rank(np.array([1.0, 0.0], dtype=np.float32), found)

    assert [doc_id for doc_id, _ in ranked] == ["a", "b"]
    assert [score for _, score in ranked] == pytest.approx([0.5 + 0.5 / 2**0.5, 0.0], abs=1e-6)
    assert rank(np.array([1.0, 0.0], dtype=np.float32), index({}, encode)) == []


def test_library__one_document_changed__encodes_only_that() -> None:
    asked: list[str] = []

    def counting(texts: list[str]) -> Any:
        asked.extend(texts)
        return encode(texts)

    library = Library(counting)
    documents = {"a": {"title": "A", "text": "one"}, "b": {"title": "B", "text": "two"}, "c": {"title": "no text"}}
    assert [entry.doc_id for entry in library.indexed(documents)] == ["a", "b"]
    asked.clear()
    library.indexed(documents | {"b": {"title": "B", "text": "three"}})

    assert asked == ["B", "B. three"]


# One turn.


def test_play__known_want__answers_with_the_document(say: Callable[..., Turn]) -> None:
    turn = say("what are your opening hours")

    assert turn.output == {
        "text": "The store is open from 9 to 18 on weekdays.",
        "handoff": False,
        "sources": ["hours"],
    }
    assert [step["kind"] for step in turn.steps] == ["retrieval"]
    assert turn.steps[0]["output"]["documents"][0]["id"] == "hours"
    assert turn.usage["input_tokens"] > turn.usage["output_tokens"] > 0
    assert turn.usage["cost_usd"] > 0


def test_play__document_with_a_tool__calls_it_and_fills_the_text(say: Callable[..., Turn]) -> None:
    tools = Shelf()
    turn = say("track my order kl-48213 please", tools=tools)

    assert turn.output["text"] == "Your order is on a shelf."
    assert tools.calls == [("lookup_order", {"order_id": "KL-48213"})]
    call = turn.steps[-1]
    assert (call["kind"], call["status"], call["input"]) == ("tool_call", "ok", {"order_id": "KL-48213"})


def test_play__tool_refuses__says_so_and_records_the_error(say: Callable[..., Turn]) -> None:
    turn = say("track my order KL-99999 please")

    assert "no recorded result" in turn.output["text"]
    assert turn.steps[-1]["status"] == "error"
    assert "KL-99999" in turn.steps[-1]["error"]


def test_play__argument_not_given__asks_and_takes_it_from_the_next_message(say: Callable[..., Turn]) -> None:
    tools = Shelf()
    asked = say("please track my order", tools=tools)
    told = say("please track my order", "My order is KL-48213.", tools=tools)

    assert asked.output["text"] == "Could you give me the order id?"
    assert told.output["text"] == "Your order is on a shelf."
    assert len(tools.calls) == 1


def test_play__tool_disabled_or_unknown__is_never_called(say: Callable[..., Turn], document: dict[str, Any]) -> None:
    for broken in (changed(document, "tools/lookup_order/enabled", value=False), changed(document, "tools", {})):
        tools = Shelf()
        turn = say("track my order KL-48213", document=broken, tools=tools)

        assert "no way to look that up" in turn.output["text"]
        assert tools.calls == []


def test_play__guardrail_words_all_there__hands_off(say: Callable[..., Turn]) -> None:
    fired = say("Your STAFF insulted me")
    half = say("what are the opening hours of your staff entrance")

    assert fired.output["handoff"] is True
    assert [step["kind"] for step in fired.steps] == ["check", "handoff"]
    assert half.output["handoff"] is False


def test_play__low_score__hands_off_and_between_asks_again(say: Callable[..., Turn], document: dict[str, Any]) -> None:
    far = "sing me something by an italian composer"
    between = changed(document, "workflow/settings/handoff_confidence", -1.0)
    without = changed(document, "workflow/settings", {})

    assert say(far).output["handoff"] is True
    for cautious in (between, without):
        assert say(far, document=cautious).output == {
            "text": "I am not sure I understood. Could you say it in other words?",
            "handoff": False,
            "sources": [],
        }


def test_play__prompt_rules_that_are_said__frame_the_answer(say: Callable[..., Turn], document: dict[str, Any]) -> None:
    rules = {
        "thanks": {"position": 2, "say": "closing", "text": "Thank you."},
        "hello": {"position": 1, "say": "opening", "text": "Hello."},
        "silent": {"position": 0, "text": "Be brief."},
    }
    turn = say("what are your opening hours", document=changed(document, "prompt/rules", rules))

    assert turn.output["text"] == "Hello. The store is open from 9 to 18 on weekdays. Thank you."


@pytest.mark.parametrize("empty", [{}, {"context": {}, "tools": {}}, {"context": {"documents": {}}, "prompt": None}])
def test_play__empty_document__cannot_help(say: Callable[..., Turn], empty: dict[str, Any]) -> None:
    turn = say("what are your opening hours", document=empty)

    assert turn.output == {"text": "I am sorry, I cannot help with that.", "handoff": False, "sources": []}


def test_play__no_message__still_answers(say: Callable[..., Turn]) -> None:
    assert say().output["text"]


def test_play__same_input__gives_the_same_turn(say: Callable[..., Turn]) -> None:
    first, second = (say("track my order KL-48213", tools=Shelf()) for _ in range(2))

    assert first.output == second.output
    assert [step["output"] for step in first.steps] == [step["output"] for step in second.steps]


# The process.


@pytest.fixture(scope="module")
def platform(document: dict[str, Any]) -> Iterator[FakePlatform]:
    with running() as platform:
        platform.documents = {"": document}
        yield platform


@pytest.fixture(scope="module")
def agent_url(folder: Path, platform: FakePlatform) -> Iterator[str]:
    with desk(folder, platform.url) as url:
        yield url


def post(agent_url: str, **request: Any) -> httpx.Response:
    return httpx.post(f"{agent_url}/turn", json=request, timeout=20)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def arrived(platform: FakePlatform, episode_id: str) -> dict[str, Any]:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for item in platform.episodes:
            if item["id"] == episode_id:
                return item
        time.sleep(0.02)
    raise AssertionError(f"episode {episode_id!r} did not arrive")


def test_turn__live__uses_the_released_harness_and_reports_the_episode(
    agent_url: str, platform: FakePlatform, document: dict[str, Any]
) -> None:
    platform.arms["anna-1"] = "canary"
    answer = post(agent_url, messages=user("where is my parcel KL-48214"), user="anna-1", conversation="c1").json()

    assert answer["output"]["text"] == "Your order is on truck 4."
    assert answer["episode"] == "c1.1"
    episode = arrived(platform, "c1.1")
    assert (episode["agent"], episode["conversation"], episode["subject"]) == ("desk", "c1", "anna-1")
    assert episode["harness_digest"] == digest(document)
    assert (episode["release"], episode["arm"], episode["weight"]) == ("r1", "canary", 0.5)
    assert episode["input"]["messages"] == user("where is my parcel KL-48214")
    assert episode["steps"] == answer["steps"]
    assert episode["sources"] == ["parcel"]
    assert episode["workflow"] == "turn"
    assert episode["started_at"] < episode["ended_at"]
    assert episode["attributes"]["harness_source"] == "platform"
    captured = read_item(episode | {"release": None}, agent_slug="desk", redacted_kinds=())
    assert isinstance(captured, Read), captured


def test_turn__second_message_of_a_conversation__echoes_the_pin(agent_url: str, platform: FakePlatform) -> None:
    platform.ttl_s = 0
    first = user("when do you open")
    post(agent_url, messages=first, user="pinned", conversation="c2")
    later = [*first, {"role": "assistant", "content": "x"}, *user("and on Sunday")]
    assert post(agent_url, messages=later, user="pinned", conversation="c2").json()["episode"] == "c2.2"

    asked = [
        headers for path, query, headers in platform.requests if "user=pinned" in query and path.endswith("harness")
    ]
    assert "Whetstone-Pin" not in asked[0]
    assert asked[-1]["Whetstone-Pin"] == platform.resolved("pinned")["pin"]


def test_turn__given_document__plays_that_one_and_reports_nothing(
    agent_url: str, platform: FakePlatform, document: dict[str, Any]
) -> None:
    other = changed(document, "context/documents/hours/text", "We never close.")
    answer = post(agent_url, harness=other, messages=user("what are your opening hours"), conversation="v1").json()

    assert answer["output"]["text"] == "We never close."
    assert answer["episode"] is None
    time.sleep(0.5)
    assert not [item for item in platform.episodes if item["conversation"] == "v1"]


@pytest.mark.parametrize(
    ("tools", "style", "answered"),
    [("live", "dashed", True), ("live", "plain", False), ("recorded", "dashed", True), ("recorded", "plain", True)],
)
def test_turn__tools__live_refuses_a_style_that_recordings_accept(
    agent_url: str, document: dict[str, Any], tools: str, style: str, answered: bool
) -> None:
    styled_document = changed(document, "tools/lookup_order/settings/number_style", style)
    turn = post(agent_url, harness=styled_document, messages=user("where is my parcel KL-48212"), tools=tools).json()

    assert turn["output"]["text"].startswith("Your order is on truck 2") is answered
    assert turn["steps"][-1]["status"] == ("ok" if answered else "error")


def test_turn__never_recorded__is_a_tool_error(agent_url: str, document: dict[str, Any]) -> None:
    messages = user("where is my parcel KL-48214")
    live = post(agent_url, harness=document, messages=messages, tools="live").json()
    recorded = post(agent_url, harness=document, messages=messages, tools="recorded").json()

    assert live["steps"][-1]["status"] == "ok"
    assert recorded["steps"][-1]["error"] == "no recorded result for 'KL-48214'"


def test_turn__backend_gone__is_a_tool_error(platform: FakePlatform, document: dict[str, Any]) -> None:
    arguments = ("--whetstone", platform.url, "--key", "k", "--agent", "desk", "--backend", "http://127.0.0.1:9")
    with process("demo.agent", *arguments) as url:
        turn = post(url, harness=document, messages=user("where is my parcel KL-48213"), tools="live").json()

    assert "ConnectError" in turn["steps"][-1]["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b'{"messages": "hello"}', 400),
        (b'{"messages": [], "harness": []}', 400),
        (b'{"messages": [], "harness": {"context": {"retrieval": {"min_score": "high"}}}}', 500),
    ],
)
def test_turn__bad_request_or_breaking_document__is_answered_and_survived(
    agent_url: str, body: bytes, status: int
) -> None:
    answer = httpx.post(f"{agent_url}/turn", content=body)

    assert answer.status_code == status
    assert answer.json()["error"]
    assert httpx.get(f"{agent_url}/healthz").json() == {"status": "ok", "agent": "desk"}


def test_agent__unknown_path__says_what_there_is(agent_url: str) -> None:
    assert httpx.get(f"{agent_url}/turn").status_code == 404
    assert httpx.post(f"{agent_url}/other", json={"a": 1}).status_code == 404


def test_agent__platform_silent_from_the_start__answers_that_it_cannot_help(folder: Path) -> None:
    with desk(folder, "http://127.0.0.1:9") as url:
        answer = post(url, messages=user("what are your opening hours"), user="u", conversation="c").json()

    assert answer["output"]["text"] == "I am sorry, I cannot help with that."


def test_agent__stopped__delivers_the_last_episodes(folder: Path) -> None:
    with running() as platform:
        with desk(folder, platform.url) as url:
            for number in range(20):
                post(url, messages=user("when do you open"), user="u", conversation=f"late-{number}")
        assert {item["conversation"] for item in platform.episodes} == {f"late-{number}" for number in range(20)}


# What it must not know.


def test_agent__empty_document__resolves_next_to_nothing_of_the_shop(platform: FakePlatform) -> None:
    scenario = load(SHOP)
    with desk(SHOP, platform.url, agent=scenario.agent_slug) as url, AgentEndpoint(url) as agent:
        metered = meter(scenario, scenario.pool("meter"), {}, agent)

    assert len(metered) >= 300
    assert sum(result.resolved for result in metered) <= 0.02 * len(metered)


def test_agent__source__holds_no_intent_name_and_no_answer() -> None:
    scenario = load(SHOP)
    source = "\n".join(path.read_text() for path in Path(demo.agent.__path__[0]).rglob("*.py")).casefold()
    names = [
        form for intent in scenario.intents for form in {intent, intent.replace("-", "_"), intent.replace("-", " ")}
    ]
    answers = [fact for answer in scenario.answers.values() for fact in (*answer.facts, answer.text, answer.title)]

    assert [text for text in names if text.casefold() in source] == []
    assert [text for text in answers if text.casefold() in source] == []
    assert json.dumps(scenario.agent_slug).casefold() not in source
