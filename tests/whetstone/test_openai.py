"""The openai client's calls become steps, and remain the SDK's own calls in every other way."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

import whetstone.openai
from tests.whetstone.fake_openai import CALL, WORDS, FakeOpenAI, running
from tests.whetstone.fake_platform import FakePlatform
from whetstone import Client

MESSAGES: Any = [{"role": "user", "content": "Where is my order?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "lookup", "parameters": {"type": "object"}}}]
TEXT = "".join(WORDS)


class Order(pydantic.BaseModel):
    order: str


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with running() as server:
        yield server


@pytest.fixture
def sdk(server: FakeOpenAI) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
        yield whetstone.openai.wrap(client)


@pytest.fixture
def client(connect: Any) -> Client:
    return connect()


def recorded(platform: FakePlatform, client: Client) -> dict[str, Any]:
    client.flush()
    (stored,) = platform.episodes
    return stored


def test_import__of_the_wrapper__does_not_import_the_sdk() -> None:
    code = "import sys, whetstone.openai; sys.exit(any(name.split('.')[0] == 'openai' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_chat__whole_answer__is_a_step_with_its_tokens(platform: FakePlatform, client: Client, sdk: Any) -> None:
    with client.episode(input="?"):
        answer = sdk.chat.completions.create(model="small", messages=MESSAGES, temperature=0, timeout=5)

    assert isinstance(answer, openai.types.chat.ChatCompletion)
    stored = recorded(platform, client)
    (step,) = stored["steps"]
    assert (step["kind"], step["name"], step["status"]) == ("model_call", "small-1", "ok")
    assert step["input"] == {"model": "small", "messages": MESSAGES, "temperature": 0}
    assert step["output"] == {"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    assert step["latency_ms"] > 0
    assert stored["usage"] == {"input_tokens": 10, "output_tokens": 4, "cached_tokens": 3}


@pytest.mark.parametrize("stream", [False, True])
def test_chat__tool_call__is_kept_with_its_arguments(
    platform: FakePlatform, client: Client, sdk: Any, stream: bool
) -> None:
    with client.episode(input="?"):
        answer = sdk.chat.completions.create(model="small", messages=MESSAGES, tools=TOOLS, stream=stream)
        list(answer)

    (step,) = recorded(platform, client)["steps"]
    assert step["output"]["message"]["tool_calls"] == [CALL]
    assert step["input"]["tools"] == TOOLS


def test_chat__stream__reads_as_ever_and_is_one_step(platform: FakePlatform, client: Client, sdk: Any) -> None:
    with client.episode(input="?"):
        stream = sdk.chat.completions.create(model="small", messages=MESSAGES, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    assert text == TEXT
    assert stream.response.status_code == 200
    stored = recorded(platform, client)
    (step,) = stored["steps"]
    assert step["name"] == "small-1"
    assert step["output"] == {"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    assert stored["usage"]["input_tokens"] == 10


def test_chat__stream_left_early__records_what_was_read(platform: FakePlatform, client: Client, sdk: Any) -> None:
    with client.episode(input="?"), sdk.chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break

    (step,) = recorded(platform, client)["steps"]
    assert step["output"]["message"]["content"] == WORDS[0]


def test_chat__stream_helper__is_one_step(platform: FakePlatform, client: Client, sdk: Any) -> None:
    with client.episode(input="?"), sdk.chat.completions.stream(model="small", messages=MESSAGES) as stream:
        assert stream.get_final_completion().choices[0].message.content == TEXT

    (step,) = recorded(platform, client)["steps"]
    assert step["output"]["message"]["content"] == TEXT


def test_chat__parse__is_one_step_with_its_schema(platform: FakePlatform, client: Client, sdk: Any) -> None:
    with client.episode(input="?"):
        answer = sdk.chat.completions.parse(model="small", messages=MESSAGES, response_format=Order)

    assert answer.choices[0].message.parsed == Order(order="7")
    (step,) = recorded(platform, client)["steps"]
    assert step["output"]["message"]["content"] == '{"order": "7"}'
    assert step["input"]["response_format"]["properties"]["order"]["type"] == "string"


def test_chat__raw_response__is_recorded_and_still_raw(platform: FakePlatform, client: Client, sdk: Any) -> None:
    with client.episode(input="?"):
        raw = sdk.chat.completions.with_raw_response.create(model="small", messages=MESSAGES)

    assert raw.http_response.status_code == 200
    assert raw.parse().choices[0].message.content == TEXT
    (step,) = recorded(platform, client)["steps"]
    assert step["output"]["message"]["content"] == TEXT


@pytest.mark.parametrize("stream", [False, True])
def test_responses__whole_or_stream__is_a_step(platform: FakePlatform, client: Client, sdk: Any, stream: bool) -> None:
    with client.episode(input="?"):
        answer = sdk.responses.create(model="small", input="Where is my order?", stream=stream)
        events = [event.type for event in answer] if stream else []

    assert (events or ["response.completed"])[-1] == "response.completed"
    stored = recorded(platform, client)
    (step,) = stored["steps"]
    assert (step["name"], step["input"]["input"]) == ("small-1", "Where is my order?")
    assert step["output"]["output"][0]["content"][0]["text"] == TEXT
    assert step["output"]["status"] == "completed"
    assert stored["usage"] == {"input_tokens": 10, "output_tokens": 4, "cached_tokens": 3, "reasoning_tokens": 2}


def test_responses__stream_helper__is_one_step(platform: FakePlatform, client: Client, sdk: Any) -> None:
    with client.episode(input="?"), sdk.responses.stream(model="small", input="?") as stream:
        assert stream.get_final_response().output_text == TEXT

    (step,) = recorded(platform, client)["steps"]
    assert step["output"]["output"][0]["content"][0]["text"] == TEXT


def test_chat__error__is_the_sdks_own_and_the_steps(
    platform: FakePlatform, client: Client, sdk: Any, server: FakeOpenAI
) -> None:
    server.failing = 429
    with client.episode(input="?"), pytest.raises(openai.RateLimitError):
        sdk.chat.completions.create(model="small", messages=MESSAGES)

    (step,) = recorded(platform, client)["steps"]
    assert (step["status"], step["name"]) == ("error", "small")
    assert step["error"].startswith("RateLimitError: ")


def test_wrap__outside_of_an_episode__records_nothing(platform: FakePlatform, client: Client, sdk: Any) -> None:
    assert sdk.chat.completions.create(model="small", messages=MESSAGES).choices
    assert list(sdk.chat.completions.create(model="small", messages=MESSAGES, stream=True))
    assert client.flush().recorded == 0


def test_wrap__twice_and_copies__record_once(platform: FakePlatform, client: Client, sdk: Any) -> None:
    again = whetstone.openai.wrap(whetstone.openai.wrap(sdk))
    assert again is sdk
    with client.episode(input="?"):
        sdk.chat.completions.create(model="small", messages=MESSAGES)
        sdk.with_options(timeout=3).chat.completions.create(model="small", messages=MESSAGES)

    assert len(recorded(platform, client)["steps"]) == 2


def test_wrap__something_else__comes_back_as_it_is() -> None:
    thing = object()

    assert whetstone.openai.wrap(thing) is thing


def test_attempts__inside_of_iterate__are_numbered(platform: FakePlatform, client: Client, sdk: Any) -> None:
    def task(attempt: whetstone.Attempt) -> str:
        return str(sdk.chat.completions.create(model="small", messages=MESSAGES).choices[0].message.content)

    with client.episode(input="?"):
        whetstone.iterate(task, lambda text: False, whetstone.Budget(attempts=2))

    steps = recorded(platform, client)["steps"]
    assert [(step["kind"], step["attempt"]) for step in steps] == [
        ("model_call", 1), ("check", 1), ("model_call", 2), ("check", 2),
    ]  # fmt: skip


def test_async__every_way__is_a_step(platform: FakePlatform, client: Client, server: FakeOpenAI) -> None:
    async def play() -> None:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as plain:
            sdk: Any = whetstone.openai.wrap(plain)
            async with client.episode(input="?"):
                answer = await sdk.chat.completions.create(model="small", messages=MESSAGES)
                assert answer.choices[0].message.content == TEXT
                stream = await sdk.chat.completions.create(model="small", messages=MESSAGES, stream=True)
                said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
                assert "".join(said) == TEXT
                assert (await sdk.responses.create(model="small", input="?")).output_text == TEXT
                events = [event async for event in await sdk.responses.create(model="small", input="?", stream=True)]
                assert events[-1].type == "response.completed"
                async with sdk.chat.completions.stream(model="small", messages=MESSAGES) as helper:
                    assert (await helper.get_final_completion()).choices[0].message.content == TEXT
                server.failing = 500
                with pytest.raises(openai.InternalServerError):
                    await sdk.responses.create(model="small", input="?")

    asyncio.run(play())
    steps = recorded(platform, client)["steps"]
    assert [step["status"] for step in steps] == ["ok"] * 5 + ["error"]
    texts = [str(step["output"]) for step in steps[:5]]
    assert all(TEXT in text for text in texts)
