"""What a run may spend on being played, what it has spent, and the sentence that says what is missing. Pure."""

from dataclasses import dataclass

__all__ = ["Spending"]


@dataclass
class Spending:
    """One run's money and time. `played` counts results that were paid for, `missing` what is still to be played."""

    budget_usd: float | None
    budget_s: float | None
    usd: float = 0.0
    seconds: float = 0.0
    played: int = 0
    missing: int = 0

    def count(self, cost_usd: float, *, paid: bool = True) -> None:
        """Count one more result; one that was paid for elsewhere costs nothing here."""
        self.missing -= 1
        if paid:
            self.played += 1
            self.usd += cost_usd

    @property
    def is_spent(self) -> bool:
        """Whether something is left to play and nothing to play it with."""
        return self.missing > 0 and (self._money_is_spent or self._time_is_spent)

    @property
    def sentence(self) -> str:
        """Return what was spent, what is missing and what to do, as the run's page shows it."""
        lines = []
        if self._money_is_spent:
            lines.append(
                f"The run has spent ${self.usd:.2f} of the ${self.budget_usd:.2f} it may spend"
                f"{self._still_needed('money')}."
            )
        if self._time_is_spent:
            lines.append(
                f"The run was played for {_duration(self.seconds)} of the {_duration(self.budget_s or 0.0)} it may take"
                f"{self._still_needed('time')}."
            )
        total = self.played + self.missing
        lines.append(
            f"{self.missing} of {total} results are missing; what was played is kept. Resume the run with a larger "
            "allowance, or cancel it."
        )
        return " ".join(lines)

    @property
    def _money_is_spent(self) -> bool:
        return self.budget_usd is not None and self.usd >= self.budget_usd

    @property
    def _time_is_spent(self) -> bool:
        return self.budget_s is not None and self.seconds >= self.budget_s

    def _still_needed(self, what: str) -> str:
        if not self.played:
            return ""
        if what == "money":
            return f", and needs about ${self.usd / self.played * self.missing:.2f} more"
        return f", and needs about {_duration(self.seconds / self.played * self.missing)} more"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
