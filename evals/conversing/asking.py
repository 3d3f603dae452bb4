"""Ask for the calibration of a benchmark's simulated users."""

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.record import record
from evals.conversing.calibrating import TRIALS, simulated_cases, stable_version
from evals.models import Benchmark
from evals.playing import runner_for
from evals.simulation_jobs import calibrate_simulation_of
from jobs.tasks import enqueue

__all__ = ["ask_for_calibration"]


@transaction.atomic
def ask_for_calibration(benchmark: Benchmark, *, by: Actor, reason: str) -> str:
    """Leave word that the simulated users be played and compared. People with an open proposal may not.

    What comes of it decides whether simulated cases count, and so is a part of the exam.
    """
    require(
        by, Permission.EDIT_BENCHMARK, benchmark.agent.access_scope(), act=f"calibrate the simulation of {benchmark}"
    )
    benchmark.refuse_examinees(by, "calibrate its simulated users")
    cases = simulated_cases(benchmark)
    stable_version(benchmark)
    with runner_for(benchmark.agent), acting(by, reason=reason):
        record(
            "benchmark.calibrate_simulation", benchmark, team_id=benchmark.agent.team_id, facts={"cases": len(cases)}
        )
        enqueue(calibrate_simulation_of, str(benchmark.pk), key=str(benchmark.pk))
    return f"{len(cases)} simulated cases are played {TRIALS} times each and compared with recorded conversations."
