"""What benchmarks and runs refuse."""

from accounts.exceptions import DomainError

__all__ = [
    "BenchmarkMissingError", "HoldoutSpentError", "NoLeakError", "OwnChangeError", "RunnerError", "TooFewFreshCasesError",
    "UnfrozenError",
]  # fmt: skip


class BenchmarkMissingError(DomainError):
    """The agent has no active benchmark, or it has no cases to play."""

    code = "benchmark_missing"


class HoldoutSpentError(DomainError):
    """The hold-out was looked at as often as the policy allows; rotate it."""

    code = "holdout_spent"


class TooFewFreshCasesError(DomainError):
    """A rotation needs as many fresh cases as leave the hold-out."""

    code = "too_few_fresh_cases"


class NoLeakError(DomainError):
    """People release a leak only where the gate held for one."""

    code = "no_leak"


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
