"""`make bench-onboarding`: from an empty environment to the first episode on the agent's page, by two roads.

The platform runs; everything of the agent's side is measured. Road one: a plain agent with the openai SDK, not changed
by a letter, under OpenTelemetry's own launcher with environment variables. Road two: the same agent with the client
library. Packages come over the network into an empty cache (CACHED=1 uses the machine's). A support agent signs in and
looks at the agent's page until the episode is there.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

import httpx  # after the settings

from accounts.roles import Role
from console.snippets import snippets
from demo.staff import Person
from episodes.models import Episode
from harness.models import Agent
from jobs.models import Beat
from tests.bench.environments import BENCHES, ROOT, install, made, surroundings, wheel
from tests.bench.reporting import Bar, Bench
from tests.bench.served import Served, served
from tests.whetstone.fake_openai import running

HERE = Path(__file__).parent
PINNED = ("--constraints", str(HERE / "sdks-requirements.txt"))
OPENTELEMETRY = (
    "openai", "opentelemetry-distro", "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-instrumentation-genai-openai",
)  # fmt: skip
QUESTION = "Where is my order 7?"
LIMIT_S = 120
AGENT_S = 100


def main() -> int:
    """Go both roads and keep the seconds of each step."""
    is_cached = bool(os.environ.get("CACHED"))
    bars = [Bar("seconds_to_first_episode", "<=", LIMIT_S), Bar("client_seconds_to_first_episode", "<=", LIMIT_S)]
    bench = Bench("onboarding", bars, settings={"cached": is_cached})
    with tempfile.TemporaryDirectory(dir=_folder()) as name, running() as model, served("onboarding") as platform:
        folder = Path(name)
        _wait_for_clock()
        distribution = wheel(ROOT, folder / "dist")
        look = _looking(platform)
        cache: AbstractContextManager[str | None] = (
            nullcontext() if is_cached else tempfile.TemporaryDirectory(dir=_folder())
        )
        with cache as fresh:
            rows = [
                _stock(platform, look, folder / "stock", model.url, fresh),
                _client(platform, look, folder / "client", model.url, fresh, distribution),
            ]
    bench.table("seconds of each step", rows)
    bench.keys["seconds_to_first_episode"] = rows[0]["total"]
    bench.keys["client_seconds_to_first_episode"] = rows[1]["total"]
    return bench.finish()


def _folder() -> Path:
    BENCHES.mkdir(parents=True, exist_ok=True)
    return BENCHES


def _wait_for_clock() -> None:
    """Wait until the platform's clock has looked for traces once: then all of it is up."""
    deadline = time.monotonic() + LIMIT_S
    while not Beat.objects.filter(name="episodes.trace_jobs.assemble_traces", finished_at__isnull=False).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"The platform's clock did not start within {LIMIT_S} s; see the logs under {BENCHES}.")
        time.sleep(0.2)


def _looking(platform: Served) -> Callable[[Agent], str]:
    """Return how a support agent, signed in over HTTP, reads the page of an agent's episodes."""
    person = Person(platform.url, *platform.person(Role.SUPPORT)).login()

    def look(agent: Agent) -> str:
        return person.page(f"/admin/episodes/episode/?agent__id__exact={agent.pk}")

    return look


def _stock(
    platform: Served, look: Callable[[Agent], str], folder: Path, model_url: str, cache: str | None
) -> dict[str, Any]:
    agent, key = platform.agent("stock")
    # Exactly what the agent's page of connecting gives to paste.
    pasted = next(one.text for one in snippets(platform.url, agent.slug, key) if one.name == "otel")
    told = dict(word.split("=", 1) for word in shlex.split(pasted) if word != "export")
    command = [str(folder / "bin" / "opentelemetry-instrument"), "python", str(HERE / "stock_agent.py")]
    return _road("openai and OpenTelemetry", agent, look, folder, [OPENTELEMETRY], command, told, model_url, cache)


def _client(
    platform: Served, look: Callable[[Agent], str], folder: Path, model_url: str, cache: str | None, distribution: Path
) -> dict[str, Any]:
    agent, key = platform.agent("client")
    told = {"WHETSTONE_URL": platform.url, "WHETSTONE_KEY": key, "WHETSTONE_AGENT": agent.slug}
    # The distribution holds the platform too, whose packages an agent does not need.
    packages = [("openai", "httpx"), ("--no-deps", str(distribution))]
    command = ["python", str(HERE / "client_agent.py")]
    return _road("client library", agent, look, folder, packages, command, told, model_url, cache)


def _road(
    name: str, agent: Agent, look: Callable[[Agent], str], folder: Path, packages: Sequence[Sequence[str]],
    command: Sequence[str], told: Mapping[str, str], model_url: str, cache: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Go one road; return the seconds of its steps."""
    started = time.perf_counter()
    python = made(folder)
    at_environment = time.perf_counter()
    for some in packages:
        install(python, *PINNED, *some, cache=cache)
    at_packages = time.perf_counter()
    environment = surroundings({"OPENAI_BASE_URL": model_url, "OPENAI_API_KEY": "none", **told})
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    subprocess.run(list(command), check=True, env=environment, cwd=folder, timeout=AGENT_S)
    at_answer = time.perf_counter()
    while QUESTION not in look(agent):
        if time.perf_counter() - started > 2 * LIMIT_S:
            raise TimeoutError(f"No episode of {name} was on the page after {2 * LIMIT_S} s; see the logs.")
        time.sleep(0.25)
    at_page = time.perf_counter()
    return {
        "road": name,
        "environment": round(at_environment - started, 1),
        "packages": round(at_packages - at_environment, 1),
        "agent": round(at_answer - at_packages, 1),
        "page": round(at_page - at_answer, 1),
        "total": round(at_page - started, 1),
        "episodes": Episode.objects.filter(agent=agent).count(),
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except httpx.TransportError as error:
        sys.exit(f"The platform stopped answering: {error}")
