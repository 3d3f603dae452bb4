"""What benchmarks and runs refuse."""

from accounts.exceptions import DomainError

__all__ = ["BenchmarkMissingError", "HoldoutSpentError", "OwnChangeError", "RunnerError", "UnfrozenError"]


class BenchmarkMissingError(DomainError):
    """The agent has no active benchmark, or it has no cases to play."""

    code = "benchmark_missing"


class HoldoutSpentError(DomainError):
    """The hold-out was looked at as often as the policy allows; rotate it."""

    code = "holdout_spent"


class UnfrozenError(DomainError):
    """A run plays only cases that were frozen for it."""

    code = "unfrozen"


class RunnerError(DomainError):
    """The agent's endpoint cannot be played."""

    code = "runner"
    http_status = 502


class OwnChangeError(DomainError):
    """Whoever wrote a change does not decide when its exam is over, nor what is in it."""

    code = "own_change"
    http_status = 403
