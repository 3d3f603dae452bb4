"""Benchmarks and the runs that play a harness on them."""

from evals.models.benchmark import Benchmark, Case, CurationTrial
from evals.models.run import LeakRelease, Result, Run, RunCase

__all__ = ["Benchmark", "Case", "CurationTrial", "LeakRelease", "Result", "Run", "RunCase"]
