"""Build the report of a judged run: everything its page draws, in one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.gate.pairs import Pair, Pairing, pair_trials
from evals.gate.policy import GatePolicy
from evals.readings import RunReadings
from evals.reporting.cases import CaseLine, case_lines
from evals.reporting.gates import GateLine, gate_lines
from evals.reporting.reliability import Reliability, reliability
from evals.reporting.slices import SliceLine, intent_lines, slice_line
from evals.reporting.spread import Spread, spread

__all__ = ["RunReport", "build_report"]

# The split whose slices and distributions the gate reads; a run without it is read on what it has.
MAIN_SPLIT = "verify"


@dataclass(frozen=True, slots=True)
class RunReport:
    """What came of a run. Differences are candidate - baseline; shares are of one.

    `split` is the one that summaries, intents, reliability and distributions speak of; the hold-out has its own line.
    `confidence` holds for each end of each interval by itself, `margin` is what the protected cases may lose.
    """

    split: str
    confidence: float
    margin: float
    look: int
    gates: tuple[GateLine, ...]
    summaries: tuple[SliceLine, ...]
    intents: tuple[SliceLine, ...]
    reliability: tuple[Reliability, ...]
    spreads: tuple[Spread, ...]
    cases: tuple[CaseLine, ...]

    @property
    def fixed(self) -> list[CaseLine]:
        """Return the cases that pass more often than before, the largest gain first."""
        return sorted(
            (line for line in self.cases if line.outcome == "fixed"), key=lambda line: (-line.change, line.name)
        )

    @property
    def broken(self) -> list[CaseLine]:
        """Return the cases that pass less often than before, the largest loss first."""
        return sorted(
            (line for line in self.cases if line.outcome == "broken"), key=lambda line: (line.change, line.name)
        )

    @property
    def crashed(self) -> list[CaseLine]:
        """Return the cases in which the agent crashed in a trial of either arm."""
        return [line for line in self.cases if line.num_crashed]

    @property
    def dropped(self) -> list[CaseLine]:
        """Return the cases of which infrastructure lost a trial in either arm."""
        return [line for line in self.cases if line.num_dropped]

    def gate(self, name: str) -> GateLine | None:
        """Return the line of the named gate, `None` where the verdict has none of that name."""
        return next((gate for gate in self.gates if gate.name == name), None)


def build_report(
    splits: Mapping[str, RunReadings], labels: Mapping[str, Mapping[str, str]], reading: Mapping[str, Any],
    policy: GatePolicy,
) -> RunReport:  # fmt: skip
    """Return the report of the run whose readings are given split by split; `reading` is its stored verdict.

    `labels` says of each frozen case its `name`, benchmark `case` and `split`. Trials pair as they do in the gate.
    """
    look = int(reading.get("look") or 1)
    pairings = {split: pair_trials(one, "verify", policy.trials) for split, one in splits.items()}
    lines = {split: case_lines(one, pairings[split].quality, labels) for split, one in splits.items()}
    main = MAIN_SPLIT if MAIN_SPLIT in splits else next(iter(sorted(splits)), MAIN_SPLIT)
    pairs = pairings[main].quality if main in pairings else ()
    gates = tuple(gate_lines(reading))
    return RunReport(
        split=main, confidence=policy.protected_confidence_at(look), margin=policy.protected_margin, look=look,
        gates=gates, summaries=tuple(_summaries(main, pairings, lines, policy, look)),
        intents=tuple(intent_lines(main, pairs, lines.get(main, ()), policy, _gated(gates), look=look)),
        reliability=tuple(
            line
            for group, own in (("all", pairs), ("target", _target(pairs)), ("protected", _protected(pairs)))
            for line in reliability(group, own)
        ),
        spreads=tuple(
            found for metric in ("latency_ms", "cost_usd") if (found := spread(pairs, metric, policy)) is not None
        ),
        cases=tuple(line for split in sorted(lines) for line in lines[split]),
    )  # fmt: skip


def _target(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.case.is_target]


def _protected(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.case.is_protected]


def _summaries(
    main: str, pairings: Mapping[str, Pairing], lines: Mapping[str, Sequence[CaseLine]], policy: GatePolicy, look: int
) -> list[SliceLine]:
    """Return the lines above the intents: target, hold-out, protected and all cases, as far as there are any."""
    pairs = pairings[main].quality if main in pairings else ()
    own = lines.get(main, ())
    found = [
        slice_line("target", "Target", main, _target(pairs), [one for one in own if one.is_target], policy, look=look),
        *(
            slice_line("holdout", "Fresh hold-out", split, pairings[split].quality, lines[split], policy, look=look)
            for split in pairings
            if split == "holdout" != main
        ),
        slice_line(
            "protected",
            "Protected",
            main,
            _protected(pairs),
            [one for one in own if one.is_protected],
            policy,
            look=look,
        ),
        slice_line("all", "All cases", main, pairs, own, policy, look=look),
    ]
    return [line for line in found if line is not None]


def _gated(gates: Sequence[GateLine]) -> frozenset[str]:
    """Return the intents that the slices gate looked at, by its own numbers."""
    shown = next((gate.numbers.get("slices") for gate in gates if gate.name == "slices"), None) or {}
    return frozenset(name for name, one in shown.items() if one.get("gated"))
