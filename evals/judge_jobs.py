"""Jobs of judges: asking about what people labeled, and about episodes for them to label. Couriers only."""

from evals.judges.measuring import draw_episodes, judge_labeled
from evals.models import JudgeRubric
from jobs.tasks import job

__all__ = ["calibrate_anew", "draw_for_labeling"]


@job(queue="runs", timeout_s=3_600)
def calibrate_anew(rubric_id: str) -> None:
    """Ask the present judge about every labeled item and measure it. A repeat asks only about what is missing."""
    judge_labeled(JudgeRubric.objects.select_related("agent").get(pk=rubric_id))


@job(queue="runs", timeout_s=3_600)
def draw_for_labeling(rubric_id: str, number: int) -> None:
    """Ask the present judge about some episodes. A repeat, after a crash, may ask about as many more; none twice."""
    draw_episodes(JudgeRubric.objects.select_related("agent").get(pk=rubric_id), number)
