"""Judged runs with every kind of trial: fixed, broken, crashed, dropped, with a violation, on the fresh hold-out."""

import copy
from types import SimpleNamespace

import pytest

from accounts.acting import MACHINE, acting
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.gate import GatePolicy, judge
from evals.gate.policy import PROFILES
from evals.models import Case, Result, Run, RunCase
from evals.readings import CaseReading, RunReadings, TrialReading
from tests.conftest import make_agent, make_cast
from tests.console.world import build_world

QUESTION, ANSWER, SAID = "Is there a <i>student</i> discount", "ten percent", "It is <b>ten percent</b> with a card."
STEPS = [
    {"kind": "tool_call", "name": "lookup_price", "input": {"code": "secret-code"}, "output": "9"},
    {"kind": "tool_call", "name": "check_card", "input": {}, "output": "ok"},
]
TRIALS = 2
# Of each group: how many cases of it, their intent and split, and what the candidate makes of them.
GROUPS = {
    "lost": (3, "returns", "verify"), "won": (6, "where-is-it", "verify"), "same": (8, "returns", "verify"),
    "crashing": (1, "returns", "verify"), "unlucky": (1, "", "verify"), "fresh": (4, "where-is-it", "holdout"),
}  # fmt: skip


def outcome(group, number, arm, trial):
    """Return the fields of a trial's result."""
    new = arm == "candidate"
    good = {
        "lost": not new or (number == 2 and trial == 0), "won": new, "same": True, "crashing": not new, "unlucky": True,
        "fresh": new,
    }[group]  # fmt: skip
    if group == "crashing" and new:
        return {"crashed": True, "rationale": "tool loop of the secret card"}
    if group == "unlucky" and new and trial == 1:
        return {"dropped": True, "rationale": "no route to the secret host"}
    return {
        "passed": good, "score": 1000 * good, "latency_ms": 100.0 + 10 * number + 5 * new, "cost_usd": 0.001 * (1 + new),
        "violations": ["says what it must not"] if group == "same" and number == 7 and new else [],
        "rationale": f"lacks {ANSWER}" if not good else "says what it must", "steps": STEPS[::-1] if new else STEPS,
        "output": {"text": SAID if good else "I cannot help.", "handoff": not good},
    }  # fmt: skip


def make_run(agent, benchmark, proposal, candidate, *, groups=tuple(GROUPS), played=1.0):
    """Freeze the benchmark's cases of these groups and store a share of their results."""
    with acting(MACHINE, reason="a run to look at"):
        run = Run(
            agent=agent, benchmark=benchmark, proposal=proposal, baseline=agent.stable, candidate=candidate,
            gate_policy=PROFILES["demo"].as_mapping(), trials=TRIALS,
        )  # fmt: skip
        run.save()
    cases = [case for case in benchmark.cases.select_related("intent").order_by("name") if group_of(case) in groups]
    rows = RunCase.objects.bulk_create(
        RunCase(
            run=run, case=case, split=case.split, intent_slug=case.intent.slug if case.intent else "",
            is_target=bool(case.intent and case.intent.slug == "where-is-it"), is_protected=group_of(case) in ("same", "lost"),
            messages=case.messages, user_state={"items": ["a"]}, expectations=case.expectations, weight=1,
            cluster=case.cluster, kind=case.kind,
        )
        for case in cases
    )  # fmt: skip
    results = [
        Result(
            run=run, run_case=row, arm=arm, trial=trial, harness_digest="0" * 64,
            **{"score": 0, "passed": False} | outcome(group_of(row.case), number_of(row.case), arm, trial),
        )
        for trial in range(TRIALS)
        for row in rows
        for arm in ("baseline", "candidate")
    ]  # fmt: skip
    Result.objects.bulk_create(results[: round(played * len(results))])
    with acting(MACHINE, reason="planned"):
        run.num_planned = len(results)
        run.save(update_fields=["num_planned"])
    run.start(by=MACHINE)
    return run


def group_of(case):
    return case.name.split("-")[0]


def number_of(case):
    return int(case.name.split("-")[1])


def conclude(run):
    """Judge the run with the real gate, as far as it can be without a proposal."""
    cases = tuple(
        CaseReading(str(row.pk), row.cluster, row.intent_slug, row.kind, row.split, is_target=row.is_target,
                    is_protected=row.is_protected)
        for row in run.run_cases.all()
    )  # fmt: skip
    trials = tuple(
        TrialReading(str(one.run_case_id), one.arm, one.trial, one.score, success=one.passed, crashed=one.crashed,
                     latency_ms=one.latency_ms or 0.0, cost_usd=one.cost_usd or 0.0, dropped=one.dropped,
                     critical_violations=tuple(one.violations))
        for one in run.results.all()
    )  # fmt: skip
    verdict = judge(RunReadings("fixes", cases, trials, attempts=3), GatePolicy.from_mapping(run.gate_policy))
    reading = verdict.as_json() | {"sentence": verdict.sentence}
    run.judge(verdict=verdict.overall, reading=reading, by=MACHINE)
    return run


@pytest.fixture(scope="module")
def built(lasting):
    """A judged run of a proposal, a later one without any, one that is being played, and the other team's."""
    cast = make_cast()
    agent = make_agent(cast.team, cast.administrator, "shop-desk")
    world = build_world(agent, cast.second_engineer)
    agent.refresh_from_db()
    examiner = cast.approver.as_actor()
    with acting(MACHINE, reason="set up"):
        type(world.intent).objects.create(agent=agent, slug="returns", name="Returns", state="live")
    benchmark = create_benchmark(agent, name="exam of runs", description="", by=examiner)
    items = [
        {
            "name": f"{group}-{n}", "kind": "edge", "split": split, "intent": intent, "cluster": f"{group}-{n}",
            "messages": [{"role": "user", "content": f"{QUESTION}, way {n}?"}], "expectations": {"contains": [ANSWER]},
        }
        for group, (number, intent, split) in GROUPS.items()
        for n in range(number)
    ]  # fmt: skip
    add_cases(benchmark, items, by=examiner)
    activate_drafts(benchmark, by=examiner, reason="reviewed")
    candidate = world.run.candidate
    run = conclude(make_run(agent, benchmark, world.proposal, candidate))
    later = conclude(make_run(agent, benchmark, None, candidate, groups=("lost", "same", "won")))
    live = make_run(agent, benchmark, None, candidate, played=0.5)
    foreign = build_world(make_agent(cast.other_team, cast.outsider, "warehouse-desk"), cast.outsider)
    return SimpleNamespace(cast=cast, agent=agent, run=run, later=later, live=live, foreign=foreign.run, world=world)


@pytest.fixture
def runs(built, db):
    return copy.deepcopy(built)


@pytest.fixture
def cast(runs):
    return runs.cast


@pytest.fixture
def row_of(runs):
    """Return a frozen case of the judged run by its name."""
    return lambda name: runs.run.run_cases.get(case=Case.objects.get(name=name))
