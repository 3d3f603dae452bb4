"""The library and the real platform agree: what one sends, the other takes; what one serves, the other checks."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from episodes.models import Episode, Outcome
from harness.models import Agent, ApiKey
from releases.models import UserState
from releases.serving import TTL_S
from tests.conftest import DOCUMENT
from whetstone import Client, doctor

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(live_server: Any, agent: Agent, agent_key: str, tmp_path: Path) -> Any:
    # The first request of a server process imports every view.
    with Client(live_server.url, agent_key, agent=agent.slug, folder=tmp_path, timeout_s=60) as client:
        yield client


def test_harness__from_the_platform__is_digest_checked_revalidated_and_kept(
    client: Client, agent: Agent, until: Callable[..., bool], tmp_path: Path
) -> None:
    first = client.harness(user="u1", conversation="c1")

    assert (first.source, first.version, first.arm, first.state) == ("platform", 1, None, "current")
    assert json.loads(json.dumps(first.document))["prompt"] == DOCUMENT["prompt"]
    assert first.digest == first.resolved_digest == agent.stable.digest
    assert first.pin
    time.sleep(TTL_S + 0.1)
    stale = client.harness(user="u1", conversation="c1")
    assert (stale.source, stale.pin) == ("stale", first.pin)
    assert until(lambda: client.harness(user="u1", conversation="c1").source == "memory", seconds=20)
    assert client.harness(user="u1", conversation="c1").served.document is first.document
    restarted = Client("http://127.0.0.1:9", "k", agent=agent.slug)
    assert restarted.harness(user="u1").source == "none"
    restarted.close(timeout_s=0)
    (kept,) = tmp_path.rglob("harness.json")
    assert first.digest in kept.read_text()


def test_harness__user_with_a_layer__is_whole_and_digest_checked(client: Client, agent: Agent, cast: Any) -> None:
    overlay = {"memory": {"user": {"name": "Ada"}}}
    UserState.write(
        agent=agent, subject="u1", overlay=overlay, by=cast.administrator.as_actor(), reason="told us", if_match=None
    )
    own = client.harness(user="u1")

    assert own.source == "platform"
    assert own.document["memory"]["user"] == {"name": "Ada"}
    assert own.resolved_digest != own.digest == agent.stable.digest


def test_episode__recorded__is_there_with_its_steps_and_outcome(client: Client, agent: Agent) -> None:
    harness = client.harness(user="u1", conversation="c1")
    with client.episode(harness, input="Where is my order?", external_refs={"ticket": "7"}) as episode:
        episode.step("tool_call", "lookup_order", input={"order_id": "7"}, output="on its way", latency_ms=3)
        episode.step("check", "polite", output={"passed": False}, error=ValueError("rude"), attempt=2)
        episode.usage(input_tokens=3, cost_usd=0.1)
        episode.output("On its way.")
        episode.blocked("no key for the warehouse")
    client.record({"id": "bare", "attributes": {"snowflake": 2**60, "nan": float("nan"), "nul": "a\x00"}})
    report = client.flush(60)

    assert (report.delivered, report.rejected, report.pending, report.lost) == (3, 0, 0, 0), report
    stored = Episode.objects.get(agent=agent, external_id=episode.id)
    assert stored.harness_digest == harness.digest
    assert stored.input["messages"][0]["content"] == "Where is my order?"
    assert stored.output == {"text": "On its way."}
    assert stored.conversation.external_id == "c1"
    assert stored.conversation.subject == "u1"
    assert stored.attributes["harness_source"] == "platform"
    assert stored.ended_at is not None
    outcome = Outcome.objects.get(episode=stored)
    assert (outcome.name, outcome.source, outcome.reason) == ("blocked", "agent", "no key for the warehouse")
    assert Episode.objects.get(external_id="bare").attributes["snowflake"] == str(2**60)


def test_record__same_and_changed__are_told_apart(client: Client, agent: Agent) -> None:
    one = {"id": "e1", "started_at": "2026-01-01T00:00:00Z", "output": {"text": "x"}}
    client.send([one, one, one | {"output": {"text": "y"}}, one | {"id": "e2", "colour": "red"}])
    report = client.flush(60)

    assert (report.delivered, report.rejected) == (2, 2)
    assert Episode.objects.get(agent=agent).output == {"text": "x"}


def test_doctor__on_the_real_platform__names_each_cause(
    live_server: Any, agent: Agent, other_agent: Agent, agent_key: str, cast: Any
) -> None:
    def wrong(key: str, slug: str = agent.slug) -> list[str]:
        return [finding.subject for finding in doctor.examine(live_server.url, key, slug) if finding.level == "wrong"]

    def issued(*scopes: str) -> str:
        _, secret = ApiKey.issue(
            kind="agent", name="k", owner=cast.administrator, agent=agent, scopes=list(scopes), by=cast.administrator
            .as_actor(),
        )  # fmt: skip
        return secret

    assert wrong(agent_key) == []
    assert wrong("wsk_nothing_here") == ["key"]
    assert wrong(issued("harness:read")) == ["scope"]
    assert wrong(issued("episode:write")) == ["scope"]
    assert wrong(agent_key, other_agent.slug) == ["agent"]
    assert wrong(agent_key, "nobody") == ["agent"]
    assert Episode.objects.count() == 0


def test_import__of_the_library__needs_no_django() -> None:
    code = "import sys, whetstone, whetstone.doctor, whetstone.openai; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
