"""Benchmarks and the runs that play a harness on them."""

from evals.models.benchmark import Benchmark, Case, CurationTrial
from evals.models.run import Result, Run, RunCase

__all__ = ["Benchmark", "Case", "CurationTrial", "Result", "Run", "RunCase"]
