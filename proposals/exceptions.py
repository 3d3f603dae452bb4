"""What the domain of small changes refuses."""

from accounts.exceptions import DomainError

__all__ = [
    "BaseMovedError",
    "EvidenceMissingError",
    "NotJudgedError",
    "ProposalRefusedError",
    "ValidationBusyError",
]


class ProposalRefusedError(DomainError):
    """The patch breaks one of the small-change laws."""

    code = "proposal_refused"
    http_status = 422


class EvidenceMissingError(DomainError):
    """A proposal names no episodes, or quotes something they do not say."""

    code = "evidence_missing"
    http_status = 422


class NotJudgedError(DomainError):
    """The approval does not name exactly what was judged."""

    code = "not_what_was_judged"


class BaseMovedError(DomainError):
    """The base of the proposal is no longer the stable version."""

    code = "base_moved"


class ValidationBusyError(DomainError):
    """Another proposal of this agent is being validated."""

    code = "validation_busy"
