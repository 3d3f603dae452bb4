"""What the record and the state machines refuse."""

from accounts.exceptions import DomainError

__all__ = ["ReasonMissingError", "TransitionRefusedError"]


class TransitionRefusedError(DomainError):
    """The row is not in a state from which this move leads on."""

    code = "transition_refused"


class ReasonMissingError(DomainError):
    """A decision came without its reason."""

    code = "reason_missing"
    http_status = 422
