"""What a failed request means: whether to ask again, when, and what the ledger calls it."""

import random
import re

import openai

from inference.models import LedgerEntry

__all__ = ["UnreadableReplyError", "error_name", "may_have_run", "outcome_of", "pause_s", "rejects_response_format"]

_RETRIED_STATUSES = frozenset({408, 409, 425, 429})
_FIRST_SERVER_ERROR = 500
_LONGEST_PAUSE_S = 30.0
_CODE = re.compile(r"[a-z0-9_.-]{1,40}", re.IGNORECASE)


class UnreadableReplyError(Exception):
    """The endpoint said 200 and sent something that is no chat completion."""


def outcome_of(error: Exception) -> LedgerEntry.Outcome:
    timed_out = isinstance(error, openai.APITimeoutError)
    return LedgerEntry.Outcome.TIMED_OUT if timed_out else LedgerEntry.Outcome.FAILED


def error_name(error: Exception) -> str:
    """Return class, HTTP status and the provider's code, never its message: that may quote the prompt."""
    if isinstance(error, UnreadableReplyError):
        return "UnreadableReply"
    if not isinstance(error, openai.APIStatusError):
        return type(error).__name__
    code = error.code if error.code and _CODE.fullmatch(error.code) else ""
    return f"{type(error).__name__} {error.status_code} {code}".rstrip()


def may_have_run(error: Exception) -> bool:
    """Return whether the provider may charge for a request that failed so: it was slow, or its reply was garbled."""
    return isinstance(error, openai.APITimeoutError | UnreadableReplyError)


def pause_s(error: Exception, *, after: int, first_s: float) -> float | None:
    """Return how long to wait before asking again once `after` requests failed, or None when asking is no use.

    The endpoint's own wish comes first, up to half a minute; else the pause doubles from `first_s`.
    """
    if not _is_passing(error):
        return None
    demanded = _retry_after_s(error)
    if demanded is not None:
        return demanded if demanded <= _LONGEST_PAUSE_S else None
    delay = min(first_s * 2.0 ** (after - 1), _LONGEST_PAUSE_S)
    return delay * random.uniform(0.75, 1.0)  # noqa: S311 - spreads retries, guards nothing


def _is_passing(error: Exception) -> bool:
    """Return whether the failure may pass by itself."""
    if isinstance(error, openai.APIStatusError):
        if error.code == "insufficient_quota":
            return False
        return error.status_code in _RETRIED_STATUSES or error.status_code >= _FIRST_SERVER_ERROR
    return isinstance(error, openai.APIConnectionError | UnreadableReplyError)


def _retry_after_s(error: Exception) -> float | None:
    """Return the pause the endpoint asks for in seconds; None where it names none, or only a date."""
    if not isinstance(error, openai.APIStatusError):
        return None
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if seconds >= 0 else None


def rejects_response_format(error: Exception) -> bool:
    if not isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
        return False
    said = f"{error.message} {error.body}".lower()
    return "response_format" in said or "json_schema" in said
