"""Jobs of evals: couriers between the queue and the run."""

from typing import Any

from django.db.models import Count, F, Q

from accounts.acting import MACHINE
from accounts.exceptions import DomainError
from evals.freezing import active_benchmark, begin_run
from evals.models import Run
from evals.playing import curate_benchmark, play, runner_for
from evals.verdicts import conclude
from harness.models import Agent
from jobs.models import Task
from jobs.tasks import enqueue, job
from proposals.models import Proposal

__all__ = ["play_run", "validate_next", "validate_next_of", "watch_runs"]


MAX_FAILED_RUNS = 3


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


@job(queue="runs", timeout_s=1_800)
def validate_next_of(agent_id: str) -> None:
    """Curate the stable version, then begin the run of the proposal that waits longest.

    A repeat finds the slot taken and does nothing. Proposals whose base moved are left to their authors.
    """
    agent = Agent.objects.get(pk=agent_id)
    if agent.stable is None or _about_to_move().filter(agent=agent).exists():
        return
    proposal = _next_playable(Proposal.objects.filter(agent=agent, base_id=agent.stable_id).awaiting_validation())
    if proposal is None:
        return
    with runner_for(agent) as runner:
        curate_benchmark(agent.stable, active_benchmark(agent), runner)
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
    for run in Run.objects.unfinished().select_related("proposal"):
        tasks = Task.objects.filter(name=play_run.name, key=str(run.pk))
        if tasks.unfinished().exists():
            continue
        last = tasks.order_by("-id").first()
        if last is not None and last.state == Task.State.FAILED:
            run.fail(by=MACHINE, reason=f"it could not be played: {last.last_error}")
        else:
            enqueue(play_run, str(run.pk), key=str(run.pk))


@job(queue="runs", timeout_s=3_600)
def play_run(run_id: str) -> None:
    """Play what is missing and judge. A repeat continues where the last one stopped; a judged run is left alone."""
    run = Run.objects.select_related("agent", "baseline", "candidate", "proposal", "benchmark").get(pk=run_id)
    if run.status == Run.Status.QUEUED:
        run.start(by=MACHINE)
    if run.status != Run.Status.RUNNING:
        return
    try:
        with runner_for(run.agent) as runner:
            while True:
                play(run, runner, still_wanted=lambda: is_running(run_id))
                if not is_running(run_id) or conclude(run) == "judged":
                    return
    except DomainError as refusal:
        run.fail(by=MACHINE, reason=str(refusal))
        raise


def is_running(run_id: str) -> bool:
    """Return whether nobody canceled the run meanwhile."""
    return Run.objects.filter(pk=run_id, status=Run.Status.RUNNING).exists()
