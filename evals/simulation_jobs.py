"""The job that calibrates simulated users."""

from evals.conversing.calibrating import calibrate_simulation
from evals.models import Benchmark
from evals.playing import runner_for
from jobs.tasks import job

__all__ = ["calibrate_simulation_of"]


@job(queue="runs", timeout_s=1_800)
def calibrate_simulation_of(benchmark_id: str) -> None:
    """Play and compare a benchmark's simulated users. A repeat plays the same talks again and adds rows that say so."""
    benchmark = Benchmark.objects.select_related("agent__stable").get(pk=benchmark_id)
    with runner_for(benchmark.agent) as runner:
        calibrate_simulation(benchmark, runner)
