"""An agent whose exam has rubrics, the judge of its team, and a model behind it."""

import copy
from types import SimpleNamespace

import pytest
from django.test import override_settings

from accounts.acting import MACHINE, acting
from episodes.models import Intent
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.judges.appointing import appoint_judge, current_judge, run_judge
from evals.judges.noting import note_verdicts
from evals.judges.rubric import read_rubric
from evals.models import JudgeRubric, Result, Run, RunCase
from tests.conftest import make_agent, make_cast
from tests.console.world import make_episode, make_proposal
from tests.evals.judges.model import grading, serve_model

RUBRIC = {"name": "refund", "text": "The reply says how a refund is made."}
CASES = 12


@pytest.fixture(scope="package")
def served():
    with serve_model() as server:
        yield server


def model_settings(server):
    """Return the settings under which the server answers for every role."""
    return {
        "INFERENCE_ENDPOINT": server.url, "INFERENCE_API_KEY": "none", "INFERENCE_MODELS": {"default": "small"},
        "INFERENCE_PRICES": {"small": (1, 1), "large": (2, 2)}, "INFERENCE_DAILY_BUDGET_USD": 5,
        "INFERENCE_MAX_ATTEMPTS": 2, "INFERENCE_RETRY_DELAY_S": 0.01, "INFERENCE_TIMEOUT_S": 10,
    }  # fmt: skip


@pytest.fixture
def model(served, settings):
    """The model, asked for nothing yet; it finds everything good."""
    for name, value in model_settings(served).items():
        setattr(settings, name, value)
    served.asked.clear()
    served.answer = grading(lambda _: 1)
    return served


def make_exam(agent, by, *, number=4, expectations=None):
    """An active benchmark of `number` verify cases with the rubric."""
    made = create_benchmark(agent, name="exam", description="", by=by)
    with acting(MACHINE, reason="set up"):
        Intent.objects.get_or_create(agent=agent, slug="refund", defaults={"name": "Refund", "state": "live"})
    items = [
        {"name": f"refund-{n}", "kind": "success", "split": "verify", "intent": "refund",
         "messages": [{"role": "user", "content": f"How do I get my money back, way {n}?"}],
         "expectations": expectations or {"rubric": RUBRIC}}
        for n in range(number)
    ]  # fmt: skip
    add_cases(made, items, by=by)
    activate_drafts(made, by=by, reason="reviewed")
    return made


def make_world():
    """A run of the engineer's proposal with a frozen case for each of the exam's; `judged` gives it results."""
    cast = make_cast()
    agent = make_agent(cast.team, cast.administrator, "shop-desk")
    exam = make_exam(agent, cast.approver.as_actor(), number=CASES)
    appoint_judge(agent, by=cast.administrator.as_actor(), reason="somebody must")
    episode = make_episode(agent)
    proposal = make_proposal(agent, episode, author=cast.engineer)
    proposal.submit(by=cast.engineer.as_actor(), reason="ready")
    proposal.begin_validation(by=MACHINE)
    proposal.refresh_from_db()
    run = Run(
        agent=agent, benchmark=exam, proposal=proposal, baseline=proposal.base, candidate=proposal.candidate,
        **run_judge(exam),
    )  # fmt: skip
    run.save()
    rows = [
        RunCase(
            run=run, case=case, split=case.split, messages=case.messages, expectations=case.expectations, weight=1,
            cluster=case.cluster, kind=case.kind, intent_slug="refund", is_target=True,
        )
        for case in exam.cases.order_by("pk")
    ]  # fmt: skip
    RunCase.objects.bulk_create(rows)
    return SimpleNamespace(
        cast=cast, agent=agent, exam=exam, run=run, proposal=proposal, episode=episode,
        rubric=JudgeRubric.objects.get(agent=agent), judge=current_judge(agent),
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(lasting, served):
    """One world for all tests of a module."""
    with override_settings(**model_settings(served)):
        return make_world()


@pytest.fixture
def world(built, model, db):
    return copy.deepcopy(built)


@pytest.fixture
def cast(world):
    return world.cast


@pytest.fixture
def agent(world):
    return world.agent


@pytest.fixture
def exam(world):
    return world.exam


@pytest.fixture
def judge(world):
    return world.judge


def judged(world, grades, *, arm="candidate", text="Money comes back <b>soon</b>."):
    """Store one result a grade of the judge, over the run's cases in turn; return them in order."""
    rows = list(world.run.run_cases.order_by("pk"))
    known = world.run.results.filter(arm=arm).count()
    digest = read_rubric(RUBRIC).digest
    made = []
    for number, grade in enumerate(grades, start=known):
        said = {
            "judge": world.judge.digest,
            "rubric": digest,
            "grade": grade,
            "rationale": "<i>because</i> so",
            "call": "",
        }
        made.append(
            Result(
                run=world.run, run_case=rows[number % len(rows)], arm=arm, trial=number // len(rows),
                harness_digest="0" * 64, score=1000 * grade, passed=bool(grade), output={"text": text}, judgment=said,
            )
        )  # fmt: skip
    Result.objects.bulk_create(made)
    note_verdicts(world.run)
    return made
