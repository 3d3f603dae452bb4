"""Who judges: the team's agent of level 2, resolved as every agent is, and the model that answers for it."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from accounts.acting import Actor, acting
from accounts.exceptions import DomainError
from evals.judges.asking import FRAME, ROLE
from evals.judges.document import JUDGE_DOCUMENT
from evals.judges.noting import note_rubrics
from evals.models import Benchmark, Run
from harness.canonical import digest_of
from harness.models import Agent, HarnessVersion
from harness.registration import add_agent
from inference.configuration import Configuration
from inference.exceptions import NotConfiguredError

__all__ = ["Judge", "JudgeMissingError", "appoint_judge", "current_judge", "judge_agent", "judge_of_run", "run_judge"]


class JudgeMissingError(DomainError):
    """Cases have a rubric, and nobody is there to judge by it."""

    code = "judge_missing"


@dataclass(frozen=True)
class Judge:
    """One version of the judge and the model it speaks through: together what a calibration is of."""

    version: HarnessVersion
    model: str

    @property
    def digest(self) -> str:
        """Return the digest of all that could change a grade: the document, the model, how the question is put."""
        return digest_of({"document": self.version.digest, "model": self.model, "frame": FRAME})

    @property
    def document(self) -> dict[str, Any]:
        return dict(self.version.document)


def judge_agent(agent: Agent) -> Agent | None:
    """Return the agent that judges `agent`: its team's first one of level 2. A judge has none but people."""
    if agent.level == Agent.Level.JUDGE:
        return None
    return Agent.objects.filter(team_id=agent.team_id, level=Agent.Level.JUDGE).order_by("pk").first()


def current_judge(agent: Agent) -> Judge:
    """Return the judge that would be asked now. Raises `JudgeMissingError` where none is appointed, or no model answers."""
    own = judge_agent(agent)
    if own is None:
        raise JudgeMissingError(
            f"Nobody judges by a rubric at agent {agent.slug!r}: "
            + (
                "it is the judge itself, which people alone judge. Take the rubrics out of its cases."
                if agent.level == Agent.Level.JUDGE
                else "appoint a judge on a rubric's page, or take the rubrics out of its cases."
            )
        )
    served = import_string(settings.HARNESS_RESOLVER)(own.slug, served=False)
    version = HarnessVersion.objects.get(agent=own, digest=served.digest)
    named = version.document.get("model", {}).get("name")
    try:
        return Judge(version, named or Configuration.from_settings().model_for(ROLE))
    except NotConfiguredError as error:
        raise JudgeMissingError(
            f"{own.slug!r} judges agent {agent.slug!r}, but no model answers for it. {error}"
        ) from error


@transaction.atomic
def appoint_judge(agent: Agent, *, by: Actor, reason: str) -> Agent:
    """Give the agent's team a judge with the shipped document. Its later versions are people's, as those of any agent."""
    known = judge_agent(agent)
    if known is not None:
        raise DomainError(f"{known.slug!r} judges for {agent.team} already: change its document by a proposal.")
    if agent.level == Agent.Level.JUDGE:
        raise DomainError(f"{agent.slug!r} is a judge: people alone judge it.")
    slug = f"{agent.team.slug[:54]}-judge"
    with acting(by, reason=reason):
        judge = add_agent(
            team=agent.team, slug=slug, name=f"Judge of {agent.team}"[:120], by=by, reason=reason,
            purpose="Grades replies by rubrics; decides only where it agrees with people.",
        )  # fmt: skip
        judge.level = Agent.Level.JUDGE
        judge.save(update_fields=["level"])
        judge.bootstrap(JUDGE_DOCUMENT, by=by, reason=reason)
    return judge


def run_judge(benchmark: Benchmark) -> dict[str, Any]:
    """Return the fields by which a new run fixes its judge for both arms; empty where no case of the exam has a rubric."""
    judged = benchmark.cases.active().exclude(split="dev").filter(expectations__has_key="rubric")
    expectations = list(judged.values_list("expectations", flat=True))
    if not expectations:
        return {}
    note_rubrics(benchmark.agent, expectations)
    judge = current_judge(benchmark.agent)
    return {"judge_version": judge.version, "judge_model": judge.model, "judge_digest": judge.digest}


def judge_of_run(run: Run) -> Judge:
    """Return the judge the run has fixed."""
    if run.judge_version is None:
        raise JudgeMissingError(f"{run} has a case with a rubric and fixed no judge when it began: begin another run.")
    return Judge(run.judge_version, run.judge_model)
