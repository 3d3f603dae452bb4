"""The school of the runs' tests, and a team's CI that plays its runs elsewhere."""

from uuid import UUID

import pytest

from accounts.acting import MACHINE
from evals.models import Benchmark, CurationTrial
from harness.models import Agent, ApiKey, HarnessVersion
from tests.evals.runs import conftest as runs

KNOWN = runs.KNOWN
school, examined, endpoint = runs.school, runs.examined, runs.endpoint
cast, taught, episode, submit = runs.cast, runs.taught, runs.episode, runs.submit


@pytest.fixture
def exam(examined, taught):
    """The exam, with the baseline's curation trials as they would have been played."""
    benchmark = Benchmark.objects.get(pk=examined.pk)
    as_if_curated(benchmark, taught.stable.digest)
    return benchmark


def as_if_curated(benchmark: Benchmark, digest: str) -> None:
    """Write the curation trials of a version that knows what it was taught and nothing else; twice is once."""
    cases = benchmark.cases.active().in_split(split="verify").select_related("intent")
    CurationTrial.objects.bulk_create(
        (
            CurationTrial(case=case, digest=digest, trial=trial, passed=case.intent.slug in KNOWN, latency_ms=5)
            for case in cases
            for trial in range(5 if case.intent.slug in KNOWN else 1)
        ),
        ignore_conflicts=True,
    )


def version_with(agent: Agent, name: str, text: str = "", **changes: object) -> HarnessVersion:
    """A version that also knows `name`."""
    documents = dict(agent.stable.document["context"]["documents"])
    documents[name] = {
        "title": name,
        "text": text or f"The answer about {name}.",
        "tags": [name],
        "position": 2,
        **changes,
    }
    document = {**agent.stable.document, "context": {**agent.stable.document["context"], "documents": documents}}
    return HarnessVersion.create(agent=agent, document=document, parent=agent.stable, by=MACHINE, note=f"knows {name}")


@pytest.fixture
def better(taught):
    return version_with(taught, "unknown")


@pytest.fixture
def ci(api, taught, school):
    """A client with a key of the agent that may play its runs."""
    _, secret = ApiKey.issue(
        kind="agent", name="ci", owner=school.cast.administrator, agent=taught, scopes=["run:play", "harness:read"],
        by=MACHINE,
    )  # fmt: skip
    return api(secret)


class Ci:
    """Plays what it is given to play, as the agent of these tests would answer."""

    def __init__(self, client, run_id: UUID) -> None:
        self.client, self.where = client, f"/api/v1/external-runs/{run_id}"
        self.told = client.get(self.where).json()
        self.documents = {
            arm: HarnessVersion.objects.get(digest=digest).document for arm, digest in self.told["arms"].items()
        }

    def cases(self):
        found, page = [], self.client.get(f"{self.where}/cases?limit=500").json()
        found += page["results"]
        while page["next"]:
            page = self.client.get(page["next"]).json()
            found += page["results"]
        return found

    def answers(self, cases=None):
        """Return a result for each case, arm and trial."""
        return [
            {"case": case["id"], "arm": arm, "trial": trial, "output": self._said(arm, case), "latency_ms": 5.0, "cost_usd": 0.001}
            for case in (self.cases() if cases is None else cases)
            for arm in ("baseline", "candidate")
            for trial in range(self.told["trials"])
        ]  # fmt: skip

    def _said(self, arm, case):
        documents = self.documents[arm]["context"]["documents"]
        text = case["messages"][-1]["content"].lower()
        found = next((one["text"] for one in documents.values() if any(tag in text for tag in one["tags"])), "")
        return {"text": found or "I cannot help.", "handoff": False}

    def post(self, items):
        answer = self.client.post(f"{self.where}/results", items, format="json")
        assert answer.status_code == 202, answer.content
        return answer.json()

    def post_all(self, items):
        return [self.post(items[start : start + 500]) for start in range(0, len(items), 500)][-1]
