"""Jobs of evals: couriers between the queue and the run."""

from functools import partial
from typing import Any

from django.db.models import Count, F, Q

from accounts.acting import MACHINE
from accounts.exceptions import DomainError
from evals.comparing import prepare
from evals.exceptions import PlayingStoppedError
from evals.freezing import active_benchmark, begin_run
from evals.models import Run
from evals.playing import curate_benchmark, play
from evals.runners import runner_for
from evals.turns import Turn
from evals.verdicts import conclude
from harness.models import Agent
from inference.exceptions import BudgetExhaustedError
from jobs.models import Task
from jobs.tasks import enqueue, job, others_wait
from proposals.models import Proposal

__all__ = ["play_run", "validate_next", "validate_next_of", "watch_runs"]


MAX_FAILED_RUNS = 3
# Well beyond the longest turn and the trials that are under way when it ends.
TIMEOUT_S = 3_600


def validate_next() -> None:
    """Ask for the next validation at every agent where a proposal waits and the slot is free."""
    waiting = Proposal.objects.awaiting_validation().filter(
        agent__frozen_at__isnull=True, base_id=F("agent__stable_id")
    )
    for agent_id in (
        waiting.exclude(agent_id__in=_about_to_move()).order_by().values_list("agent_id", flat=True).distinct()
    ):
        enqueue(validate_next_of, str(agent_id), key=str(agent_id))


def _about_to_move() -> Any:
    """Return the agents that validate now, or whose stable version is about to move.

    A verdict against a baseline that a passed proposal is about to replace would be void on arrival.
    """
    ahead = Q(status__in=("validating", "validated", "approved")) | Q(status="released") & ~Q(
        candidate_id=F("agent__stable_id")
    )
    return Proposal.objects.filter(ahead).values("agent_id")


@job(queue="runs", timeout_s=TIMEOUT_S)
def validate_next_of(agent_id: str) -> None:
    """Curate the stable version, then begin the run of the proposal that waits longest.

    A repeat finds the slot taken and does nothing. Proposals whose base moved are left to their authors. Curates for a
    turn and queues anew behind others that wait.
    """
    agent = Agent.objects.get(pk=agent_id)
    if agent.stable is None or _about_to_move().filter(agent=agent).exists():
        return
    proposal = _next_playable(Proposal.objects.filter(agent=agent, base_id=agent.stable_id).awaiting_validation())
    if proposal is None:
        return
    if agent.runner == Agent.Runner.EXTERNAL:
        begin_run(proposal, by=MACHINE, reason="its turn; whoever plays it fetches the cases")
        return
    turn = Turn(partial(others_wait, validate_next_of, key=agent_id), width=agent.current_policy().playing.concurrency)
    with runner_for(agent) as runner:
        curate_benchmark(agent.stable, active_benchmark(agent), runner, still_wanted=turn.goes_on)
    if turn.is_over:
        enqueue(validate_next_of, agent_id, key=agent_id)
        return
    run = begin_run(proposal, by=MACHINE, reason="its turn")
    enqueue(play_run, str(run.pk), key=str(run.pk))


def _next_playable(waiting: Any) -> Proposal | None:
    """Return the first proposal whose runs do not always fail; hold the others where people see them."""
    failures = Count("runs", filter=Q(runs__status=Run.Status.FAILED, runs__baseline=F("base")))
    for proposal in waiting.annotate(num_failed_runs=failures):
        if proposal.num_failed_runs < MAX_FAILED_RUNS:
            return proposal  # type: ignore[no-any-return]  # the queryset is generic over Any
        last = Run.objects.filter(proposal=proposal, status=Run.Status.FAILED)[0]
        words = f"It could not be played {proposal.num_failed_runs} times, last: {last.error} Mend that, then resume."
        proposal.hold_unplayed(by=MACHINE, reason=words)
    return None


def watch_runs() -> None:
    """Give up on runs whose task failed for good, and ask again where no task is left: no run holds the slot for ever."""
    for run in Run.objects.playable().played_here().select_related("proposal"):
        tasks = Task.objects.filter(name=play_run.name, key=str(run.pk))
        if tasks.unfinished().exists():
            continue
        last = tasks.order_by("-id").first()
        if last is not None and last.state == Task.State.FAILED:
            run.fail(by=MACHINE, reason=f"it could not be played: {last.last_error}")
        else:
            enqueue(play_run, str(run.pk), key=str(run.pk))


@job(queue="runs", timeout_s=TIMEOUT_S)
def play_run(run_id: str) -> None:
    """Play what is missing and judge. A repeat continues where the last one stopped; a judged run is left alone.

    Plays for a turn: where others wait, it then queues anew behind them, so that many runs share few workers.
    """
    run = Run.objects.select_related("agent", "baseline", "candidate", "proposal", "benchmark").get(pk=run_id)
    if run.is_external:
        return
    if run.status == Run.Status.QUEUED:
        run.start(by=MACHINE)
    if run.status != Run.Status.RUNNING:
        return
    turn = Turn(partial(others_wait, play_run, key=run_id), width=run.as_playing().concurrency)
    try:
        with runner_for(run.agent, run.as_playing()) as runner:
            prepare(run, runner)
            while True:
                play(run, runner, still_wanted=turn.goes_on)
                if not is_running(run_id):
                    return
                if turn.is_over:
                    enqueue(play_run, run_id, key=run_id)
                    return
                if conclude(run) == "judged":
                    return
    except (PlayingStoppedError, BudgetExhaustedError) as spent:
        if is_running(run_id):
            run.stop(by=MACHINE, reason=str(spent))
    except DomainError as refusal:
        run.fail(by=MACHINE, reason=str(refusal))
        raise


def is_running(run_id: str) -> bool:
    """Return whether nobody canceled the run meanwhile."""
    return Run.objects.filter(pk=run_id, status=Run.Status.RUNNING).exists()
