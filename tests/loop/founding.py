"""Lays the foundation of a standing platform, in a process of its own: `python -m tests.loop.founding capture|ramp`.

Runs on the servers that the environment names: migrates the database, makes what the story needs by the project's own
verbs, and prints as one line of JSON what its clients must know.
"""

import json
import sys
from datetime import timedelta
from typing import Any

import django

django.setup()

from django.core.management import call_command
from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.models import Membership, Team, User
from accounts.roles import Role
from episodes.content import digest_of_content
from episodes.intents import define
from episodes.models import Conversation, Episode, Intent, Pattern
from harness.models import Agent, ApiKey, put_in_force
from harness.policy import demo_policy
from proposals.drafting import Quote, Sketch, draft
from proposals.models import Proposal
from releases.models import Release
from releases.planning import draft_release
from tests.loop.asking import ASKED
from tests.releases.conftest import judged

DOCUMENT = {
    "prompt": {"system": "You are the support desk of a shop.", "rules": {}},
    "tools": {},
    "context": {"documents": {}, "retrieval": {"top_k": 3, "min_score": 0.3}},
}
NUM_KEYS = 4
STEPS = [{"weight": 0.1, "min_users": 5, "bake_s": 1}, {"weight": 0.5, "min_users": 50, "bake_s": 2}]


def _agent() -> tuple[Agent, dict[Role, User]]:
    with acting(MACHINE, reason="a platform for a story"):
        team = Team.objects.create(slug="support-desk", name="Support desk")
        people = {role: User.objects.create(username=role.value, is_staff=True) for role in Role}
        for role, user in people.items():
            Membership.objects.create(user=user, team=team, role=role)
        agent = Agent.objects.create(
            team=team,
            owner=people[Role.ADMINISTRATOR],
            slug="shop-desk",
            name="Shop desk",
            purpose="Answers customers.",
        )
    agent.bootstrap(DOCUMENT, by=MACHINE, reason="the first version")
    put_in_force(agent, "objective", {"maturity_s": 2}, by=MACHINE, reason="seconds instead of hours")
    put_in_force(agent, "policy", demo_policy(), by=MACHINE, reason="seconds instead of hours")
    agent.refresh_from_db()
    return agent, people


def _keys(agent: Agent) -> list[str]:
    scopes = ["harness:read", "episode:write", "outcome:write", "outcome:truth"]
    made = (
        ApiKey.issue(kind="agent", name=f"agent {n}", owner=agent.owner, agent=agent, scopes=scopes, by=MACHINE)
        for n in range(NUM_KEYS)
    )
    return [secret for _, secret in made]


def _intent(agent: Agent) -> Intent:
    definition = "The customer wants something sent abroad."
    return define(agent, name="Shipping abroad", definition=definition, examples=ASKED, by=MACHINE)


def _proposal(agent: Agent, people: dict[Role, User], intent: Intent) -> Proposal:
    at = timezone.now() - timedelta(hours=2)
    with acting(MACHINE, reason="found"):
        pattern = Pattern.objects.create(
            agent=agent, layer="context", kind="unanswered", intent=intent, title="Nobody answers shipping",
            first_seen_at=at, last_seen_at=at, num_subjects=8, num_episodes=9,
        )  # fmt: skip
    conversation = Conversation.objects.create(
        agent=agent, external_id="seen", subject="earlier", split="dev", started_at=at, last_at=at, settled_at=at
    )
    episode = Episode(
        agent=agent, conversation=conversation, external_id="seen", started_at=at,
        input={"messages": [{"role": "user", "content": ASKED[0]}]}, output={"text": "No idea."},
    )  # fmt: skip
    # The record is verified when the story ends, this episode with it.
    episode.body_digest, _ = digest_of_content(episode.content())
    episode.save()
    document = {"title": "Shipping abroad", "text": "We send parcels to every country in Europe.", "tags": []}
    sketch = Sketch(
        title="Answer shipping", claim="fixes", rationale="Nobody can.", target_intents=[intent.slug],
        patch=[{"op": "add", "path": "/context/documents/shipping-abroad", "value": document}],
        evidence=[Quote(episode, ASKED[0])],
    )  # fmt: skip
    author = people[Role.ENGINEER].as_actor()
    proposal = draft(agent, sketch, by=author, pattern=pattern)
    proposal.submit(by=author, reason="ready")
    judged(proposal)  # type: ignore[no-untyped-call]  # fixtures' modules carry no types
    proposal.approve(by=people[Role.APPROVER].as_actor(), reason="right")
    proposal.refresh_from_db()
    return proposal


def _started(proposal: Proposal, people: dict[Role, User]) -> Release:
    manager = people[Role.RELEASE_MANAGER].as_actor()
    release = draft_release(
        proposal, by=manager, reason="goes out", overrides={"steps": STEPS, "aftermath_users": 60, "aftermath_s": 120}
    )
    release.submit(by=manager, reason="ready")
    release.approve(by=people[Role.APPROVER].as_actor(), reason="right", plan_digest=release.plan_digest)
    release.start(by=manager, reason="go")
    return release


def found(story: str) -> dict[str, Any]:
    """Make the rows of a story and return what its clients must know."""
    call_command("migrate", verbosity=0)
    agent, people = _agent()
    intent = _intent(agent)
    facts: dict[str, Any] = {"agent": agent.slug, "keys": _keys(agent)}
    if story == "ramp":
        release = _started(_proposal(agent, people, intent), people)
        facts |= {"release": str(release.pk), "candidate": release.version.digest}
    return facts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(found(sys.argv[1])) + "\n")
