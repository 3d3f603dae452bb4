"""Recorded variants of real agents on the same tasks, and made-up ones, through `judge_pair`."""

import gzip
import json
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from evals.external.pairs import judge_pair
from evals.external.trajectories import TrajectoriesError
from evals.gate import GatePolicy
from tests.evals.recorded import DATA, needs_data, read, run, small_set

POLICIES = Path(__file__).resolve().parents[2] / "docs" / "policies"
RETAIL, AIRLINE = "tau_bench/trajectories_retail.jsonl", "tau2_bench/simulations_airline.jsonl"
TELECOM, RETAIL2 = "tau2_bench/simulations_telecom.jsonl", "tau2_bench/simulations_retail.jsonl"
recorded = pytest.mark.skipif(bool(needs_data(TELECOM)), reason=needs_data(TELECOM) or "the data are there")
READ = cache(read)

# file, baseline, candidate, verdict at the lowered sizes, fixed, broken
PAIRS = [
    (RETAIL, "retail-base-toolcalling", "retail-assertions-pre+post", "fail", 2, 12),
    (RETAIL, "retail-base-toolcalling", "retail-assertions-pre-only", "fail", 4, 17),
    (RETAIL, "retail-base-toolcalling", "retail-preconditions-advice", "fail", 6, 7),
    (RETAIL, "retail-base-toolcalling", "grok-3-retail", "hold", 1, 1),
    (TELECOM, "gpt-4.1-solo|base", "gpt-4.1-solo|sft", "pass", 9, 1),
    (TELECOM, "gpt-4.1|base", "gpt-4.1|sft", "hold", 4, 0),
    (RETAIL2, "gpt-4.1|base", "gpt-4.1|sft", "hold", 4, 4),
    (AIRLINE, "gpt-4.1|base", "gpt-4.1|sft", "hold", 4, 2),
    (AIRLINE, "gpt-4o-2024-11-20|azure", "qwen2.5-7b|retries", "fail", 1, 8),
    (AIRLINE, "gpt-4o-2024-11-20|azure", "claude-opus-4-6|distyl", "pass", 8, 0),
]
NAMES = [f"{base} to {candidate}" for _, base, candidate, *_ in PAIRS]


def lowered(name="recorded-pairs"):
    return GatePolicy.from_mapping(json.loads((POLICIES / f"{name}.json").read_text()))


def judged(file, base, candidate, policy):
    found = READ(file)
    return judge_pair(found.chosen(base), found.chosen(candidate), policy)


@recorded
@pytest.mark.parametrize(("file", "base", "candidate", "verdict", "fixed", "broken"), PAIRS, ids=NAMES)
def test_pair__at_sizes_the_sets_hold__is_judged(file, base, candidate, verdict, fixed, broken):
    pair = judged(file, base, candidate, lowered())

    assert (pair.overall, len(pair.fixed), len(pair.broken)) == (verdict, fixed, broken), pair.sentence


@recorded
@pytest.mark.parametrize(("file", "base", "candidate", "verdict", "fixed", "broken"), PAIRS, ids=NAMES)
def test_pair__at_the_default_sizes__is_held_and_says_how_many_are_missing(
    file, base, candidate, verdict, fixed, broken
):
    pair = judged(file, base, candidate, GatePolicy())

    missing = {one.what: one.missing for one in pair.missing}
    assert pair.overall == "hold"
    assert (missing["protected clusters"], missing["trials for each case and arm"]) == (160, 2)
    assert "160 more protected clusters (0 of 160)" in pair.sentence
    assert (len(pair.fixed), len(pair.broken)) == (fixed, broken)


@recorded
def test_pair__runs_that_crashed__are_named_as_crashes_and_as_nothing_else():
    pair = judged(RETAIL, "retail-base-toolcalling", "retail-assertions-pre+post", lowered())

    crashed, lost = {one.task for one in pair.crashes}, {one.task for one in pair.drops}
    assert (len(crashed), len(lost)) == (13, 6)
    assert {one.how for one in pair.crashes} == {"harness_bug"}
    assert {one.how for one in pair.drops} == {"rate_limit", "infra_provider"}
    assert (crashed | lost).isdisjoint({*pair.fixed, *pair.broken})
    assert (pair.candidate.passed, pair.candidate.failed, pair.candidate.crashed) == (17, 21, 13)
    assert pair.verdict.gate("crashes").verdict == "fail"
    # The collapse is one of quality too, on the tasks that neither arm crashed in.
    assert pair.verdict.gate("slices").verdict == "fail"
    assert pair.verdict.gate("infrastructure").verdict == "hold"


@recorded
def test_pair__ended_by_errors__is_a_crash_and_by_its_last_step_is_not():
    pair = judged(TELECOM, "gpt-4.1|base", "gpt-4.1|sft", lowered())

    assert [one.how for one in pair.crashes] == ["too_many_errors"]
    assert (pair.candidate.failed, pair.candidate.crashed) == (5, 1)


@recorded
def test_pair__a_clear_gain__says_which_gates_the_policy_waived():
    pair = judged(TELECOM, "gpt-4.1-solo|base", "gpt-4.1-solo|sft", lowered())

    assert pair.verdict.gate("target").numbers["p"] == pytest.approx(11 / 1024)
    assert pair.sentence.endswith("not decided: protected, coverage, latency, holdout.")
    assert pair.overrides == {
        "trials": 1, "target_min_clusters": 18, "advisory": ["protected", "coverage", "latency", "holdout"],
    }  # fmt: skip


@recorded
def test_pair__too_few_tasks__says_how_many_more():
    pair = judged(AIRLINE, "gpt-4.1|base", "gpt-4.1|sft", lowered())

    assert pair.sentence == "hold: too small for this policy, which asks for 7 more target clusters (11 of 18)."


@recorded
def test_command__policy_and_variants__prints_every_gate_and_task():
    out = StringIO()
    call_command(
        "judge_pair", str(DATA / RETAIL2), str(DATA / RETAIL2), policy=POLICIES / "recorded-pairs.json",
        variant_of_base="gpt-4.1|base", variant_of_candidate="gpt-4.1|sft", stdout=out,
    )  # fmt: skip

    printed = out.getvalue()
    assert printed.startswith("HOLD\n")
    assert "Fixed (4)" in printed
    assert "Broken (4)" in printed
    for gate in ("target", "protected", "slices", "crashes", "holdout", "advisory by policy"):
        assert gate in printed


# made up


def rows(variant, outcomes, **fields):
    return [run(task, variant, success=good, **fields) for task, good in enumerate(outcomes)]


def made_up(base, candidate, policy):
    found = small_set([*base, *candidate], json.dumps)
    return judge_pair(found.chosen("a"), found.chosen("b"), policy)


@pytest.fixture
def files(tmp_path):
    """Two files of one variant each: twenty tasks, of which the candidate mends ten."""
    paths = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    written = [rows("a", [True] * 10 + [False] * 10), rows("b", [True] * 20)]
    paths[0].write_text("\n".join(map(json.dumps, written[0])))
    paths[1].write_bytes(gzip.compress("\n".join(map(json.dumps, written[1])).encode()))
    return [str(path) for path in paths]


def test_command__one_variant_a_file__needs_no_name_and_tells_json(files):
    out = StringIO()
    call_command("judge_pair", *files, policy=POLICIES / "recorded-pairs.json", json=True, stdout=out)

    told = json.loads(out.getvalue())
    assert (told["verdict"], told["tasks"], len(told["fixed"]), told["broken"]) == ("pass", 20, 10, [])
    assert {gate["name"] for gate in told["gates"]} >= {"target", "protected", "slices", "crashes"}
    assert told["policy"]["target_min_clusters"] == 18


def test_command__strict__tells_a_pass_from_the_rest_by_its_exit(files):
    call_command("judge_pair", *files, policy=POLICIES / "recorded-pairs.json", strict=True, stdout=StringIO())

    with pytest.raises(CommandError, match="The verdict is hold") as refusal:
        call_command("judge_pair", *files, strict=True, stdout=StringIO())
    assert refusal.value.returncode == 1


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("[1]", "holds no JSON object"),
        ('{"target_min": 3}', "unknown keys"),
        ('{"target_alpha": "x"}', "target_alpha"),
        ("{", "is no JSON"),
    ],
)
def test_command__policy_that_is_none__is_refused(files, tmp_path, written, sentence):
    policy = tmp_path / "policy.json"
    policy.write_text(written)

    with pytest.raises(CommandError, match=sentence):
        call_command("judge_pair", *files, policy=policy)


def test_command__files_that_hold_nothing__are_refused(files, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"hello": 1}\nnonsense\n')

    with pytest.raises(CommandError, match="holds no tau-bench or tau2-bench trajectory; line 1"):
        call_command("judge_pair", str(empty), files[1])
    with pytest.raises(CommandError, match="There is no file"):
        call_command("judge_pair", files[0], str(tmp_path / "nowhere"))


def test_pair__sizes_of_zero__ask_for_nothing_of_the_kind():
    policy = GatePolicy(
        trials=1, target_min_clusters=10, protected_min_clusters=0, holdout_min_clusters=0, holdout_share_of_verify=0.0,
        coverage=0.0,
    )  # fmt: skip
    pair = made_up(rows("a", [False] * 12), rows("b", [True] * 12), policy)

    assert (pair.overall, pair.missing, pair.overrides.get("advisory")) == ("pass", (), None)


def test_pair__collapse_too_small_for_the_policy__is_held_and_says_what_would_refuse_it():
    pair = made_up(rows("a", [True] * 12), rows("b", [False] * 12), GatePolicy())

    assert pair.overall == "hold"
    assert "On what there is it would be refused: slices fail" in pair.sentence


def test_pair__faults_in_one_arm_only__are_not_the_same_task():
    base = rows("a", [True] * 20)
    candidate = [run(task, "b", success=task % 2 == 0, injected_fault=task % 4 == 1) for task in range(20)]
    pair = made_up(base, candidate, lowered())

    assert {one.task for one in pair.left_out} == {f"retail:{task}" for task in range(1, 20, 4)}
    assert {(one.baseline, one.candidate) for one in pair.left_out} == {("passed", "failed")}
    assert set(pair.broken) == {f"retail:{task}" for task in range(3, 20, 4)}


def test_pair__tasks_of_one_variant_only__are_no_part_of_it():
    pair = made_up(rows("a", [True] * 20), rows("b", [True] * 15), lowered())

    assert (pair.tasks, len(pair.only_baseline), pair.only_candidate) == (15, 5, ())


def test_variants__of_a_file__are_chosen_by_name():
    found = small_set([*rows("a", [True]), *rows("b", [True])], json.dumps)

    with pytest.raises(TrajectoriesError, match=r"2 variants to choose from; name one of: 'a' \(1\), 'b' \(1\)"):
        found.chosen("")
    with pytest.raises(TrajectoriesError, match="no variant 'c'"):
        found.chosen("c")
    with pytest.raises(TrajectoriesError, match="no task in common"):
        judge_pair(found.chosen("a"), ("b", [*small_set(rows("b", [])[:0], json.dumps).variants["b"]]), GatePolicy())


def test_trajectories__the_same_trial_twice__is_taken_once_and_said():
    found = small_set([run(1, "a"), run(1, "a", success=False)], json.dumps)

    assert len(found.variants["a"]) == 1
    assert "is there already" in found.bad[0].reason


def test_trajectories__in_the_benchmarks_own_files__are_told_apart():
    tau = {"task_id": 3, "reward": 1.0, "info": {}, "traj": [{"role": "user", "content": "hi"}], "trial": 1}
    tau2 = {
        "info": {"agent_info": {"llm": "m", "implementation": "llm_agent"}, "environment_info": {"domain_name": "airline"}},
        "simulations": [
            {"id": "s", "task_id": "4", "trial": 0, "reward_info": {"reward": 0.0}, "termination_reason": "agent_error",
             "start_time": "2025-08-01T16:20:44", "messages": [{"role": "user", "content": "hi"}]},
        ],
    }  # fmt: skip
    first = small_set([tau], json.dumps).chosen("")
    second = small_set([tau2], json.dumps).chosen("")

    assert [(one.trial, one.item["passed"]) for one in first[1]] == [(1, True)]
    assert [(one.task, one.item["crashed"]) for one in second[1]] == [("airline:4", True)]
