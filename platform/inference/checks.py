"""Configuration that inference relies on."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register

from inference.configuration import Configuration

__all__ = ["inference_is_coherent"]


@register()
def inference_is_coherent(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Check the inference settings.

    inference.E001: prices or budget cannot be read. E002: the endpoint is no http(s) URL. E003: an endpoint without
    models, or models without an endpoint. E004: a model without a price. E005: timeout, attempts or delay out of
    range. W001: no daily budget. W002: in production the key travels unencrypted.
    """
    try:
        configuration = Configuration.from_settings()
    except (TypeError, ValueError) as error:
        hint = 'For example INFERENCE_PRICES={"model-name": [0.15, 0.60]} and INFERENCE_DAILY_BUDGET_USD=5.'
        return [Error(str(error), hint=hint, id="inference.E001")]
    return [*_endpoint_messages(configuration), *_price_messages(configuration), *_limit_messages(configuration)]


def _endpoint_messages(configuration: Configuration) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    parts = urlsplit(configuration.endpoint)
    if configuration.endpoint and (parts.scheme not in ("http", "https") or not parts.hostname):
        found.append(
            Error(
                f"INFERENCE_ENDPOINT={configuration.endpoint!r} is no http or https URL.",
                hint="Give the base URL of an OpenAI-compatible API, such as http://localhost:8000/v1.",
                id="inference.E002",
            )
        )
    if bool(configuration.endpoint) != bool(configuration.models):
        found.append(
            Error(
                "INFERENCE_ENDPOINT and INFERENCE_MODELS need each other; one of them is empty.",
                hint='Set both, for example INFERENCE_MODELS={"default": "model-name"}, or neither to work by rules.',
                id="inference.E003",
            )
        )
    if settings.IS_PRODUCTION and configuration.api_key and parts.scheme == "http" and not _is_local(parts.hostname):
        found.append(
            checks.Warning(
                "INFERENCE_API_KEY and the text of episodes travel unencrypted to INFERENCE_ENDPOINT.",
                hint="Use an https endpoint.",
                id="inference.W002",
            )
        )
    return found


def _is_local(host: str | None) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def _price_messages(configuration: Configuration) -> list[CheckMessage]:
    unpriced = sorted(set(configuration.models.values()) - set(configuration.prices))
    found: list[CheckMessage] = [
        Error(
            f"Model {model!r} has no price, so its calls will be refused: they would escape the daily budget.",
            hint=f'Add "{model}": [input, output] to INFERENCE_PRICES (US dollars per million tokens; free is [0, 0]).',
            id="inference.E004",
        )
        for model in unpriced
    ]
    if configuration.is_configured() and configuration.daily_budget_usd is None:
        found.append(
            checks.Warning(
                "Nothing limits what a day of model calls may cost.",
                hint="Set INFERENCE_DAILY_BUDGET_USD.",
                id="inference.W001",
            )
        )
    return found


def _limit_messages(configuration: Configuration) -> list[CheckMessage]:
    limits = {
        "INFERENCE_TIMEOUT_S": configuration.timeout_s > 0,
        "INFERENCE_MAX_ATTEMPTS": configuration.max_attempts >= 1,
        "INFERENCE_RETRY_DELAY_S": configuration.retry_delay_s >= 0,
    }
    return [
        Error(f"{name} is out of range.", hint="Leave it unset for the default.", id="inference.E005")
        for name, holds in limits.items()
        if not holds
    ]
