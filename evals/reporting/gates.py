"""Set each gate's numbers against their limits: what a reviewer compares before reading a sentence."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from evals.readings import Decision

__all__ = ["GateLine", "Measure", "Unit", "gate_lines"]

type Relation = Literal["<", "<=", ">", ">=", "="]
type Unit = Literal["count", "p", "share", "pp", "ratio", "ms", "number"]
type Numbers = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a gate beside what it is held against; `is_met` is `None` where either is not known.

    A limit that `asks` refuses nothing: beyond it more people must look.
    """

    label: str
    value: float | None
    relation: Relation
    limit: float | None
    unit: Unit
    asks: bool = False

    @property
    def is_met(self) -> bool | None:
        if self.value is None or self.limit is None:
            return None
        match self.relation:
            case "<":
                return self.value < self.limit
            case "<=":
                return self.value <= self.limit
            case ">":
                return self.value > self.limit
            case ">=":
                return self.value >= self.limit
            case "=":
                return self.value == self.limit


@dataclass(frozen=True, slots=True)
class GateLine:
    """One gate as a row: its verdict, its numbers against their limits, its sentence, and every number it stored."""

    name: str
    verdict: Decision
    sentence: str
    measures: tuple[Measure, ...]
    numbers: dict[str, Any]

    @property
    def words(self) -> str:
        """Return the sentence without the verdict it begins with, which the row shows by itself."""
        return self.sentence.removeprefix(f"{self.verdict}:").strip()


def gate_lines(reading: Mapping[str, Any]) -> list[GateLine]:
    """Return a row for each gate of a stored verdict; gates and numbers of another time come without limits."""
    policy = reading.get("policy") or {}
    return [
        GateLine(
            name=gate["name"], verdict=gate["verdict"], sentence=gate.get("sentence", ""),
            measures=tuple(_measures(gate["name"], gate.get("numbers") or {}, policy)), numbers=gate.get("numbers") or {},
        )
        for gate in reading.get("gates", ())
    ]  # fmt: skip


def _measures(name: str, numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    read = _READERS.get(name)
    return iter(()) if read is None else read(numbers, policy)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _length(value: object) -> float | None:
    return float(len(value)) if isinstance(value, list | tuple | dict) else None


def _measure(label: str, value: object, relation: Relation, limit: object, unit: Unit) -> Measure:
    return Measure(label, _number(value), relation, _number(limit), unit)


def _static(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield _measure("findings", _length(numbers.get("findings")), "=", 0, "count")


def _infrastructure(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield _measure("dropped or not played", numbers.get("share"), "<=", numbers.get("allowed"), "share")


def _judge(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    if numbers.get("judged"):
        yield _measure("kappa", numbers.get("kappa"), ">=", policy.get("judge_kappa"), "number")
        yield _measure("its lower end", numbers.get("kappa_lower"), ">=", policy.get("judge_kappa_lower"), "number")
        yield _measure("human labels", numbers.get("labels"), ">=", policy.get("judge_labels"), "count")
        yield _measure("gap between arms", numbers.get("arm_gap"), "<=", policy.get("judge_arm_gap"), "pp")


def _target(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    match numbers.get("claim"):
        case "simplifies":
            yield _measure("lines", numbers.get("lines_after"), "<", numbers.get("lines_before"), "count")
        case "enables":
            yield _measure("cases", numbers.get("cases"), ">=", numbers.get("cases_needed"), "count")
            yield _measure("of them failing", _length(numbers.get("failed_cases")), "=", 0, "count")
        case "cheaper" | "faster":
            yield _measure("clusters", numbers.get("clusters"), ">=", numbers.get("clusters_needed"), "count")
            yield _measure(
                "upper bound of the ratio", numbers.get("ratio_upper"), "<", numbers.get("ratio_wanted"), "ratio"
            )
        case _:
            yield _measure("clusters", numbers.get("clusters"), ">=", numbers.get("clusters_needed"), "count")
            yield _measure("exact p", numbers.get("p"), "<=", numbers.get("alpha"), "p")
            yield _measure("mean change", numbers.get("effect"), ">", 0, "pp")


def _protected(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    margin = _number(numbers.get("margin"))
    yield _measure("clusters", numbers.get("clusters"), ">=", numbers.get("clusters_needed"), "count")
    yield _measure("lower bound", numbers.get("lower_bound"), ">", None if margin is None else -margin, "pp")


def _slices(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield _measure("joint p of the worst", numbers.get("p"), ">", numbers.get("alpha"), "p")
    yield _measure("broken intents", _length(numbers.get("broken")), "=", 0, "count")


def _coverage(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield _measure("traffic covered", numbers.get("covered"), ">=", numbers.get("needed"), "share")


def _latency(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield _measure("upper bound of the ratio", numbers.get("ratio_upper"), "<", numbers.get("ratio_allowed"), "ratio")
    yield _measure("or mean increase", numbers.get("mean_change"), "<=", numbers.get("floor_ms"), "ms")


def _cost(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    limit = numbers.get("ratio_person" if numbers.get("person") else "ratio_allowed")
    yield _measure("upper bound of the ratio", numbers.get("ratio_upper"), "<", limit, "ratio")


def _safety(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield _measure("critical violations", numbers.get("violations"), "=", 0, "count")


def _escalation(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    if numbers.get("cases"):
        yield _measure("p of a loss", numbers.get("p"), ">", numbers.get("alpha"), "p")
        yield _measure("cases no longer escalated", _length(numbers.get("lost_cases")), "=", 0, "count")
    if numbers.get("lower_bound") is not None:
        margin = _number(policy.get("protected_margin"))
        yield _measure("lower bound of recall", numbers["lower_bound"], ">", None if margin is None else -margin, "pp")


def _crashes(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield _measure("exact p", numbers.get("p"), ">", numbers.get("alpha"), "p")


def _holdout(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    if not numbers.get("needed"):
        return
    yield _measure("earlier looks", numbers.get("looks"), "<", numbers.get("look_budget"), "count")
    if not numbers.get("clusters"):
        return
    yield _measure("fresh clusters", numbers.get("clusters"), ">=", numbers.get("clusters_needed"), "count")
    if "ratio_upper" in numbers:
        yield _measure("upper bound of the ratio", numbers["ratio_upper"], "<", 1, "ratio")
    else:
        yield _measure("exact p", numbers.get("p"), "<=", numbers.get("alpha"), "p")
        yield _measure("mean change", numbers.get("effect"), ">", 0, "pp")


def _effect(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    yield replace(
        _measure("overall gain", numbers.get("overall_gain"), "<", policy.get("effect_person"), "pp"), asks=True
    )


def _leakage(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    if numbers.get("p") is not None:
        yield _measure("p of the gap", numbers["p"], ">=", numbers.get("alpha"), "p")
    yield _measure("cases sharing a passage", _length(numbers.get("shared_passages")), "=", 0, "count")


def _false_discovery(numbers: Numbers, policy: Numbers) -> Iterator[Measure]:
    share = _measure("promotions that may be luck", numbers.get("fdp"), "<=", numbers.get("limit"), "share")
    yield replace(share, asks=True)


_READERS: Mapping[str, Callable[[Numbers, Numbers], Iterator[Measure]]] = {
    "static": _static, "infrastructure": _infrastructure, "judge": _judge, "target": _target, "protected": _protected,
    "slices": _slices, "coverage": _coverage, "latency": _latency, "cost": _cost, "safety": _safety,
    "escalation": _escalation, "crashes": _crashes, "holdout": _holdout, "effect": _effect, "leakage": _leakage,
    "false_discovery": _false_discovery,
}  # fmt: skip
