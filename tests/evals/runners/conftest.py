"""Runners that ask a real server on the wire of chat completions."""

import json

import pytest

from tests.inference.conftest import endpoint  # noqa: F401  # a fixture
from tests.inference.fake_endpoint import Reply


def reply(content=None, *calls, fingerprint="fp_1", model="small-model-0711", tokens=(100, 20), finish_reason="stop"):
    """A chat completion: text, or calls of tools as (name, arguments)."""
    asked = [
        {
            "id": f"call-{number}", "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for number, (name, given) in enumerate(calls)
    ]  # fmt: skip
    message = {"role": "assistant", "content": content, **({"tool_calls": asked} if asked else {})}
    body = {
        "id": "c", "object": "chat.completion", "created": 0, "model": model, "system_fingerprint": fingerprint,
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }  # fmt: skip
    return Reply(json.dumps(body).encode())


@pytest.fixture
def priced(settings):
    settings.INFERENCE_PRICES = {"small-model": (2, 8), "other-model": (0, 0)}
