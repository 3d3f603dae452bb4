"""What releases and serving refuse."""

from accounts.exceptions import DomainError

__all__ = [
    "ApprovalMissingError",
    "NothingStableError",
    "PlanMovedError",
    "PreconditionError",
    "RampBusyError",
    "ReleaseRefusedError",
    "StillServedError",
    "UnavailableError",
    "VelocityError",
]


class ReleaseRefusedError(DomainError):
    """The release lacks its evidence: an approved proposal, a run that passed, the version that was judged."""

    code = "release_refused"


class PlanMovedError(DomainError):
    """The approval names another plan than the one in force."""

    code = "plan_moved"


class RampBusyError(DomainError):
    """One live ramp per agent."""

    code = "ramp_busy"


class VelocityError(DomainError):
    """The agent changes faster than its policy allows."""

    code = "velocity"


class NothingStableError(DomainError):
    """The agent has no stable version to serve yet."""

    code = "nothing_stable"
    http_status = 404


class PreconditionError(DomainError):
    """`If-Match` does not name the current revision."""

    code = "precondition_failed"
    http_status = 412


class ApprovalMissingError(DomainError):
    """Not enough people have approved exactly this plan."""

    code = "approval_missing"


class StillServedError(DomainError):
    """Serving still hands out the version that is being rolled back."""

    code = "still_served"


class UnavailableError(DomainError):
    """The database does not answer and nothing was ever read from it."""

    code = "unavailable"
    http_status = 503
