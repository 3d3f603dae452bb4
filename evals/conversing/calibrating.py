"""Calibrate a benchmark's simulated users: play them, and compare with recorded conversations of the same intents."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import product
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef

from accounts.acting import current
from episodes.models import Conversation, Episode
from episodes.turns import Turn, turns_of
from evals.conversing.driver import converse
from evals.conversing.likeness import Likeness, Tolerance, compare
from evals.conversing.recorded import said_in_each
from evals.conversing.standing import manner_of
from evals.conversing.traits import Traits, traits_of
from evals.conversing.transcript import turns_said
from evals.exceptions import NoSimulationError
from evals.freezing import gate_policy_of
from evals.models import Benchmark, Case, SimulationCalibration
from evals.runners import InfrastructureError, Played, Runner
from harness.models import HarnessVersion
from inference.encoder import encode

__all__ = ["TRIALS", "calibrate_simulation", "simulated_cases", "stable_version"]

TRIALS = 3
_FIRST_SEED = 7_000
_ATTEMPTS = 3
_CONCURRENCY = 3
_MAX_RECORDED = 2_000


def simulated_cases(benchmark: Benchmark) -> list[Case]:
    """Return the simulated cases in use; refuse where there are none."""
    cases = list(benchmark.cases.active().simulated().select_related("intent", "benchmark__agent").order_by("pk"))
    if not cases:
        raise NoSimulationError(f"{benchmark} has no active case with a simulated user: there is nothing to calibrate.")
    return cases


def stable_version(benchmark: Benchmark) -> HarnessVersion:
    """Return what the agent serves: the version that recorded users talked to, so that only the users differ."""
    stable = benchmark.agent.stable
    if stable is None:
        raise NoSimulationError(f"{benchmark.agent} serves no version yet: bootstrap it, then calibrate.")
    return stable


def calibrate_simulation(benchmark: Benchmark, runner: Runner) -> list[SimulationCalibration]:
    """Play every simulated case in use, compare manner by manner, and store a row for each.

    Only recorded conversations that ended in a known way and were served by the version played are compared with.
    Seeds are fixed, so that asking again draws no better luck; more recorded conversations or other users do.
    """
    version, cases = stable_version(benchmark), simulated_cases(benchmark)
    policy = gate_policy_of(benchmark.agent)
    tolerance = Tolerance(policy.simulation_share, policy.simulation_ratio, policy.simulation_min_clusters)
    manners: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        found = manner_of(case.conversation)
        assert found is not None  # only simulated cases are asked for
        manners[found[0]] = found[1]
        groups[found[0]].append(case)
    rows = []
    for digest, group in groups.items():
        likeness = _likeness(group, version, runner, tolerance)
        rows.append(
            SimulationCalibration(
                benchmark=benchmark, manner_digest=digest, manner=manners[digest], harness_digest=version.digest,
                verdict=likeness.verdict, sentence=likeness.sentence, reading=likeness.as_mapping(),
                tolerance=asdict(tolerance), asked_by=current().actor.name,
            )
        )  # fmt: skip
    return SimulationCalibration.objects.bulk_create(rows)


def _likeness(cases: Sequence[Case], version: HarnessVersion, runner: Runner, tolerance: Tolerance) -> Likeness:
    talks = _simulated(cases, version, runner)
    intents = {case.intent_id for case in cases if case.intent_id is not None}
    recorded = _recorded(intents, version)
    said = [*(turns for _, _, turns in talks), *(turns for _, turns in recorded)]
    vectors = _vectors(said)
    simulated = [
        traits_of(
            turns, cluster=case.cluster, intent=str(case.intent_id), resolved=played.output["ended_by"] == "goal",
            handed_off=bool(played.output["handoff"]), vectors=vectors,
        )
        for case, played, turns in talks
    ]  # fmt: skip
    real = [
        traits_of(
            turns, cluster=row.subject or str(row.pk), intent=str(row.intent_id),
            resolved=row.resolution == Conversation.Resolution.RESOLVED,
            handed_off=row.resolution == Conversation.Resolution.ESCALATED, vectors=vectors,
        )
        for row, turns in recorded
    ]  # fmt: skip
    return compare(_there(simulated), _there(real), tolerance)


def _there(found: Iterable[Traits | None]) -> list[Traits]:
    return [one for one in found if one is not None]


def _simulated(cases: Sequence[Case], version: HarnessVersion, runner: Runner) -> list[tuple[Case, Played, list[Turn]]]:
    """Play the cases; a trial that infrastructure lost or in which the agent crashed shows nothing of its user."""

    def played(task: tuple[Case, int]) -> Played | None:
        case, trial = task
        for _ in range(_ATTEMPTS):
            try:
                return converse(runner, version.document, case, _FIRST_SEED + trial)
            except InfrastructureError:
                continue
        return None

    tasks = list(product(cases, range(TRIALS)))
    with ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="calibrate") as pool:
        results = list(pool.map(played, tasks))
    return [
        (case, result, [*_before(case), *turns_said(result.output)])
        for (case, _), result in zip(tasks, results, strict=True)
        if result is not None and not result.crashed
    ]


def _before(case: Case) -> list[Turn]:
    """Return what was said before the talk that was played; the opening is part of that."""
    turns = turns_of(case.messages)
    return turns[:-1] if turns and turns[-1].role == "user" else turns


def _recorded(intents: set[UUID], version: HarnessVersion) -> list[tuple[Conversation, list[Turn]]]:
    own = Episode.objects.filter(conversation_id=OuterRef("pk"))
    rows = list(
        Conversation.objects.filter(agent_id=version.agent_id, intent_id__in=intents)
        .settled().exclude(resolution=Conversation.Resolution.OPEN)
        .filter(Exists(own.filter(harness_digest=version.digest)))
        .exclude(Exists(own.exclude(harness_digest__in=(version.digest, ""))))
        .defer("embedding").order_by("-id")[:_MAX_RECORDED]
    )  # fmt: skip
    said = said_in_each(row.pk for row in rows)
    return [(row, said[row.pk]) for row in rows]


def _vectors(talks: Iterable[Sequence[Turn]]) -> Mapping[str, Any]:
    """Return the meanings of what users said who spoke more than once, for the detector of rephrasings."""
    texts: dict[str, None] = {}
    for turns in talks:
        said = [turn.text for turn in turns if turn.role == "user"]
        texts |= dict.fromkeys(said if len(said) > 1 else ())
    return dict(zip(texts, encode(list(texts)), strict=True)) if texts else {}
