"""Benchmarks and cases to keep, runs to follow and to understand number by number."""

from evals.admin.benchmarks import BenchmarkAdmin, CaseAdmin, CurationTrialAdmin, DraftRoundAdmin
from evals.admin.comparing import MatrixAdmin
from evals.admin.judging import JudgeCalibrationAdmin, JudgeLabelAdmin, JudgeRubricAdmin, JudgeVerdictAdmin
from evals.admin.runs import ResultAdmin, RunAdmin, RunCaseAdmin
from evals.admin.simulation import SimulationCalibrationAdmin

__all__ = [
    "BenchmarkAdmin", "CaseAdmin", "CurationTrialAdmin", "DraftRoundAdmin", "JudgeCalibrationAdmin",
    "JudgeLabelAdmin", "JudgeRubricAdmin", "JudgeVerdictAdmin", "MatrixAdmin", "ResultAdmin", "RunAdmin",
    "RunCaseAdmin", "SimulationCalibrationAdmin",
]  # fmt: skip
