"""What people ask of a judge: to be measured anew, and to grade episodes for labeling. Both cost calls, so jobs do them."""

from django.db import transaction

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from accounts.roles import Permission
from audit.record import record
from evals.judge_jobs import calibrate_anew, draw_for_labeling
from evals.judges.appointing import current_judge
from evals.judges.measuring import MAX_DRAWN
from evals.models import JudgeRubric
from jobs.tasks import enqueue

__all__ = ["ask_for_calibration", "ask_for_episodes"]


@transaction.atomic
def ask_for_calibration(row: JudgeRubric, *, by: Actor, reason: str = "") -> str:
    """Have the present judge grade every labeled item it has not graded, then measure it; the labels stay."""
    require(by, Permission.EDIT_BENCHMARK, row.access_scope(), act=f"have the judge measured on {row}")
    judge = current_judge(row.agent)
    with acting(by, reason=reason):
        record("judgerubric.calibrate", row, digest=judge.digest, team_id=row.agent.team_id)
        enqueue(calibrate_anew, str(row.pk), key=str(row.pk))
    return f"The judge {judge.version} is asked about what people labeled; its calibration follows."


@transaction.atomic
def ask_for_episodes(row: JudgeRubric, *, by: Actor, number: int, reason: str = "") -> str:
    """Have the present judge grade up to `number` episodes that people can then label without reading the exam."""
    require(by, Permission.EDIT_BENCHMARK, row.access_scope(), act=f"have episodes graded by {row}")
    if not 1 <= number <= MAX_DRAWN:
        raise DomainError(f"{number} episodes cannot be drawn at a time: ask for 1 to {MAX_DRAWN}.")
    judge = current_judge(row.agent)
    with acting(by, reason=reason):
        record("judgerubric.draw", row, digest=judge.digest, team_id=row.agent.team_id, facts={"episodes": number})
        enqueue(draw_for_labeling, str(row.pk), number, key=str(row.pk))
    return f"The judge {judge.version} grades {number} episodes; they then wait here to be labeled."
