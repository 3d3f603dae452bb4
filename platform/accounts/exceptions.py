"""Refusals that people and programs can act on."""

import re
from typing import ClassVar

__all__ = ["DomainError", "HistoryBypassError", "NotPermittedError", "without_values"]

_VALUES = re.compile(r"\n(?:DETAIL|LINE \d+|CONTEXT|QUERY):")


def without_values(error: BaseException) -> str:
    """Return what an error says up to where PostgreSQL begins to quote the row or the statement."""
    return _VALUES.split(str(error), maxsplit=1)[0]


class DomainError(Exception):
    """Something the domain refuses. The message says what, why and what to do; `code` is stable for programs."""

    code = "refused"
    http_status = 409
    retry_after_s: ClassVar[int | None] = None


class NotPermittedError(DomainError):
    """The actor lacks the permission this act needs."""

    code = "not_permitted"
    http_status = 403


class HistoryBypassError(DomainError):
    """A bulk write would have changed governed rows without leaving a history row."""

    code = "history_bypass"
    http_status = 500
