"""tau-bench and tau2-bench as they were really recorded: odd arguments, missing ids, crashes, users who act."""

import json
from pathlib import Path
from typing import Any

import pytest

from episodes.importing.entries import BadLine, Entry, Options
from episodes.importing.files import Beside, lines_of
from episodes.importing.formats import FORMATS
from episodes.importing.transcripts import arguments_of
from tests.episodes.reading import acts, ends, entry, read, spoken

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def run(*messages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": "r-1", "domain": "retail", "variant": "base", "agent_model": "m", "task_key": "retail:1", "user_id": None,
        "reward": 0.0, "success": False, "termination": "user_stop", "crash_class": None, "harness_error": None,
        "messages": list(messages), **changes,
    }  # fmt: skip


def call(name: str, arguments: Any, **more: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}, **more}],
    }


def result(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ('{"a": "b"}', {"a": "b"}),
        ("{'a': 'it\\'s', 'b': None, 'c': (1, 2)}", {"a": "it's", "b": None, "c": [1, 2]}),
        ("{'thought': 'a \"quoted\" word\\nand C:\\dir'}", {"thought": 'a "quoted" word\nand C:\\dir'}),
        ("", {}),
        (None, {}),
        ({"a": 1}, {"a": 1}),
        ("[1]", {"value": [1]}),
        ("{'a': {1, 2}}", {"unreadable": "{'a': {1, 2}}"}),
        ("{'a': __import__('os')}", {"unreadable": "{'a': __import__('os')}"}),
        ("{not json", {"unreadable": "{not json"}),
    ],
)
def test_arguments__json_python_or_neither__are_kept(written: Any, read_as: dict[str, Any]) -> None:
    assert arguments_of(written) == read_as


def test_tau_bench__calls_without_ids__get_their_results_by_name_and_order() -> None:
    one = entry(
        "tau-bench",
        run(
            call("get_order", "{'order_id': '#1'}"), result("Error: no order", name="get_order"),
            call("get_order", "{'order_id': '#2'}"), result('# var_7 = "Error: not yours"'),
            call("get_user", "{}"), call("get_order", "{}"), result("late", name="get_user"), result("{}", name="get_order"),
            result("nobody called", name="unheard"),
        ),
    )  # fmt: skip

    tools = [step for step in one.item["steps"] if step["kind"] == "tool_call"]
    assert [step["input"] for step in tools[:2]] == [{"order_id": "#1"}, {"order_id": "#2"}]
    assert [step.get("status") for step in tools] == ["error", "error", None, None, None]
    assert [step["output"]["content"] for step in tools[2:]] == ["late", "{}", "nobody called"]


@pytest.mark.parametrize("error", [{"error": "the answer is no text", "traceback": "Traceback …"}, "Traceback …"])
def test_tau_bench__run_with_a_traceback_only__is_an_episode_that_failed(error: object) -> None:
    one = entry("tau-bench", run(crash_class="harness_bug", harness_error=error, messages=None))

    assert one.item["input"] == {"messages": []}
    assert one.item["steps"][0]["status"] == "error"
    assert one.item["steps"][0]["error"] == "Traceback …"
    assert ends(one) == [("failed", "customer", 1.0)]
    assert one.endings[0].reason == "crashed: harness_bug"


def test_tau_bench__outage_of_the_provider__says_nothing_of_the_agent() -> None:
    assert entry("tau-bench", run(crash_class="rate_limit", harness_error="limit", messages=[])).endings == ()


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"success": True, "reward": 0.84}, "resolved"),
        ({"success": None, "reward": 0.9999999}, "resolved"),
        ({"success": None, "reward": 0.84}, "failed"),
        ({"success": None, "reward": None}, None),
    ],
)
def test_tau_bench__reward__is_an_end_where_the_record_says_none(told: dict[str, Any], name: str | None) -> None:
    assert [ending.name for ending in entry("tau-bench", run(**told)).endings] == ([name] if name else [])


def test_tau_bench__file_as_the_benchmark_writes_it__is_read() -> None:
    talk = [{"role": "system", "content": "Be careful."}, {"role": "user", "content": "Hello, my order"}]
    rows = [
        {"task_id": 3, "reward": 1.0, "info": {"task": {"user_id": "u_1"}}, "traj": talk, "trial": 0},
        {"task_id": 4, "reward": 0.0, "info": {"error": "boom", "traceback": "Traceback"}, "traj": [], "trial": 0},
    ]

    done, crashed = read("tau-bench", json.dumps(rows, indent=2), file="gpt-4o-retail.json")

    assert isinstance(done, Entry)
    assert isinstance(crashed, Entry)
    assert (done.domain, done.item["subject"], ends(done)[0][0]) == ("retail", "u_1", "resolved")
    assert spoken(done) == [("user", "Hello, my order")]
    assert (crashed.item["steps"][0]["error"], ends(crashed)[0][0]) == ("Traceback", "failed")
    assert crashed.item["id"] != done.item["id"]


def simulation(*messages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": "s-1", "domain": "telecom", "agent_model": "m", "task_key": "telecom:1", "reward": 1.0, "success": True,
        "termination": "user_stop", "start_time": "2025-08-01T16:20:44.327108", "end_time": "2025-08-01T16:21:05",
        "duration_s": 21.0, "agent_cost": None, "messages": list(messages), **changes,
    }  # fmt: skip


def test_tau2_bench__calls_by_the_user__are_checks_and_not_the_agents() -> None:
    acted = {"role": "user", "tool_calls": [{"id": "u-1", "name": "toggle", "arguments": {}, "requestor": "user"}]}

    one = entry("tau2-bench", simulation(acted, result("on", id="u-1", requestor="user", error=False)))

    assert acts(one) == [("check", "toggle")]
    assert one.item["steps"][0]["output"] == {"content": "on"}
    assert one.item["usage"] == {"latency_ms": 21_000.0}


def test_tau2_bench__results_together_and_messages_with_usage__are_read() -> None:
    asked = {
        "role": "assistant", "content": None, "cost": 0.01, "usage": {"prompt_tokens": 100, "completion_tokens": 5},
        "tool_calls": [{"id": "a", "name": "one", "arguments": {}}, {"id": "b", "name": "two", "arguments": {}}],
    }  # fmt: skip
    both = {"role": "tool", "tool_messages": [result("2", id="b", role="tool"), result("1", id="a", error=True)]}

    one = entry("tau2-bench", simulation(asked, both))

    assert [step["output"].get("content") for step in one.item["steps"][1:]] == ["1", "2"]
    assert one.item["steps"][1]["status"] == "error"
    assert one.item["usage"] == {"latency_ms": 21_000.0, "input_tokens": 100, "output_tokens": 5}


def test_tau2_bench__agent_alone_with_a_ticket__was_asked_the_ticket() -> None:
    task = {"ticket": None, "user_scenario": {"instructions": {"reason_for_call": "No signal at home."}}}

    one = entry("tau2-bench", simulation({"role": "assistant", "content": "###STOP###"}, task=task))

    assert spoken(one) == [("user", "No signal at home."), ("assistant", "###STOP###")]


def test_tau2_bench__nulls__are_no_reason_to_lose_a_run() -> None:
    row = simulation(
        messages=None, start_time=None, end_time=None, duration_s=None, success=None, reward=0.0, agent_model=None
    )

    one = entry("tau2-bench", row)

    assert one.item["started_at"] is None
    assert ends(one) == [("failed", "customer", 1.0)]
    assert entry("tau2-bench", {**row, "termination": "infrastructure_error"}).endings == ()


def test_tau2_bench__file_as_the_benchmark_writes_it__is_read_with_its_head() -> None:
    head = {
        "timestamp": "x", "info": {
            "environment_info": {"domain_name": "airline", "policy": "Be kind."},
            "agent_info": {"implementation": "llm_agent", "llm": "m-1"}, "user_info": {"llm": "m-2"},
        },
        "tasks": [{"id": "1"}],
    }  # fmt: skip
    own = {
        "id": "s-1", "task_id": "1", "start_time": "2025-08-01T16:20:44", "end_time": "2025-08-01T16:21:05", "duration": 21.0,
        "termination_reason": "agent_stop", "reward_info": {"reward": 0.0}, "messages": [{"role": "user", "content": "Hi there"}],
    }  # fmt: skip

    one = entry("tau2-bench", json.dumps({**head, "simulations": [own]}, indent=1))

    assert one.domain == "airline"
    assert one.document is not None
    assert one.document["prompt"]["system"] == "Be kind."
    assert one.document["model"]["name"] == "m-1"
    assert ends(one) == [("failed", "customer", 1.0)]
    assert one.item["usage"] == {"latency_ms": 21_000.0}


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("tau-bench", "tau_bench/trajectories_*.jsonl"), ("tau2-bench", "tau2_bench/simulations_*.jsonl")],
)
def test_recorded_runs__all_of_them__are_entries_with_readable_arguments(name: str, pattern: str) -> None:
    paths = sorted(DATA.glob(pattern))
    if not paths:
        pytest.skip(f"no recorded runs at {DATA / pattern}")
    pieces = (line for path in paths for line in lines_of(path, on_bytes=lambda _: None, on_damage=pytest.fail))

    told = list(FORMATS[name].read(pieces, Options(beside=Beside())))

    assert len(told) == sum(1 for path in paths for line in path.read_bytes().splitlines() if line.strip())
    entries = [one for one in told if isinstance(one, Entry)]
    assert not [one for one in told if isinstance(one, BadLine)]
    assert len({one.item["id"] for one in entries}) == len(entries)
    steps = [step for one in entries for step in one.item["steps"]]
    assert not [step for step in steps if "unreadable" in step.get("input", {})]
    assert all(one.item["steps"] for one in entries)
    assert any(step["kind"] == "check" for step in steps) == (name == "tau2-bench")
