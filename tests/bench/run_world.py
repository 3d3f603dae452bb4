"""Agents with exams of any size, and runs over them that wait to be played."""

from dataclasses import dataclass

from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.models import Team, User
from episodes.models import Conversation, Episode, Intent
from evals.freezing import begin_run
from evals.models import Benchmark, Case, Run
from harness.models import Agent, PolicyVersion
from harness.policy import Playing, Policy
from proposals.drafting import Quote, Sketch, draft

__all__ = ["Examined", "examined", "owner_of"]

DOCUMENT = {"prompt": {"system": "Be brief."}, "context": {"documents": {}, "retrieval": {"top_k": 3}}}


def owner_of(team: str) -> User:
    """Return a new person, whose team has their name."""
    with acting(MACHINE, reason="bench"):
        Team.objects.create(slug=team, name=team)
        owner = User(username=team, is_simulated=True)
        owner.save()
    return owner


@dataclass(frozen=True)
class Examined:
    """An agent with an active exam and an episode that changes rest on."""

    agent: Agent
    episode: Episode
    author: User

    def run(self, number: int) -> Run:
        """Return a queued run of a change that nobody made before."""
        value = {"title": f"Note {number}", "text": f"Note {number}.", "tags": []}
        sketch = Sketch(
            title=f"Note {number}", claim="fixes", rationale="measured", evidence=[Quote(self.episode)],
            patch=[{"op": "add", "path": f"/context/documents/note-{number}", "value": value}], target_intents=["topic"],
        )  # fmt: skip
        with acting(MACHINE, reason="bench"):
            proposal = draft(self.agent, sketch, by=MACHINE)
            proposal.submit(by=MACHINE, reason="bench")
            return begin_run(proposal, by=MACHINE, reason="bench")


def examined(slug: str, owner: User, *, endpoint: str, cases: int, concurrency: int) -> Examined:
    """Return an agent at `endpoint` with so many active verify cases, played so many at once, three trials each."""
    with acting(MACHINE, reason="bench"):
        team = Team.objects.get(slug=owner.username)
        agent = Agent.objects.create(team=team, owner=owner, slug=slug, name=slug, purpose="bench", endpoint=endpoint)
        agent.bootstrap(DOCUMENT, by=MACHINE, reason="bench")
        policy = Policy(playing=Playing(concurrency=concurrency)).document()
        agent.policy = PolicyVersion.create(agent=agent, document=policy, by=MACHINE)
        agent.save()
        intent = Intent.objects.create(agent=agent, slug="topic", name="Topic", state="live")
        benchmark = Benchmark.objects.create(agent=agent, name="exam")
    Case._base_manager.bulk_create(
        Case(
            benchmark=benchmark, name=f"case {number}", kind="success", split="verify", intent=intent, cluster=f"c{number}",
            messages=[{"role": "user", "content": f"Question {number} of {slug}?"}],
            expectations={"contains": ["the answer"]}, status="active",
        )
        for number in range(cases)
    )  # fmt: skip
    now = timezone.now()
    conversation = Conversation.objects.create(
        agent=agent, external_id="c", subject="u", split="dev", started_at=now, last_at=now, intent=intent
    )
    episode = Episode.objects.create(
        agent=agent, conversation=conversation, external_id="e", started_at=now, body_digest="0" * 64,
        input={"messages": [{"role": "user", "content": "a question"}]}, output={"text": "no"},
    )  # fmt: skip
    return Examined(agent, episode, owner)
