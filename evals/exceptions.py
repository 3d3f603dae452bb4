"""What benchmarks and runs refuse."""

from accounts.exceptions import DomainError

__all__ = [
    "BenchmarkMissingError", "CaseUsedError", "ComparisonError", "ExternalRunError", "HoldoutSpentError",
    "NoLeakError", "NoSimulationError", "NotDraftError", "NotJudgedError", "OwnChangeError", "PlayingStoppedError",
    "RunnerError", "TooFewEpisodesError", "TooFewFreshCasesError", "UnfrozenError",
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


class NoSimulationError(DomainError):
    """The benchmark has no simulated users in use, or no version to play them against."""

    code = "no_simulation"


class NotJudgedError(DomainError):
    """A report is read from a verdict; a run that has none has its progress."""

    code = "not_judged"


class UnfrozenError(DomainError):
    """A run plays only cases that were frozen for it."""

    code = "unfrozen"


class PlayingStoppedError(DomainError):
    """A run cannot be played on for now: its budget is spent, or whoever plays does not answer."""

    code = "playing_stopped"


class RunnerError(DomainError):
    """The agent's runner cannot play, as it is set."""

    code = "runner"
    http_status = 502


class OwnChangeError(DomainError):
    """Whoever wrote a change does not decide when its exam is over, nor what is in it."""

    code = "own_change"
    http_status = 403


class CaseUsedError(DomainError):
    """A case that was played keeps its text."""

    code = "case_used"


class NotDraftError(DomainError):
    """Only drafts are labelled; a case in use is retired and written anew."""

    code = "not_draft"


class TooFewEpisodesError(DomainError):
    """A benchmark is started from episodes, and too few are captured yet."""

    code = "too_few_episodes"


class ComparisonError(DomainError):
    """These versions cannot be compared on these cases."""

    code = "comparison"
    http_status = 422


class ExternalRunError(DomainError):
    """A run that is not played elsewhere, or not any more, takes no results."""

    code = "external_run"
