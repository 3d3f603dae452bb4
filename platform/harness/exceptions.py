"""What agents, versions, changes and keys refuse."""

from accounts.exceptions import DomainError

__all__ = [
    "AgentFrozenError",
    "AlreadyBootstrappedError",
    "ChangeMovedError",
    "InvalidKeyError",
    "SelfApprovalError",
    "StableMovedError",
    "TombstonedError",
]


class AgentFrozenError(DomainError):
    """The agent is frozen: nothing new is released until a person lifts it."""

    code = "agent_frozen"


class AlreadyBootstrappedError(DomainError):
    """The agent already has a stable version; the next one comes through a release."""

    code = "already_bootstrapped"


class ChangeMovedError(DomainError):
    """What is in force is no longer what the change was proposed against, or not what its approver read."""

    code = "change_moved"


class StableMovedError(DomainError):
    """The stable version is not the one the caller expected."""

    code = "stable_moved"


class SelfApprovalError(DomainError):
    """Nobody judges their own change."""

    code = "self_approval"
    http_status = 403


class InvalidKeyError(DomainError):
    """The key's form, scopes or owner do not fit."""

    code = "invalid_key"
    http_status = 422


class TombstonedError(DomainError):
    """The version's bytes were destroyed by an erasure; it can no longer be served."""

    code = "tombstoned"
    http_status = 410
