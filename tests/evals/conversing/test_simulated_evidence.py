"""How much of a verdict is simulated, and what of it counts."""

from dataclasses import replace

import pytest

from evals.gate import judge
from evals.gate.policy import GatePolicy, GatePolicyError
from evals.readings import CaseReading, ReadingError, RunReadings
from tests.evals.gate_runs import build, cases, good_change, index_of


def run(simulation, number=10, **given):
    """Return a good change's run in which as many protected and target clusters have simulated users."""
    rows = [
        replace(case, simulation=simulation) if index_of(case) < number and case.split == "verify" else case
        for case in cases(target=40, protected=180, holdout=40)
    ]
    return build(rows, good_change, **given)


def clusters(verdict, gate):
    return verdict.gate(gate).numbers["clusters"]


def test_verdict__calibrated_users__count_and_are_named():
    readings = run("calibrated", calibrations=("Calibrated 2026-01-02: like the recorded ones within 15 pp and 25 %.",))

    verdict = judge(readings, GatePolicy())

    assert verdict.overall == "pass", verdict.sentence
    assert (clusters(verdict, "target"), clusters(verdict, "protected")) == (40, 180)
    assert "20 of 260 clusters are simulated users." in verdict.sentence
    assert "like the recorded ones within" in verdict.gate("simulation").sentence


def test_verdict__uncalibrated_users__are_played_and_prove_nothing():
    verdict = judge(run("uncalibrated"), GatePolicy())

    assert (clusters(verdict, "target"), clusters(verdict, "protected")) == (30, 170)
    assert (
        "20 of 260 clusters are simulated users, none counted until their simulation is calibrated." in verdict.sentence
    )


def test_verdict__too_little_without_them__holds_for_size():
    verdict = judge(run("uncalibrated", 20), GatePolicy(target_min_clusters=24))

    assert verdict.gate("target").verdict == "hold"
    assert "4 more target clusters (20 of 24)" in verdict.gate("target").sentence
    assert "simulated users" in verdict.sentence


@pytest.mark.parametrize(
    ("counts", "simulation", "target"), [("always", "uncalibrated", 40), ("never", "calibrated", 30)]
)
def test_policy__on_simulated_users__decides(counts, simulation, target):
    verdict = judge(run(simulation), GatePolicy(simulated_counts=counts))

    assert clusters(verdict, "target") == target
    assert ("by policy" in verdict.sentence) is True


def test_policy__uncounted_users__still_show_harm():
    case = CaseReading("simulated-0", "s0", "refund", simulation="uncalibrated", high_risk=True)
    rows = (*cases(target=40, protected=180), case)

    def play(one, arm, number):
        violates = one is case and arm == "candidate"
        return (
            {"success": True, "critical_violations": ("says what it must not",)}
            if violates
            else good_change(one, arm, number)
        )

    assert judge(build(rows, play), GatePolicy()).gate("safety").verdict == "fail"


def test_policy__uncounted_users__do_not_cover_traffic():
    rows = [
        replace(case, simulation="uncalibrated") if case.intent == "intent-00" else case
        for case in cases(target=40, protected=180)
    ]
    coverage = judge(build(rows, good_change), GatePolicy(coverage=1.0)).gate("coverage")

    assert (coverage.verdict, coverage.numbers["cases_missing"]) == ("hold", {"intent-00": 5})


def test_verdict__nobody_simulated__has_no_word_of_it():
    verdict = judge(run(""), GatePolicy())

    assert "simulat" not in verdict.sentence
    assert "simulation" not in {gate.name for gate in verdict.gates}


def broken(readings, share):
    trials = [
        replace(trial, broke_character=index_of_trial(trial) < share * 20 and trial.case_id.startswith("target"))
        for trial in readings.trials
    ]
    return replace(readings, trials=tuple(trials))


def index_of_trial(trial):
    return int(trial.case_id.rsplit("-", 1)[1])


def test_verdict__model_out_of_character__is_counted_and_holds_when_often():
    readings = run("calibrated", 20)

    often, seldom = judge(broken(readings, 0.5), GatePolicy()), judge(broken(readings, 0.05), GatePolicy())

    assert often.gate("simulation").verdict == "hold"
    assert "in 60 of 240 trials the model that played the user broke character" in often.sentence
    assert not often.wants_holdout
    assert "In 6 trials the user broke character." in seldom.gate("simulation").sentence


def test_readings__with_simulated_users__survive_json():
    readings = broken(run("calibrated", calibrations=("Calibrated.",)), 0.1)

    assert RunReadings.from_mapping(readings.as_mapping()) == readings


def test_readings__of_an_unknown_simulation__are_refused():
    with pytest.raises(ReadingError, match="simulation 'maybe'"):
        CaseReading("a", "a", "i", simulation="maybe")
    with pytest.raises(GatePolicyError, match="simulated_counts"):
        GatePolicy(simulated_counts="sometimes")
