"""Read the inference settings once, typed, and say what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Self
from urllib.parse import urlsplit

from django.conf import settings

from inference.exceptions import NotConfiguredError

__all__ = ["Configuration", "Price", "is_configured"]

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    input_usd: Decimal
    output_usd: Decimal

    @classmethod
    def from_setting(cls, value: Any) -> Self:
        """Read `[input, output]`; raises ValueError when that is not two numbers from 0 up."""
        try:
            input_usd, output_usd = (Decimal(str(part)) for part in value)
        except (InvalidOperation, TypeError, ValueError) as error:
            msg = f"{value!r} is no price: write [input, output] in US dollars per million tokens."
            raise ValueError(msg) from error
        if not (input_usd.is_finite() and output_usd.is_finite() and min(input_usd, output_usd) >= 0):
            msg = f"{value!r} is no price: both numbers must be finite and at least 0."
            raise ValueError(msg)
        return cls(input_usd, output_usd)

    def cost_usd(self, *, input_tokens: int, output_tokens: int) -> Decimal:
        """Return the price of one call to the billionth of a dollar."""
        total = (self.input_usd * input_tokens + self.output_usd * output_tokens) / _MILLION
        return total.quantize(Decimal("1e-9"))


@dataclass(frozen=True)
class Configuration:
    """Where models are asked, which one serves which role, and what a day may cost.

    `models` maps a role to a model's name; `"default"` serves every role not named. `prices` maps a model's name to
    its price. `daily_budget_usd` is None when nothing limits the day.
    """

    endpoint: str = ""
    api_key: str = field(default="", repr=False)
    models: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    daily_budget_usd: Decimal | None = None
    timeout_s: float = 60.0
    max_attempts: int = 4
    retry_delay_s: float = 0.5

    @classmethod
    def from_settings(cls) -> Self:
        """Return the configuration of this process. Raises ValueError for a price or budget that is none."""
        budget = getattr(settings, "INFERENCE_DAILY_BUDGET_USD", None)
        prices = getattr(settings, "INFERENCE_PRICES", {})
        return cls(
            endpoint=getattr(settings, "INFERENCE_ENDPOINT", "") or "",
            api_key=getattr(settings, "INFERENCE_API_KEY", "") or "",
            models=dict(getattr(settings, "INFERENCE_MODELS", {})),
            prices={model: Price.from_setting(value) for model, value in prices.items()},
            daily_budget_usd=None if budget in (None, "") else _budget(budget),
            timeout_s=float(getattr(settings, "INFERENCE_TIMEOUT_S", cls.timeout_s)),
            max_attempts=int(getattr(settings, "INFERENCE_MAX_ATTEMPTS", cls.max_attempts)),
            retry_delay_s=float(getattr(settings, "INFERENCE_RETRY_DELAY_S", cls.retry_delay_s)),
        )

    @property
    def host(self) -> str:
        """The endpoint's host, as the ledger names who answered."""
        return urlsplit(self.endpoint).hostname or ""

    def is_configured(self, role: str | None = None) -> bool:
        """Return whether models can be asked at all, or for `role`."""
        if not (self.endpoint and self.models):
            return False
        return role is None or role in self.models or "default" in self.models

    def model_for(self, role: str) -> str:
        """Return the model that serves `role`, or raise NotConfiguredError."""
        if not self.is_configured(role):
            raise NotConfiguredError(
                f"Cannot ask a model for role {role!r}: none is configured. Set INFERENCE_ENDPOINT, and a model for "
                f"{role!r} or 'default' in INFERENCE_MODELS; until then rules do this work."
            )
        return self.models.get(role) or self.models["default"]

    def price_of(self, model: str) -> Price:
        """Return the price of `model`, or raise NotConfiguredError: an unpriced call would escape the budget."""
        if model not in self.prices:
            raise NotConfiguredError(
                f"Cannot ask model {model!r}: it has no price, so the ledger could not say what it costs. Add it to "
                f"INFERENCE_PRICES as [input, output] in US dollars per million tokens; a free one is [0, 0]."
            )
        return self.prices[model]


def is_configured(role: str | None = None) -> bool:
    """Return whether models can be asked, at all or for `role`; where they cannot, rules do the work and say so."""
    return Configuration.from_settings().is_configured(role)


def _budget(value: Any) -> Decimal:
    try:
        budget = Decimal(str(value))
    except InvalidOperation as error:
        msg = f"INFERENCE_DAILY_BUDGET_USD={value!r} is no number of US dollars."
        raise ValueError(msg) from error
    if not budget.is_finite() or budget < 0:
        msg = f"INFERENCE_DAILY_BUDGET_USD={value!r} must be finite and at least 0; leave it unset for no limit."
        raise ValueError(msg)
    return budget
