"""`make bench-sdks`: what becomes of an agent's run when a real SDK reports it, for each SDK and each of its modes.

One small agent (`sdk_agents.py`) runs in an environment outside the lock against a model server over HTTP, whole and
streamed. It is told where to send by environment variables alone. Each run must end as one episode with what that mode
of that SDK records: input, output, model, tokens and tool calls, or without content model and tokens.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
from rich.markup import escape

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.db.models import Exists, OuterRef  # after the settings

from episodes.assembling import assemble_due
from episodes.models import Episode, Trace
from harness.models import Agent
from tests.bench.environments import BENCHES, built, surroundings
from tests.bench.reporting import Bar, Bench
from tests.bench.sdk_agents import CONVERSATION, MODEL, QUESTION, USER
from tests.bench.served import Served, served
from tests.whetstone.fake_openai import CALL, CHAT_USAGE, WORDS, running

HERE = Path(__file__).parent
AGENT_S, ASSEMBLY_S = 150, 150
SDKS_ENV, OLDER_ENV = "sdks-env", "sdks-older-env"
CONTENT = ("input", "output", "model", "tokens", "tool_calls")
BARE = ("model", "tokens")
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}


@dataclass(frozen=True)
class Case:
    """One SDK in one of its modes, and what its episodes must have."""

    name: str
    sdk: str
    needs: Sequence[str] = CONTENT
    options: Mapping[str, str] = field(default_factory=dict)
    environment: str = SDKS_ENV


CASES = (
    Case("openai default", "genai_openai", BARE),
    Case("openai opt-in, spans", "genai_openai", options={_CAPTURE: "span_only"}),
    Case("openai opt-in, events", "genai_openai", options={_CAPTURE: "event_only"}),
    Case("openai opt-in, both", "genai_openai", options={_CAPTURE: "span_and_event"}),
    Case("openai-v2 default", "openai_v2", BARE, environment=OLDER_ENV),
    Case("openai-v2 opt-in, log per message", "openai_v2", options={_CAPTURE: "true"}, environment=OLDER_ENV),
    Case("openai-v2 latest, spans", "openai_v2", options={_CAPTURE: "span_only", **_LATEST}, environment=OLDER_ENV),
    Case("openai-v2 latest, events", "openai_v2", options={_CAPTURE: "event_only", **_LATEST}, environment=OLDER_ENV),
    Case("OpenInference", "openinference"),
    Case("OpenLLMetry, its SDK", "openllmetry"),
    Case("OpenLLMetry, instrumentor alone", "openllmetry_alone"),
    Case("Langfuse, agent", "langfuse"),
    Case("Langfuse, observe", "langfuse_alone"),
    Case("pydantic-ai", "pydantic_ai"),
    Case("pydantic-ai with logfire", "pydantic_ai_logfire"),
)


def main() -> int:
    """Run every SDK whole and streamed, wait for the episodes, print what they have."""
    keys = [_key(case) for case in CASES]
    bench = Bench("sdks", [Bar(key, "<=", 0) for key in keys])
    with bench.phase("environments"):
        pythons = {
            SDKS_ENV: built(SDKS_ENV, HERE / "sdks-requirements.txt"),
            OLDER_ENV: built(OLDER_ENV, HERE / "sdks-older-requirements.txt"),
        }
    runs: list[tuple[Case, str, Agent]] = []
    with served("sdks", ["web"]) as platform, running() as model:
        for number, case in enumerate(CASES):
            for mode in ("whole", "stream"):
                agent, key = platform.agent(f"{number}-{mode}")
                _run(bench, pythons[case.environment], case, mode, _told(case, platform, key, model.url))
                runs.append((case, mode, agent))
        with bench.phase("episodes"):
            _wait_for_episodes([agent for _, _, agent in runs])
    rows = [_row(case, mode, agent) for case, mode, agent in runs]
    bench.table("what became of each run", rows)
    for case, key in zip(CASES, keys, strict=True):
        bench.keys[key] = sum(row["lacking"] != "" for row in rows if row["sdk"] == case.name)
    return bench.finish()


def _key(case: Case) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in case.name.lower()).replace("__", "_")


def _told(case: Case, platform: Served, key: str, model_url: str) -> dict[str, str]:
    """Return the environment of an agent: where its model is, where to report, and the SDK's own options."""
    header = f"Authorization=Bearer%20{key}"
    return surroundings(
        {
            "OPENAI_BASE_URL": model_url, "OPENAI_API_KEY": "none", "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": platform.url, "OTEL_EXPORTER_OTLP_HEADERS": header,
            "TRACELOOP_BASE_URL": platform.url, "TRACELOOP_HEADERS": header, "TRACELOOP_TELEMETRY": "false",
            "LANGFUSE_BASE_URL": platform.url, "LANGFUSE_PUBLIC_KEY": "shop", "LANGFUSE_SECRET_KEY": key,
            **case.options,
        }
    )  # fmt: skip


def _run(bench: Bench, python: Path, case: Case, mode: str, told: dict[str, str]) -> None:
    command = [str(python), str(HERE / "sdk_agents.py"), case.sdk, *(["--stream"] if mode == "stream" else [])]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, check=False, env=told, cwd=BENCHES, capture_output=True, text=True, timeout=AGENT_S
        )
        failed = "" if done.returncode == 0 else escape(done.stderr[-2000:])
    except subprocess.TimeoutExpired:
        failed = f"not done within {AGENT_S} s"
    ended = f"[red]{failed}[/red]" if failed else f"{time.perf_counter() - started:.1f} s"
    bench.say(f"{case.name}, {mode}: {ended}")


def _wait_for_episodes(agents: Sequence[Agent]) -> None:
    """Make episodes in this process, as a worker does, until every trace has fallen quiet."""
    deadline = time.monotonic() + ASSEMBLY_S
    untold = Agent.objects.filter(pk__in=[agent.pk for agent in agents]).exclude(
        Exists(Episode.objects.filter(agent=OuterRef("pk")))
    )
    while time.monotonic() < deadline:
        assemble_due()
        if not Trace.objects.filter(due_at__isnull=False).exists() or not untold.exists():
            break
        time.sleep(0.5)


def _row(case: Case, mode: str, agent: Agent) -> dict[str, Any]:
    episodes = list(Episode.objects.filter(agent=agent).select_related("conversation").order_by("started_at"))
    row: dict[str, Any] = {"sdk": case.name, "mode": mode, "episodes": len(episodes)}
    found = _found(episodes[0]) if episodes else dict.fromkeys((*CONTENT, "conversation", "user"), "")
    row |= found
    lacking = [name for name in case.needs if row[name] != EXPECTED[name]]
    row["lacking"] = ", ".join(lacking if len(episodes) == 1 else ["one episode", *lacking])
    return row


def _found(episode: Episode) -> dict[str, str]:
    """Return what an episode says, as short texts."""
    said = [message["content"] for message in episode.input.get("messages", ()) if message["role"] == "user"]
    usage = episode.usage
    calls = [step for step in episode.steps if step["kind"] == "tool_call"]
    subject, conversation = episode.conversation.subject, episode.conversation.external_id
    return {
        "input": said[-1] if said else "",
        "output": episode.output_text,
        "model": usage.get("model", ""),
        "tokens": f"{usage.get('input_tokens', '?')}+{usage.get('output_tokens', '?')}",
        "tool_calls": "; ".join(f"{call['name']} {json.dumps(call.get('input', {}))}" for call in calls),
        "conversation": {CONVERSATION: "yes", episode.external_id: "", "": ""}.get(conversation, "the SDK's own"),
        "user": {USER: "yes", "": ""}.get(subject, subject),
    }


EXPECTED = {
    "input": QUESTION,
    "output": "".join(WORDS),
    "model": f"{MODEL}-1",
    "tokens": f"{2 * CHAT_USAGE['prompt_tokens']}+{2 * CHAT_USAGE['completion_tokens']}",
    "tool_calls": f"{CALL['function']['name']} {CALL['function']['arguments']}",
}


if __name__ == "__main__":
    sys.exit(main())
