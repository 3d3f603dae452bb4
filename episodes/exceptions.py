"""What capture and judging refuse."""

from accounts.exceptions import DomainError

__all__ = [
    "AdoptionMovedError",
    "BadCorrectionError",
    "BadIntentError",
    "BadOutcomeError",
    "BatchTooLargeError",
    "NothingToAdoptError",
    "UnreadableBatchError",
    "UntrustedSourceError",
]


class BatchTooLargeError(DomainError):
    """More episodes or bytes in one request than the door takes."""

    code = "too_large"
    http_status = 413


class UnreadableBatchError(DomainError):
    """Nothing in the request could be read as an episode."""

    code = "unreadable"
    http_status = 422


class BadOutcomeError(DomainError):
    """The outcome does not have the form it needs."""

    code = "invalid_outcome"
    http_status = 422


class UntrustedSourceError(DomainError):
    """The reporter may not speak as this source."""

    code = "untrusted_source"
    http_status = 403


class BadCorrectionError(DomainError):
    """The correction says nothing, or speaks about episodes it cannot cover."""

    code = "invalid_correction"
    http_status = 422


class BadIntentError(DomainError):
    """The intent is not defined well enough to recognize anything by it."""

    code = "invalid_intent"
    http_status = 422


class NothingToAdoptError(DomainError):
    """The agent's traces show nothing of a harness, or nothing that is not served already."""

    code = "nothing_to_adopt"


class AdoptionMovedError(DomainError):
    """What the traces show, or what is stable, is no longer what the person read."""

    code = "adoption_moved"
