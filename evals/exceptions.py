"""What benchmarks and runs refuse."""

from accounts.exceptions import DomainError

__all__ = ["BenchmarkMissingError", "HoldoutSpentError", "RunnerError", "UnfrozenError"]


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
