"""Episodes, corrections and proposals to work with."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.acting import MACHINE, acting
from episodes.models import Conversation, CorrectedEpisode, Correction, Episode, Intent, Pattern
from proposals.drafting import Quote, Sketch, draft

ANSWER = "We ship abroad to eleven countries for 9 euros. Delivery takes six working days."


@pytest.fixture
def intent(agent):
    with acting(MACHINE, reason="defined by a person"):
        return Intent.objects.create(agent=agent, slug="shipping-abroad", name="Shipping abroad", state="live")


@pytest.fixture
def pattern(agent, intent):
    now = timezone.now()
    with acting(MACHINE, reason="found"):
        return Pattern.objects.create(
            agent=agent, layer="context", kind="unanswered", intent=intent, title="Nobody answers shipping abroad",
            first_seen_at=now, last_seen_at=now, num_subjects=8, num_episodes=9,
        )  # fmt: skip


@pytest.fixture
def episode_of(agent, intent):
    """Make one failed episode of a conversation of its own."""

    def make(number, *, text="Do you ship to Norway?", split="dev", of=None, subject=None, steps=()):
        owner = of or agent
        at = timezone.now() - timedelta(minutes=number)
        conversation = Conversation.objects.create(
            agent=owner, external_id=f"c{number}", subject=subject or f"user-{number}", split=split, started_at=at, last_at=at, embedding_model="test",
            settled_at=at, resolution="failed", intent=intent if owner == agent else None,
        )  # fmt: skip
        return Episode.objects.create(
            agent=owner, conversation=conversation, external_id=f"e{number}", started_at=at, body_digest="0" * 64, understood_at=at,
            input={"messages": [{"role": "user", "content": text}]}, output={"text": "I cannot help."}, steps=list(steps),
        )  # fmt: skip

    return make


@pytest.fixture
def correct(agent, cast):
    """Write a correction over episodes."""

    def make(episodes, *, arguments=None, **fields):
        with acting(cast.support.as_actor(), reason="corrected"):
            correction = Correction.objects.create(agent=agent, corrected_by_name="support", **fields)
            for episode in episodes:
                CorrectedEpisode.objects.create(
                    correction=correction, episode=episode, arguments=(arguments or {}).get(episode.external_id, {})
                )
        return correction

    return make


def failed_call(value):
    """Return the stored step of a refused tool call."""
    refused = {"kind": "tool_call", "name": "lookup_order", "status": "error", "error": "unknown order"}
    return refused | {"input": {"order_id": value}}


@pytest.fixture
def rule_sketch(episode_of):
    """A person's small change of one prompt rule."""

    def make(text="Answer in two sentences.", **changes):
        fields = {
            "title": "Be brief",
            "claim": "fixes",
            "patch": [{"op": "add", "path": "/prompt/rules/brief", "value": {"position": 20, "text": text}}],
            "rationale": "Answers are long.",
            "evidence": [Quote(episode_of(90), "Norway")],
            "target_intents": ["shipping-abroad"],
        }
        return Sketch(**{**fields, **changes})

    return make


@pytest.fixture
def proposal(agent, cast, rule_sketch):
    """A draft by the engineer."""
    return draft(agent, rule_sketch(), by=cast.engineer.as_actor())
