"""Two recorded variants of an agent on the same tasks, judged by the gate as one run that was played elsewhere."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from accounts.ids import uuid7
from evals.conversing.standing import Standing
from evals.external.items import PostedTrial, read_item
from evals.external.reading import result_of
from evals.external.sizes import Missing, missing_sizes
from evals.external.trajectories import Recorded, TrajectoriesError
from evals.gate import GatePolicy, judge
from evals.models import Case, Result, RunCase
from evals.readings import RunReadings, Verdict
from evals.verdicts import case_reading, trial_reading

__all__ = ["Ended", "JudgedPair", "LeftOut", "Side", "judge_pair"]

type _Key = tuple[str, int]


@dataclass(frozen=True)
class Side:
    """One arm: its variant, and how its trajectories on the shared tasks ended."""

    variant: str
    runs: int
    passed: int
    failed: int
    crashed: int
    dropped: int


@dataclass(frozen=True)
class Ended:
    """A run that ended by an error: the agent's own, or that of what it ran on."""

    arm: Literal["baseline", "candidate"]
    task: str
    trial: int
    how: str
    error: str


@dataclass(frozen=True)
class LeftOut:
    """A pair of trials that was not judged, and why."""

    task: str
    trial: int
    reason: str
    baseline: str
    candidate: str


@dataclass(frozen=True)
class JudgedPair:
    """The verdict on a pair with everything a reader needs to check it.

    `fixed` and `broken` name tasks whose share of passed trials rose or fell, where neither arm crashed. `missing` says
    what the policy's sizes ask beyond what was recorded; while anything is missing the verdict is a hold.
    """

    overall: str
    sentence: str
    verdict: Verdict
    baseline: Side
    candidate: Side
    tasks: int
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    crashes: tuple[Ended, ...]
    drops: tuple[Ended, ...]
    left_out: tuple[LeftOut, ...]
    only_baseline: tuple[str, ...]
    only_candidate: tuple[str, ...]
    missing: tuple[Missing, ...]
    overrides: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the pair as plain JSON; the gates as the platform stores them with a run."""
        plain = {name: value for name, value in asdict(self).items() if name not in {"verdict", "overall"}}
        reading = self.verdict.as_json()
        return {"verdict": self.overall} | plain | {"gates": reading["gates"], "policy": reading["policy"]}


def judge_pair(
    base: tuple[str, Sequence[Recorded]], candidate: tuple[str, Sequence[Recorded]], policy: GatePolicy
) -> JudgedPair:
    """Judge `candidate` against `base`, each the name of a variant with its trajectories, on the tasks both played.

    Nobody proposed anything, so the claim is that the candidate is better on these tasks, of which each is a case and a
    cluster of its own. Recorded pairs have no curation trials, no traffic and no hold-out: where the policy asks for
    them, it is held.
    """
    arms = {"baseline": _by_key(base[1]), "candidate": _by_key(candidate[1])}
    tasks = {arm: {task for task, _ in rows} for arm, rows in arms.items()}
    shared = tasks["baseline"] & tasks["candidate"]
    if not shared:
        raise TrajectoriesError(
            f"{base[0]!r} and {candidate[0]!r} have no task in common: there is nothing to compare."
        )
    left_out = _unlike(arms, shared)
    posted = [
        _posted(recorded, arm, is_left_out=key in left_out)
        for arm, rows in arms.items()
        for key, recorded in rows.items()
        if key[0] in shared
    ]
    domains = {recorded.task: recorded.domain for recorded in arms["baseline"].values()}
    rows = {task: _run_case(task, domains[task]) for task in sorted(shared)}
    results = [result_of(rows[one.case], one, digest="", scored_outside=True) for one in posted]
    readings = RunReadings(
        claim="fixes", cases=tuple(case_reading(row, Standing({})) for row in rows.values()),
        trials=tuple(trial_reading(result) for result in results),
    )  # fmt: skip
    verdict = judge(readings, policy)
    missing = missing_sizes(readings, verdict, policy)
    fixed, broken = _changes(results)
    return JudgedPair(
        overall="hold" if missing else verdict.overall,
        sentence=_sentence(verdict, missing),
        verdict=verdict,
        baseline=_side(base[0], arms["baseline"], shared), candidate=_side(candidate[0], arms["candidate"], shared),
        tasks=len(shared), fixed=fixed, broken=broken,
        crashes=_ended(arms, shared, "crashed"), drops=_ended(arms, shared, "dropped"),
        left_out=tuple(left_out[key] for key in sorted(left_out)),
        only_baseline=tuple(sorted(tasks["baseline"] - shared)),
        only_candidate=tuple(sorted(tasks["candidate"] - shared)),
        missing=missing, overrides=policy.overrides(),
    )  # fmt: skip


def _by_key(rows: Iterable[Recorded]) -> dict[_Key, Recorded]:
    return {(row.task, row.trial): row for row in rows}


def _unlike(arms: dict[str, dict[_Key, Recorded]], shared: set[str]) -> dict[_Key, LeftOut]:
    """Return the pairs that were played under unlike conditions: with injected faults in one arm only."""
    found = {}
    for key in arms["baseline"].keys() & arms["candidate"].keys():
        one, other = arms["baseline"][key], arms["candidate"][key]
        if key[0] in shared and one.fault != other.fault:
            where = "baseline" if one.fault else "candidate"
            reason = f"faults were injected into the tools' answers in the {where}'s run only"
            found[key] = LeftOut(*key, reason, _end_of(one), _end_of(other))
    return found


def _posted(recorded: Recorded, arm: str, *, is_left_out: bool) -> PostedTrial:
    item = {**recorded.item, "arm": arm}
    if is_left_out:
        kept = {name: item[name] for name in ("case", "arm", "trial")}
        item = kept | {"dropped": True, "error": "played under unlike conditions"}
    return read_item(item, scored_outside=True)


def _run_case(task: str, domain: str) -> RunCase:
    """Return the case of a task, never saved: its key is the task's own name, by which every gate then calls it."""
    return RunCase(
        pk=task, run_id=uuid7(), split=Case.Split.VERIFY, intent_slug=domain, is_target=True, messages=[],
        expectations={}, weight=1.0, cluster=task, kind=Case.Kind.SUCCESS,
    )  # fmt: skip


def _changes(results: Iterable[Result]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tasks that came out better and those that came out worse, over trials in which neither arm crashed."""
    ends: dict[str, dict[int, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        if not result.crashed and not result.dropped:
            ends[str(result.run_case_id)][result.trial][result.arm] = result.passed
    change = {
        task: sum(pair["candidate"] - pair["baseline"] for pair in trials.values() if len(pair) == 2)
        for task, trials in ends.items()
    }
    fixed, broken = ([task for task in sorted(change) if sign * change[task] > 0] for sign in (1, -1))
    return tuple(fixed), tuple(broken)


def _ended(arms: dict[str, dict[_Key, Recorded]], shared: set[str], how: str) -> tuple[Ended, ...]:
    return tuple(
        Ended(arm, *key, recorded.ended, str(recorded.item["error"]))  # type: ignore[arg-type]  # the two arms
        for arm, rows in arms.items()
        for key, recorded in sorted(rows.items())
        if key[0] in shared and recorded.item[how]
    )


def _side(variant: str, rows: dict[_Key, Recorded], shared: set[str]) -> Side:
    ends = [_end_of(recorded) for (task, _), recorded in rows.items() if task in shared]
    return Side(variant, len(ends), *(ends.count(end) for end in ("passed", "failed", "crashed", "dropped")))


def _end_of(recorded: Recorded) -> str:
    item = recorded.item
    return next((how for how in ("crashed", "dropped") if item[how]), "passed" if item.get("passed") else "failed")


def _sentence(verdict: Verdict, missing: Sequence[Missing]) -> str:
    """Return what decides: the sizes while they are not reached, else the gates."""
    if not missing:
        advised = [gate.name for gate in verdict.gates if "advised" in gate.numbers]
        waived = f" Overridden by policy, and so not decided: {', '.join(advised)}." if advised else ""
        return verdict.sentence + waived
    words = f"hold: too small for this policy, which asks for {'; '.join(one.words for one in missing)}."
    refused = replace(verdict, overall="fail").sentence if verdict.overall == "fail" else ""
    return f"{words} On what there is it would be refused: {refused}" if refused else words
