"""Benchmarks and the runs that play a harness on them."""

from evals.models.benchmark import Benchmark, Case, CurationTrial
from evals.models.drafting import DraftRound
from evals.models.judging import JudgeCalibration, JudgeLabel, JudgeRubric, JudgeVerdict
from evals.models.matrix import Matrix
from evals.models.run import LeakRelease, Result, Run, RunCase
from evals.models.simulation import SimulationCalibration

__all__ = [
    "Benchmark", "Case", "CurationTrial", "DraftRound", "JudgeCalibration", "JudgeLabel", "JudgeRubric",
    "JudgeVerdict", "LeakRelease", "Matrix", "Result", "Run", "RunCase", "SimulationCalibration",
]  # fmt: skip
