"""Benchmarks and cases to keep, runs to follow and to understand number by number."""

from evals.admin.benchmarks import BenchmarkAdmin, CaseAdmin, CurationTrialAdmin
from evals.admin.runs import ResultAdmin, RunAdmin, RunCaseAdmin

__all__ = ["BenchmarkAdmin", "CaseAdmin", "CurationTrialAdmin", "ResultAdmin", "RunAdmin", "RunCaseAdmin"]
