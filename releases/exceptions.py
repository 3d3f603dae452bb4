"""What releases and serving refuse."""

from accounts.exceptions import DomainError

__all__ = [
    "NothingStableError",
    "PlanMovedError",
    "PreconditionError",
    "RampBusyError",
    "ReleaseRefusedError",
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
