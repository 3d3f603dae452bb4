"""Make rows of what cases and results say by themselves: their rubrics, and the verdicts of their judge."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from evals.judges.material import Item
from evals.judges.rubric import read_rubric
from evals.models import JudgeRubric, JudgeVerdict, Result, Run
from evals.scoring import RUBRIC
from harness.models import Agent

__all__ = ["keep_verdict", "note_rubrics", "note_verdicts"]


def note_rubrics(agent: Agent, expectations: Iterable[Mapping[str, Any]]) -> None:
    """Keep every rubric that these expectations name, each wording once."""
    rubrics = {rubric.digest: rubric for one in expectations if RUBRIC in one for rubric in [read_rubric(one[RUBRIC])]}
    known = set(JudgeRubric.objects.filter(agent=agent, digest__in=rubrics).values_list("digest", flat=True))
    JudgeRubric.objects.bulk_create(
        [
            JudgeRubric(agent=agent, digest=digest, name=rubric.title, body=rubric.model_dump(mode="json"))
            for digest, rubric in rubrics.items()
            if digest not in known
        ],
        ignore_conflicts=True,
    )


def note_verdicts(run: Run) -> None:
    """Keep what the judge said of the run's results, for people to label beside it. Noting again adds what is new."""
    if not run.judge_digest:
        return
    rubrics = dict(JudgeRubric.objects.filter(agent_id=run.agent_id).values_list("digest", "pk"))
    judged = Result.objects.filter(run=run, judgment__isnull=False, judgeverdicts__isnull=True)
    JudgeVerdict.objects.bulk_create(
        [
            JudgeVerdict(
                rubric_id=rubrics[said["rubric"]], result_id=pk, judge_digest=said["judge"], grade=said["grade"],
                rationale=said["rationale"],
            )
            for pk, said in judged.values_list("pk", "judgment")
        ],
        ignore_conflicts=True,
    )  # fmt: skip


def keep_verdict(row: JudgeRubric, item: Item, *, judge_digest: str, grade: int, rationale: str) -> None:
    """Keep what a judge said of one item; what the same judge said before stays."""
    place: dict[str, UUID] = {"result_id": item.pk} if isinstance(item, Result) else {"episode_id": item.pk}
    verdict = JudgeVerdict(rubric=row, judge_digest=judge_digest, grade=grade, rationale=rationale, **place)
    JudgeVerdict.objects.bulk_create([verdict], ignore_conflicts=True)
