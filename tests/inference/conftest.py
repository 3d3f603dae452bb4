"""A configured door to a fake endpoint."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.inference.fake_endpoint import FakeEndpoint


@pytest.fixture
def endpoint(settings: Settings) -> Iterator[FakeEndpoint]:
    """A running fake endpoint that the settings point at, with $2 and $8 per million tokens and $1 a day."""
    with FakeEndpoint() as running:
        settings.INFERENCE_ENDPOINT = running.url
        settings.INFERENCE_API_KEY = "key-of-the-test"
        settings.INFERENCE_MODELS = {"critic": "small-model", "default": "other-model"}
        settings.INFERENCE_PRICES = {"small-model": (2, 8), "other-model": (0, 0)}
        settings.INFERENCE_DAILY_BUDGET_USD = 1
        settings.INFERENCE_TIMEOUT_S = 5
        settings.INFERENCE_MAX_ATTEMPTS = 3
        settings.INFERENCE_RETRY_DELAY_S = 0.01
        yield running
