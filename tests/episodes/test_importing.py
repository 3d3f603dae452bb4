"""Files of every format come in as episodes with all steps and outcomes: once, resumable, bad lines by number."""

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from accounts.acting import MACHINE
from audit.models import Event
from episodes.importing.formats import FORMATS
from episodes.importing.loading import Loader
from episodes.models import Conversation, Critique, Episode, Outcome, Pattern, Signal
from harness.models import Agent, HarnessVersion

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
RUNS = 60  # of each recorded benchmark


def trajectory(name: str = "gpt:airline:1:0", **changes: Any) -> dict[str, Any]:
    call = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "get_user_details", "arguments": '{"user_id": "u_1"}'},
    }
    again = {"id": "call-2", "function": {"name": "get_user_details", "arguments": "{not json"}}
    over = {"id": "call-3", "function": {"name": "transfer_to_human_agents", "arguments": '{"summary": "stuck"}'}}
    return {
        "id": name,
        "domain": "airline",
        "variant": "gpt-airline",
        "agent_model": "gpt",
        "task_key": "airline:1",
        "user_id": "u_1",
        "reward": 0.0,
        "success": False,
        "termination": "user_stop",
        "crash_class": None,
        "system_ref": "policies/airline_wiki.md",
        "messages": [
            {"role": "user", "content": "I want to change my flight to Sunday"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call-1", "name": "get_user_details", "content": "Error: user not found"},
            {"role": "assistant", "content": "Let me try again.", "tool_calls": [again]},
            {"role": "tool", "name": "get_user_details", "content": "Error: user not found"},
            {"role": "assistant", "content": None, "tool_calls": [over]},
            {"role": "tool", "tool_call_id": "call-3", "content": "Transfer successful"},
            {"role": "assistant", "content": "You are being transferred."},
            {"role": "user", "content": "###STOP###"},
        ],
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "tools").mkdir()
    (tmp_path / "policies" / "airline_wiki.md").write_text("Be careful with refunds.")
    (tmp_path / "policies" / "airline_policy.md").write_text("Be careful with refunds.")
    schema = {"type": "object", "properties": {"user_id": {"type": "string"}}, "required": ["user_id"]}
    tool = {
        "type": "function",
        "function": {"name": "get_user_details", "description": "Look up.", "parameters": schema},
    }
    (tmp_path / "tools" / "airline_tools.json").write_text(json.dumps([tool]))
    parameter = {"name": "user_id", "type": "string", "required": True, "description": "Who."}
    catalogue = {
        "airline": {"tools": [{"name": "get_user_details", "description": "Look up.", "parameters": [parameter]}]}
    }
    (tmp_path / "tools" / "tools-data.json").write_text(json.dumps(catalogue))
    return tmp_path


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def load(*arguments: Any) -> str:
    out = io.StringIO()
    call_command("import_episodes", *map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_import__tau_bench__makes_agent_version_episode_steps_and_outcome(folder: Path) -> None:
    file = written(folder / "runs.jsonl", trajectory())

    said = load("tau-bench", file)

    agent = Agent.objects.get(slug="tau-bench-airline")
    assert agent.team.slug == "imported"
    assert agent.stable is not None
    assert agent.stable.document["prompt"]["system"] == "Be careful with refunds."
    assert agent.stable.document["tools"]["get_user_details"]["parameters"]["required"] == ["user_id"]
    assert agent.stable.document["model"]["name"] == "gpt"
    episode = Episode.objects.get()
    assert (episode.external_id, episode.harness_digest) == ("gpt:airline:1:0", agent.stable.digest)
    steps = episode.step_readings()
    assert [s.kind for s in steps] == [
        "model_call",
        "tool_call",
        "model_call",
        "tool_call",
        "model_call",
        "handoff",
        "model_call",
    ]
    assert [s.error for s in steps if s.kind == "tool_call"] == ["Error: user not found"] * 2
    assert [s.input for s in steps if s.kind == "tool_call"] == [{"user_id": "u_1"}, {"unreadable": "{not json"}]
    outcome = Outcome.objects.get()
    assert (outcome.name, outcome.source, outcome.reason) == ("failed", "customer", "reward 0")
    assert Conversation.objects.get().resolution == "failed"
    assert "1 episodes imported, 0 known already, 1 outcomes, 0 lines skipped" in said


def test_import__again__imports_nothing_twice(folder: Path) -> None:
    file = written(folder / "runs.jsonl", trajectory(), trajectory("gpt:airline:1:1"))
    load("tau-bench", file)

    said = load("tau-bench", file)

    assert "0 episodes imported, 2 known already, 0 outcomes" in said
    counts = [model.objects.count() for model in (Agent, HarnessVersion, Episode, Outcome, Conversation)]
    assert counts == [1, 1, 2, 2, 2]


def test_import__bad_lines__are_named_and_skipped(folder: Path) -> None:
    file = written(
        folder / "runs.jsonl", trajectory(), "{broken", "[1]", "", trajectory("", id=""),
        trajectory("x", messages="none"), trajectory("nul", variant="a\x00b"), trajectory("fine"),
    )  # fmt: skip

    said = load("tau-bench", file)

    assert "2 episodes imported" in said
    for number in (2, 3, 5, 6, 7):
        assert f"runs.jsonl:{number}: skipped: " in said
    assert "5 lines skipped" in said
    with pytest.raises(CommandError, match="5 lines were skipped"):
        load("tau-bench", file, "--strict")


def test_import__unknown_file__says_so(folder: Path) -> None:
    with pytest.raises(CommandError, match="There is no file"):
        load("tau-bench", folder / "nowhere.jsonl")


def test_import__another_variant__is_a_further_version_and_stable_stays(folder: Path) -> None:
    file = written(
        folder / "runs.jsonl", trajectory(), trajectory("b", variant="careful"), trajectory("c", variant="careful")
    )

    load("tau-bench", file)

    agent = Agent.objects.get()
    assert sorted(agent.versions.values_list("number", flat=True)) == [1, 2]
    assert agent.stable is not None
    assert agent.stable.number == 1
    assert len(set(Episode.objects.values_list("harness_digest", flat=True))) == 2


def test_import__provider_outage__says_nothing_of_the_agent(folder: Path) -> None:
    file = written(
        folder / "runs.jsonl",
        trajectory("a", crash_class="rate_limit", messages=[]),
        trajectory("b", crash_class="harness_bug", messages=[]),
    )

    load("tau-bench", file)

    assert list(Outcome.objects.values_list("episode__external_id", "reason")) == [("b", "crashed: harness_bug")]


def test_import__tau2_bench__keeps_clock_cost_and_the_users_own_actions(folder: Path) -> None:
    by_user = {"id": "u-1", "name": "check_status_bar", "arguments": {}, "requestor": "user"}
    by_agent = {"id": "a-1", "name": "get_user_details", "arguments": {"user_id": "u"}, "requestor": "assistant"}
    row = {
        "id": "gpt|base:airline:" + "x" * 240, "domain": "airline", "variant": "gpt|base", "agent_model": "gpt", "agent_impl": "llm_agent",
        "task_key": "airline:16", "reward": 1.0, "success": True, "termination": "user_stop", "agent_cost": 0.04, "duration_s": 21.0,
        "start_time": "2025-08-01T16:20:44.327108", "end_time": "2025-08-01T16:21:05.368802",
        "messages": [
            {"role": "assistant", "content": "Hi! How can I help you today?"},
            {"role": "user", "content": "My phone has no signal at all"},
            {"role": "assistant", "tool_calls": [by_agent]},
            {"id": "a-1", "role": "tool", "content": "Error: not found", "error": True, "requestor": "assistant"},
            {"role": "user", "tool_calls": [by_user]},
            {"id": "u-1", "role": "tool", "content": "Airplane mode", "error": False, "requestor": "user"},
            {"role": "assistant", "content": "Switch it off."},
        ],
    }  # fmt: skip

    load("tau2-bench", written(folder / "runs.jsonl", row), "--team", "bench")

    episode = Episode.objects.get()
    assert len(episode.external_id) <= 200
    assert episode.started_at.isoformat() == "2025-08-01T16:20:44.327108+00:00"
    assert episode.usage == {"cost_usd": 0.04, "latency_ms": 21000}
    steps = [(step.kind, step.name, step.status) for step in episode.step_readings()]
    assert ("tool_call", "get_user_details", "error") in steps
    assert ("check", "check_status_bar", "ok") in steps
    agent = Agent.objects.get(slug="tau2-bench-airline")
    assert agent.team.slug == "bench"
    assert agent.stable is not None
    assert agent.stable.document["tools"]["get_user_details"]["parameters"]["required"] == ["user_id"]


def test_import__understand__goes_from_capture_to_patterns(folder: Path) -> None:
    file = written(folder / "runs.jsonl", *(trajectory(f"run-{n}", user_id=f"u_{n}") for n in range(16)))

    said = load("tau-bench", file, "--understand")

    assert "tau-bench-airline" in said
    assert Signal.objects.filter(kind="tool_error").count() == 16
    assert Critique.objects.filter(is_failure=True, layer="tools").count() == 16
    dev = Conversation.objects.filter(split="dev").count()
    assert list(Pattern.objects.values_list("kind", "num_episodes")) == (
        [("tool_error:get_user_details", dev)] if dev else []
    )


@pytest.mark.parametrize("format_name", FORMATS)
def test_import__example_of_each_format__is_an_episode_once(format_name: str, tmp_path: Path) -> None:
    file = tmp_path / "export.txt"
    file.write_text(FORMATS[format_name].example)

    said = load(format_name, file)

    episode = Episode.objects.get()
    assert episode.output_text
    assert episode.user_texts()
    assert episode.agent.slug.startswith(format_name)
    assert episode.agent.stable is not None
    num_ends = Outcome.objects.count()
    assert f"1 episodes imported, 0 known already, {num_ends} outcomes, 0 lines skipped" in said
    assert "0 episodes imported, 1 known already, 0 outcomes" in load(format_name, file)


def chat(number: int) -> dict[str, Any]:
    return {
        "id": f"chat-{number}",
        "messages": [
            {"role": "system", "content": "Help."},
            {"role": "user", "content": f"Where is my parcel {number}?"},
            {"role": "assistant", "content": "On its way."},
        ],
        "metadata": {"outcome": "resolved"},
    }


def test_import__into_an_agent__takes_its_harness_where_the_chat_had_it(agent: Agent, tmp_path: Path) -> None:
    known = {
        "prompt": {"system": "Help.", "rules": {}, "examples": {}},
        "tools": {},
        "model": {"name": "", "parameters": {}},
    }
    with transaction.atomic():
        version = HarnessVersion.create(agent=agent, document=known, parent=None, by=MACHINE, note="as recorded")
    other = {"id": "chat-2", "messages": [{"role": "user", "content": "Hello, who is there?"}]}

    load("openai-chat", written(tmp_path / "a.jsonl", chat(1), other), "--agent", agent.slug, "--at", "2025-03-01")

    rows = dict(Episode.objects.filter(agent=agent).values_list("external_id", "harness_digest"))
    assert rows == {"chat-1": version.digest, "chat-2": ""}
    assert agent.versions.count() == 2
    episode = Episode.objects.get(external_id="chat-1")
    assert episode.started_at.isoformat() == "2025-03-01T00:00:00+00:00"
    assert episode.attributes["clock"] == "assumed"
    assert list(Outcome.objects.values_list("name", "source")) == [("resolved", "agent")]


@pytest.mark.parametrize("names", [("評価一", "評価二"), ("long " * 20 + "one", "long " * 20 + "two")])
def test_import__evals_with_alike_slugs__are_agents_of_their_own(tmp_path: Path, names: tuple[str, str]) -> None:
    rows = [{"eval_id": name, "id": str(place), "sample": {"output_text": "4"}} for place, name in enumerate(names)]

    load("openai-evals", written(tmp_path / "a.jsonl", *rows))

    assert Agent.objects.count() == 2


def test_import__unknown_agent_or_owner__is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", chat(1))

    with pytest.raises(CommandError, match="There is no agent 'nobody'"):
        load("openai-chat", file, "--agent", "nobody")
    with pytest.raises(CommandError, match="no active user 'nobody'"):
        load("openai-chat", file, "--owner", "nobody")
    assert not Episode.objects.exists()


class _StopError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 230, 401])
def test_import__interrupted_anywhere__goes_on_and_imports_nothing_twice(tmp_path: Path, stop_after: int) -> None:
    file = written(tmp_path / "a.jsonl", *(chat(number) for number in range(450)))
    seen = 0

    def stop(_: Path, num: int) -> None:
        nonlocal seen
        seen += bool(num)
        if seen > stop_after:
            raise _StopError

    with pytest.raises(_StopError):
        Loader("openai-chat").load([file], on_bytes=stop)
    before = Episode.objects.count()
    moved = written(tmp_path / "moved.jsonl", *(chat(number) for number in reversed(range(450))))
    loader = Loader("openai-chat")
    loader.load([moved])

    assert before in {0, 200, 400}
    assert (loader.summary.known, loader.summary.imported) == (before, 450 - before)
    assert Episode.objects.count() == Outcome.objects.count() == 450
    assert not Episode.objects.exclude(conversation__resolution="resolved").exists()


def test_import__same_id_with_other_content__is_told_and_the_first_stays(tmp_path: Path) -> None:
    load("openai-chat", written(tmp_path / "a.jsonl", chat(1)))

    said = load("openai-chat", written(tmp_path / "b.jsonl", chat(1), {**chat(2), "id": "chat-1"}))

    assert "b.jsonl:2: skipped: Episode 'chat-1' was already captured with other content" in said
    assert "parcel 1" in Episode.objects.get().first_user_text


def test_import__later_export_with_more_scores__adds_only_these(tmp_path: Path) -> None:
    trace = {"id": "t-1", "timestamp": "2025-03-01T12:00:00Z", "input": "Where is it, please?", "output": "Here."}
    score = {
        "id": "s",
        "traceId": "t-1",
        "name": "csat",
        "value": 4,
        "source": "API",
        "timestamp": "2025-03-02T12:00:00Z",
    }
    later = {**score, "id": "s-2", "name": "success", "value": 1}
    load("langfuse", written(tmp_path / "a.jsonl", trace, score))

    said = load("langfuse", written(tmp_path / "traces.jsonl", trace), written(tmp_path / "scores.jsonl", later, score))

    assert "0 episodes imported, 1 known already, 1 outcomes, 0 lines skipped" in said
    assert set(Outcome.objects.values_list("name", "value")) == {("csat", 4.0), ("resolved", 1.0)}
    assert Conversation.objects.get().resolution == "resolved"


def test_import__outcome_that_is_refused__costs_no_episode_and_no_other_outcome(tmp_path: Path) -> None:
    trace = {"id": "t-1", "timestamp": "2025-03-01T12:00:00Z", "input": "Where is it, please?", "output": "Here."}
    future = {"traceId": "t-1", "name": "csat", "value": 4, "source": "API", "timestamp": "2999-01-01T00:00:00Z"}
    fine = {"traceId": "t-1", "name": "nps", "value": 9, "source": "API", "timestamp": "2025-03-02T00:00:00Z"}

    said = load("langfuse", written(tmp_path / "a.jsonl", trace, future, fine))

    assert "a.jsonl:1: skipped: the episode is kept, its outcome is not: " in said
    assert list(Outcome.objects.values_list("name", flat=True)) == ["nps"]


def test_import__gzip_by_suffix__is_read_and_damage_is_told(tmp_path: Path) -> None:
    text = "".join(json.dumps(chat(number)) + "\n" for number in range(2_000)).encode()
    whole, cut, none = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz", tmp_path / "c.jsonl.gz"
    whole.write_bytes(gzip.compress(text[: text.index(b"\n") + 1]))
    cut.write_bytes(gzip.compress(text)[:-2_000])
    none.write_text("this is no gzip")

    assert "1 episodes imported" in load("openai-chat", whole)
    said = load("openai-chat", cut)
    assert "the file is damaged and ends here" in said
    assert Episode.objects.count() > 500
    with pytest.raises(CommandError, match="Nothing in these files could be read as openai-chat"):
        load("openai-chat", none)


def test_import__files_that_cannot_be_read__are_named_before_anything_is_done(tmp_path: Path) -> None:
    good = written(tmp_path / "a.jsonl", chat(1))

    with pytest.raises(CommandError, match="is a folder"):
        load("openai-chat", good, tmp_path)
    with pytest.raises(CommandError, match="There is no file"):
        load("openai-chat", good, tmp_path / "none.jsonl")
    if os.geteuid():
        good.chmod(0)
        with pytest.raises(CommandError, match="cannot be read"):
            load("openai-chat", good)
    assert not Episode.objects.exists()


def test_import__nothing_readable__exits_with_one_after_the_summary(tmp_path: Path) -> None:
    out = io.StringIO()

    with pytest.raises(CommandError) as refusal:
        call_command(
            "import_episodes", "csv", written(tmp_path / "a.csv", "a,b\n1,2"), stdout=out, stderr=io.StringIO()
        )

    assert refusal.value.returncode == 1
    assert "a.csv:1: skipped: No column holds the input" in out.getvalue()
    assert "0 episodes imported" in out.getvalue()
    assert not Agent.objects.exists()


def test_import__what_is_printed__cannot_steer_a_terminal(tmp_path: Path) -> None:
    said = load("csv", written(tmp_path / "a.csv", "input,outcome\nfine there,\nhello there,\x1b[2Jgone"))

    assert "\x1b" not in said
    assert "1 lines skipped" in said


@pytest.mark.parametrize(
    "arguments", [("--column", "input"), ("--column", "author=x"), ("--outcome", "done=great"), ("--at", "soon")]
)
def test_import__option_that_makes_no_sense__is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        load("csv", written(tmp_path / "a.csv", "input\nhello"), *arguments)


def test_import__every_format__is_in_the_help_and_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("import_episodes", "--help")
    helped, documented = capsys.readouterr().out, (ROOT / "docs" / "importing.md").read_text()

    for one in FORMATS.values():
        assert f"{one.name:<14}{one.summary}" in helped
        assert f"| `{one.name}` | {one.reads} | {one.outcome} |" in documented


@pytest.mark.parametrize(
    ("format_name", "file"),
    [
        ("tau-bench", "tau_bench/trajectories_airline.jsonl"),
        ("tau2-bench", "tau2_bench/simulations_telecom.jsonl"),
    ],
)
def test_import__recorded_benchmarks__reach_patterns(folder: Path, format_name: str, file: str) -> None:
    path = DATA / file
    if not path.is_file():
        pytest.skip(f"no recorded runs at {path}")
    recorded = [line for line in path.read_bytes().splitlines() if line.strip()][:RUNS]
    lines, path = len(recorded), folder / path.name
    path.write_bytes(b"\n".join(recorded))

    said = load(format_name, path, "--understand")

    assert Episode.objects.count() == lines
    assert f"{lines} episodes imported" in said
    assert ", 0 lines skipped" in said
    assert not Episode.objects.waiting().exists()
    assert not Conversation.objects.filter(settled_at__isnull=True).exists()
    assert Outcome.objects.filter(source="customer").count() == lines
    assert Pattern.objects.exists()
    assert Event.objects.filter(action="agent.bootstrap").exists()
    assert f"0 episodes imported, {lines} known already" in load(format_name, path)
