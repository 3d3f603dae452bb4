"""Why a body or a single record is not taken. Pure."""

__all__ = ["BadRecordError", "UnreadableError"]


class UnreadableError(ValueError):
    """The whole body cannot be read; the sentence says what was found and what to send instead."""


class BadRecordError(ValueError):
    """One span or log record cannot be taken; the others can."""
