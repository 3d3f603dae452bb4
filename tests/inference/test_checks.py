"""What the system checks say of the inference settings."""

from typing import Any

import pytest
from pytest_django import Settings

from inference.checks import inference_is_coherent

SOUND: dict[str, Any] = {
    "INFERENCE_ENDPOINT": "https://models.example/v1",
    "INFERENCE_API_KEY": "key",
    "INFERENCE_MODELS": {"default": "m"},
    "INFERENCE_PRICES": {"m": (0.15, "0.60")},
    "INFERENCE_DAILY_BUDGET_USD": 5.0,
    "INFERENCE_TIMEOUT_S": 60,
    "INFERENCE_MAX_ATTEMPTS": 4,
    "INFERENCE_RETRY_DELAY_S": 0.5,
    "IS_PRODUCTION": True,
}


def configure(settings: Settings, **changes: Any) -> list[str]:
    for name, value in {**SOUND, **changes}.items():
        setattr(settings, name, value)
    return [str(message.id) for message in inference_is_coherent(None)]


def test_checks__sound_settings__say_nothing(settings: Settings) -> None:
    assert configure(settings) == []


def test_checks__nothing_configured__say_nothing(settings: Settings) -> None:
    assert configure(settings, INFERENCE_ENDPOINT="", INFERENCE_API_KEY="", INFERENCE_MODELS={}) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"INFERENCE_PRICES": {"m": (1,)}}, "inference.E001"),
        ({"INFERENCE_PRICES": {"m": 3}}, "inference.E001"),
        ({"INFERENCE_PRICES": {"m": (1, -1)}}, "inference.E001"),
        ({"INFERENCE_PRICES": {"m": (1, float("nan"))}}, "inference.E001"),
        ({"INFERENCE_DAILY_BUDGET_USD": "plenty"}, "inference.E001"),
        ({"INFERENCE_DAILY_BUDGET_USD": -1}, "inference.E001"),
        ({"INFERENCE_ENDPOINT": "models.example/v1"}, "inference.E002"),
        ({"INFERENCE_ENDPOINT": ""}, "inference.E003"),
        ({"INFERENCE_MODELS": {}}, "inference.E003"),
        ({"INFERENCE_PRICES": {}}, "inference.E004"),
        ({"INFERENCE_TIMEOUT_S": 0}, "inference.E005"),
        ({"INFERENCE_MAX_ATTEMPTS": 0}, "inference.E005"),
        ({"INFERENCE_RETRY_DELAY_S": -1}, "inference.E005"),
        ({"INFERENCE_DAILY_BUDGET_USD": None}, "inference.W001"),
        ({"INFERENCE_ENDPOINT": "http://models.example/v1"}, "inference.W002"),
    ],
)
def test_checks__unsound_setting__is_named(settings: Settings, changes: dict[str, Any], found: str) -> None:
    assert configure(settings, **changes) == [found]
