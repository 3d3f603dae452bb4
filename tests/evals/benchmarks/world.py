"""An agent that has lived: some hundred conversations of three wants, as capture and analysis leave them."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from accounts.acting import MACHINE, acting
from episodes.models import Conversation, CorrectedEpisode, Correction, Episode, Intent
from harness.models import Agent
from inference.encoder import MODEL_ID
from tests.conftest import make_agent, make_cast

LONG_AGO = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
SPLITS = ["dev", "verify", "dev", "holdout", "dev", "verify", "dev", "holdout", "verify", "dev"]
# Conversations of each want: of ten, six are refunds, three returns, and one is nothing that has a name.
WANTS = ["refund", "refund", "returns", "refund", "refund", "returns", "refund", "", "returns", "refund"]
QUESTIONS = {
    "refund": "When do I get my money back for order A{n}?",
    "returns": "How long may I take to send parcel {n} back?",
    "": "What about thing number {n} then?",
}


def talk(agent, n, intents):
    """The n-th conversation: every third one failed, the others were resolved by the word of the customer's system."""
    want, failed = WANTS[n % 10], n % 3 == 0
    at = LONG_AGO + timedelta(minutes=n)
    return Conversation(
        agent=agent, external_id=f"talk {n}", subject=f"person{n}@home.test", split=SPLITS[n // 10 % 10],
        opening=QUESTIONS[want].format(n=n), started_at=at, last_at=at, settled_at=at, intent=intents.get(want),
        resolution="failed" if failed else "resolved", resolution_source="customer", embedding_model=MODEL_ID,
    )  # fmt: skip


def turn(conversation, n):
    failed = conversation.resolution == "failed"
    said = {"text": "I do not know.", "handoff": True} if failed else {
        "text": f"You have 30 days, says {conversation.intent.slug if conversation.intent else 'nobody'}.", "handoff": False,
        "sources": [f"{conversation.intent.slug}-policy"] if conversation.intent else [],
    }  # fmt: skip
    return Episode(
        agent=conversation.agent, conversation=conversation, external_id=f"episode {n}", started_at=conversation.started_at,
        input={"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": conversation.opening}]},
        output=said, body_digest="0" * 64, understood_at=conversation.started_at,
    )  # fmt: skip


def live(agent, number):
    """Let the agent have `number` conversations of one turn each; return its intents by slug."""
    intents = {}
    for slug in ("refund", "returns"):
        intents[slug] = Intent(agent=agent, slug=slug, name=f"{slug.title()} status", state="live")
        intents[slug].save()
    talks = Conversation.objects.bulk_create(talk(agent, n, intents) for n in range(number))
    Episode.objects.bulk_create(turn(one, n) for n, one in enumerate(talks))
    return intents


def correct(agent, episodes, **said):
    """One correction of all these episodes, as support writes it."""
    correction = Correction(agent=agent, corrected_by_name="support", **said)
    with acting(MACHINE, reason="support corrected them"):
        correction.save()
        for episode in episodes:
            CorrectedEpisode(correction=correction, episode=episode).save()
    return correction


def failed_episodes(agent, intent, splits=("dev", "verify", "holdout")):
    rows = Episode.objects.filter(agent=agent, conversation__resolution="failed", conversation__intent__slug=intent)
    return list(rows.filter(conversation__split__in=splits).order_by("pk"))


def make_lived(number=210):
    """The cast, and the agent with what it lived; a correction covers the failed refunds of every split."""
    cast = make_cast()
    agent = make_agent(cast.team, cast.administrator, "shop-desk")
    with acting(MACHINE, reason="a world of the past"):
        intents = live(agent, number)
    correction = correct(
        agent, failed_episodes(agent, "refund")[:20], answer="The money is back within 5 days.", title="Say when"
    )
    return SimpleNamespace(cast=cast, agent=Agent.objects.get(pk=agent.pk), intents=intents, correction=correction)
