"""What a run's page draws, from values alone: slices, pass^k, distributions, flips, gates, comparisons."""

import itertools
import math
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evals.gate import GatePolicy, judge
from evals.gate.pairs import pair_trials
from evals.readings import CaseReading, RunReadings
from evals.reporting import RunReport, build_report, compare
from evals.reporting.gates import gate_lines
from evals.reporting.reliability import reliability
from evals.reporting.slices import change_interval
from evals.reporting.spread import median_interval, spread
from tests.evals.gate_runs import build, cases, good_change, index_of

POLICY = GatePolicy()


def reported(readings: RunReadings, policy: GatePolicy = POLICY) -> RunReport:
    """Return the report of a run, judged by the real gate."""
    verdict = judge(readings, policy).as_json()
    splits = {}
    for split in sorted({case.split for case in readings.cases}):
        own = tuple(case for case in readings.cases if case.split == split)
        ids = {case.case_id for case in own}
        as_verify = tuple(
            CaseReading(case.case_id, case.cluster, case.intent, case.kind, is_target=case.is_target,
                        is_protected=case.is_protected)
            for case in own
        )  # fmt: skip
        splits[split] = RunReadings("fixes", as_verify, tuple(one for one in readings.trials if one.case_id in ids))
    labels = {
        case.case_id: {"name": case.case_id, "case": case.case_id, "split": case.split} for case in readings.cases
    }
    return build_report(splits, labels, verdict, policy)


@pytest.fixture(scope="module")
def readings() -> RunReadings:
    return build(cases(holdout=24), good_change)


@pytest.fixture(scope="module")
def report(readings: RunReadings) -> RunReport:
    return reported(readings)


def summary(report: RunReport, kind: str) -> Any:
    return next(line for line in report.summaries if line.kind == kind)


def test_protected_line__ends_where_the_gate_has_its_bound(readings: RunReadings, report: RunReport) -> None:
    numbers = judge(readings, POLICY).gate("protected").numbers
    line = summary(report, "protected")

    assert line.lower == pytest.approx(numbers["lower_bound"])
    assert line.mean == pytest.approx(numbers["mean"])
    assert (line.clusters, line.cases, line.pairs) == (160, 160, 480)


def test_target_and_holdout_lines__have_the_gates_means_and_their_own_split(
    readings: RunReadings, report: RunReport
) -> None:
    verdict = judge(readings, POLICY)

    assert summary(report, "target").mean == pytest.approx(verdict.gate("target").numbers["effect"])
    assert summary(report, "holdout").mean == pytest.approx(verdict.gate("holdout").numbers["effect"])
    assert summary(report, "holdout").split == "holdout"
    assert summary(report, "all").cases == 184  # the hold-out has a line of its own


def test_intents__are_all_there_with_the_largest_loss_first() -> None:
    def play(case: CaseReading, arm: str, number: int) -> bool:
        return not (case.intent == "intent-07" and arm == "candidate" and index_of(case) < 40)

    report = reported(build(cases(), play))

    assert report.intents[0].name == "intent-07"
    assert (report.intents[0].mean, report.intents[0].broken, report.intents[0].cases) == (-0.25, 2, 8)
    assert len(report.intents) == 21
    assert {line.name for line in report.intents if line.is_target} == {"refund"}
    assert all(line.is_gated for line in report.intents)


def test_interval__nothing_changed_anywhere__is_not_called_certain() -> None:
    def at(n: int) -> Any:
        pairs = pair_trials(build(cases(target=0, protected=n), lambda case, arm, number: True), "verify", 3).quality
        return change_interval(pairs, 0.95)

    few, many = at(12), at(160)

    assert few.mean == many.mean == 0.0
    assert few.lower == pytest.approx(-few.upper)
    assert few.lower < -0.2 < many.lower < -0.01  # near the rule of three, 3/n


def test_interval__without_a_pair__is_none() -> None:
    assert change_interval((), 0.95) is None


@given(st.lists(st.tuples(st.lists(st.booleans(), min_size=1, max_size=5)), min_size=1, max_size=6))
def test_reliability__any_outcomes__is_what_counting_every_choice_of_k_trials_gives(
    outcomes: list[tuple[list[bool]]],
) -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        own = outcomes[index_of(case)][0]
        return {"success": arm == "candidate" and own[number - 1]} if number <= len(own) else {"dropped": True}

    readings = build(cases(target=0, protected=len(outcomes)), play, k=5)
    lines = {line.k: line for line in reliability("all", pair_trials(readings, "verify", 5).quality)}

    assert sorted(lines) == list(range(1, max(len(own) for (own,) in outcomes) + 1))
    for k, line in lines.items():
        choices = [list(itertools.combinations(own, k)) for (own,) in outcomes if len(own) >= k]
        expected = math.fsum(sum(map(all, own)) / len(own) for own in choices) / len(choices)
        assert line.candidate == pytest.approx(expected)
        assert (line.baseline, line.cases) == (0.0, len(choices))


@pytest.mark.parametrize("n", [1, 4, 5, 17, 60, 3_000])
def test_median_interval__ends__are_the_binomials_order_statistics(n: int) -> None:
    values = [float(value) for value in range(n)]

    bounds = median_interval(values[::-1], 0.95)

    j = int((stats.binom.cdf(range(n), n, 0.5) <= 0.05).sum())
    assert bounds == ((values[j - 1], values[n - j]) if j else None)
    assert (bounds is None) == (n < 5)


def test_spread__slower_candidate__has_medians_ratio_and_limit() -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        base = 500.0 + 10 * index_of(case) + number
        return {"latency_ms": base * (1.2 if arm == "candidate" else 1.0), "cost_usd": 0.0}

    report = reported(build(cases(target=0), play))
    [latency] = report.spreads  # nobody spent anything

    assert latency.ratio == pytest.approx(1.2, abs=1e-3)
    assert latency.ratio_lower is not None
    assert latency.ratio_upper is not None
    assert latency.ratio_lower <= latency.ratio <= latency.ratio_upper
    assert (latency.limit, latency.unit, latency.clusters) == (1.10, "ms", 160)
    assert latency.candidate.median == pytest.approx(1.2 * latency.baseline.median)
    assert latency.baseline.median == pytest.approx(median(500 + 10 * i + 2 for i in range(160)))


def test_spread__latency_of_one_arm_only__is_not_compared() -> None:
    readings = build(cases(target=0), lambda case, arm, n: {"latency_ms": 9.0 if arm == "baseline" else 0.0})

    assert spread(pair_trials(readings, "verify", 3).quality, "latency_ms", POLICY) is None


def crashing(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
    """The candidate crashes in one case and loses one to infrastructure; it breaks one and fixes one."""
    index, arm_is_candidate = index_of(case), arm == "candidate"
    fields = {
        0: {"success": False, "crashed": arm_is_candidate},
        1: {"success": True, "dropped": arm_is_candidate and number == 1},
        2: {"success": not arm_is_candidate},
        3: {"success": arm_is_candidate or number == 1},
        4: {"success": True, "critical_violations": ("never",) if arm_is_candidate else ()},
    }
    return dict(fields.get(index, {"success": True}))


def test_cases__crashed_and_dropped_trials__are_counted_beside_and_never_as_flips() -> None:
    report = reported(build(cases(target=0, protected=8), crashing))
    lines = {line.name: line for line in report.cases}

    assert [line.name for line in report.broken] == ["protected-2"]
    assert [line.name for line in report.fixed] == ["protected-3"]
    assert [(line.name, line.outcome, line.pairs) for line in report.crashed] == [("protected-0", "not_compared", 0)]
    assert [(line.name, line.num_dropped, line.pairs) for line in report.dropped] == [("protected-1", 1, 2)]
    assert lines["protected-2"].is_complete
    assert not lines["protected-3"].is_complete
    assert lines["protected-4"].violations == 3
    assert lines["protected-3"].change == pytest.approx(2 / 3)


def test_report__of_another_split_only__reads_what_there_is() -> None:
    rows = tuple(case for case in cases(target=0, protected=0, holdout=24))
    report = reported(build(rows, good_change))

    assert report.split == "holdout"
    assert {line.kind for line in report.summaries} == {"target", "all"}


def test_report__of_nothing__is_empty() -> None:
    report = build_report({}, {}, {}, POLICY)

    assert (report.gates, report.summaries, report.spreads, report.cases) == ((), (), (), ())


def test_gates__each_one_passed__meets_all_its_limits(report: RunReport) -> None:
    assert len(report.gates) == 16
    limits = [(gate.name, one.label) for gate in report.gates for one in gate.measures if one.is_met is False]
    assert [name for name, _ in limits if name != "effect"] == []
    unmeasured = {gate.name for gate in report.gates if not gate.measures}
    assert unmeasured == {"judge", "escalation"}  # no model judged, no case requires a hand-off


@pytest.mark.parametrize("claim", ["cheaper", "faster", "simplifies", "enables"])
def test_gates__every_claim__has_its_numbers_against_limits(claim: str) -> None:
    gates = {gate.name: gate for gate in reported(build(cases(holdout=24), good_change, claim=claim)).gates}

    assert gates["target"].verdict != "pass"
    assert gates["target"].measures
    assert any(not one.is_met for one in gates["target"].measures)


def test_gates__every_one_that_refuses_by_a_number__has_a_limit_that_is_not_met() -> None:
    def play(case: CaseReading, arm: str, number: int) -> dict[str, Any]:
        worse = arm == "candidate"
        return {
            "success": not worse, "latency_ms": 2_000.0 if worse else 1_000.0, "cost_usd": 0.02 if worse else 0.01,
            "escalated": not worse, "critical_violations": ("never",) if worse else (),
            "crashed": worse and index_of(case) % 3 == 0,
        }  # fmt: skip

    rows = tuple(
        CaseReading(case.case_id, case.cluster, case.intent, case.kind, is_target=case.is_target,
                    is_protected=case.is_protected, requires_escalation=True)
        for case in cases()
    )  # fmt: skip
    report = reported(build(rows, play, shared_passages=("target-1",), static_findings=("two layers",)))
    refusing = [gate for gate in report.gates if gate.verdict != "pass" and gate.name != "holdout"]

    assert {gate.name for gate in refusing} >= {
        "static", "target", "protected", "slices", "latency", "cost", "safety", "escalation", "crashes", "leakage",
    }  # fmt: skip
    for gate in refusing:
        assert any(one.is_met is False for one in gate.measures), gate


def test_gates__of_another_time__come_without_limits() -> None:
    stored = {"gates": [{"name": "charm", "verdict": "hold", "sentence": "hold: more charm.", "numbers": {"x": 1}},
                        {"name": "target", "verdict": "fail", "sentence": "fail: no."}]}  # fmt: skip

    charm, target = gate_lines(stored)

    assert (charm.measures, charm.words) == ((), "more charm.")
    assert [one.is_met for one in target.measures] == [None, None, None]


def test_compare__two_candidates__shows_gates_slices_and_changed_cases(report: RunReport) -> None:
    def worse(case: CaseReading, arm: str, number: int) -> bool:
        return good_change(case, arm, number) and not (case.case_id == "protected-5" and arm == "candidate")

    other = reported(build(cases(holdout=0), worse))
    comparison = compare(other, report)

    changed = {one.this.name: one.change for one in comparison.cases}
    assert changed == {"protected-5": -1.0}
    assert (len(comparison.worse), len(comparison.better), comparison.both) == (1, 0, 184)
    holdout = next(gate for gate in comparison.gates if gate.name == "holdout")
    assert (holdout.this, holdout.other) == ("hold", "pass")
    assert {one.label: one.this for one in holdout.measures}["exact p"] is None
    clusters = next(one for gate in comparison.gates if gate.name == "protected" for one in gate.measures)
    assert (clusters.this, clusters.other, clusters.change) == (160, 160, 0)
    [fresh] = [one for one in comparison.slices if one.kind == "holdout"]
    assert fresh.this is None
    assert fresh.other is not None
