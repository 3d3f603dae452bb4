"""Why a model could not be asked, or did not answer usefully."""

from datetime import datetime
from decimal import Decimal

from accounts.exceptions import DomainError

__all__ = [
    "BudgetExhaustedError",
    "EndpointError",
    "InferenceError",
    "InvalidAnswerError",
    "ModelRefusedError",
    "NotConfiguredError",
]


class InferenceError(DomainError):
    """A model gave no usable answer; callers fall back to rules or try again later."""

    code = "inference_failed"
    http_status = 503


class NotConfiguredError(InferenceError):
    """No endpoint, or no model or price for this role."""

    code = "inference_not_configured"


class BudgetExhaustedError(InferenceError):
    """The day's budget is spent; nothing was asked."""

    code = "inference_budget_exhausted"

    def __init__(self, *, role: str, spent_usd: Decimal, budget_usd: Decimal, resets_at: datetime) -> None:
        super().__init__(
            f"Cannot ask the model for role {role!r}: ${spent_usd:.4f} of today's budget of ${budget_usd:.2f} is "
            f"spent. It resets at {resets_at:%Y-%m-%d %H:%M %Z}. Wait until then or raise INFERENCE_DAILY_BUDGET_USD."
        )
        self.spent_usd = spent_usd
        self.budget_usd = budget_usd
        self.resets_at = resets_at


class EndpointError(InferenceError):
    """The endpoint failed, was too slow, or refused the request, and retrying did not help.

    `status` is what it answered last, `None` where no answer came; `has_timed_out` says that none came in time.
    """

    code = "inference_endpoint_failed"
    http_status = 502

    def __init__(self, sentence: str, *, status: int | None = None, has_timed_out: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.has_timed_out = has_timed_out


class InvalidAnswerError(InferenceError):
    """The answer did not fit the schema, and neither did its repair."""

    code = "inference_invalid_answer"
    http_status = 502


class ModelRefusedError(InferenceError):
    """The model or its provider's filter declined to answer."""

    code = "inference_model_refused"
    http_status = 502
