"""Patterns: joining, starting, never forking, escalating, regressing; made of dev conversations alone."""

import threading
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import connections
from django.utils import timezone

from accounts.acting import MACHINE
from audit.models import Event
from episodes.intents import define
from episodes.models import Conversation, Critique, Episode, Pattern, PatternMember
from episodes.patterns import ESCALATE_SUBJECTS, place
from episodes.splits import split_of
from harness.models import Agent
from inference.encoder import MODEL_ID, encode
from tests.episodes.factories import item, later, lived, retrieval_step, tool_step

pytestmark = pytest.mark.django_db


def unit(seed: int) -> Any:
    vector = np.random.default_rng(seed).normal(size=384).astype(np.float32)
    return vector / np.linalg.norm(vector)


def near(vector: Any, cosine: float, seed: int = 99) -> Any:
    other = unit(seed)
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    return (cosine * vector + np.sqrt(1 - cosine**2) * other).astype(np.float32)


def critique(
    agent: Agent, name: str, *, subject: str | None = None, split: str = "dev", layer: str = "context", at: Any = None
) -> Critique:
    now = at or timezone.now()
    conversation = Conversation.objects.create(
        agent=agent, external_id=name, subject=name if subject is None else subject, split=split, started_at=now, last_at=now,
        opening=f"opening of {name}", embedding_model="any",
    )  # fmt: skip
    episode = Episode.objects.create(
        agent=agent, conversation=conversation, external_id=name, started_at=now, body_digest="0" * 64
    )
    row = Critique(episode=episode, source="rules", is_failure=True, what="It failed.", layer=layer)
    row.save()
    return row


def test_place__same_place_and_meaning__joins(agent: Agent) -> None:
    vector = unit(1)
    first = place(critique(agent, "a"), kind="unmet_need", vector=vector)

    second = place(critique(agent, "b"), kind="unmet_need", vector=near(vector, 0.8))

    assert first == second
    pattern = Pattern.objects.get()
    assert (pattern.num_episodes, pattern.num_subjects, pattern.status) == (2, 2, "new")
    assert np.array(pattern.centroid) == pytest.approx((vector + near(vector, 0.8)) / 2, abs=1e-6)
    assert "Context" in pattern.title
    assert "opening of a" in pattern.title
    assert Event.objects.filter(action="pattern.start").count() == 1


@pytest.mark.parametrize("change", [{"kind": "loop"}, {"layer": "tools"}, {"cosine": 0.4}])
def test_place__other_place_or_meaning__starts_another(agent: Agent, change: dict[str, Any]) -> None:
    vector = unit(1)
    place(critique(agent, "a"), kind="unmet_need", vector=vector)

    place(
        critique(agent, "b", layer=change.get("layer", "context")),
        kind=change.get("kind", "unmet_need"), vector=near(vector, change.get("cosine", 0.9)),
    )  # fmt: skip

    assert Pattern.objects.count() == 2


def test_place__known_intent__holds_looser_meanings_together(agent: Agent) -> None:
    intent = define(agent, name="Refund", definition="Money back.", examples=["one a", "two b", "three c"], by=MACHINE)
    vector = unit(1)
    for name, v in (("a", vector), ("b", near(vector, 0.4)), ("c", near(vector, 0.5, 7))):
        row = critique(agent, name)
        row.episode.conversation.intent = intent
        row.episode.conversation.save()
        place(row, kind="unmet_need", vector=v)

    pattern = Pattern.objects.get()
    assert (pattern.intent, pattern.num_episodes) == (intent, 3)
    assert "Refund" in pattern.title


def test_adopt__want_gets_a_name_later__its_pattern_too(agent: Agent) -> None:
    said = ["I want my money back", "please give me my money back", "can I have my money back"]
    for n, text in enumerate(said):
        row = critique(agent, f"c-{n}")
        vector = encode([text])[0]
        Conversation.objects.filter(pk=row.episode.conversation_id).update(embedding=vector, embedding_model=MODEL_ID)
        place(row, kind="unmet_need", vector=vector)
    assert "without a name" in Pattern.objects.get().title

    intent = define(agent, name="Refund", definition="Wants money back.", examples=said, by=MACHINE)

    pattern = Pattern.objects.get()
    assert (pattern.intent, "Refund" in pattern.title) == (intent, True)
    assert pattern.history.first().history_change_reason == "most of its members mean 'Refund'"


def test_place__same_critique_again__changes_nothing(agent: Agent) -> None:
    row = critique(agent, "a")
    place(row, kind="k", vector=None)

    assert place(row, kind="k", vector=None) is None
    assert Pattern.objects.get().num_episodes == 1


def test_place__same_subject_or_nameless__users_are_counted_once_each(agent: Agent) -> None:
    for name, subject in (("a", "u"), ("b", "u"), ("c", ""), ("d", "")):
        place(critique(agent, name, subject=subject), kind="k", vector=None)

    pattern = Pattern.objects.get()
    assert (pattern.num_episodes, pattern.num_subjects) == (4, 3)


@pytest.mark.parametrize("split", ["verify", "holdout"])
def test_place__outside_dev__makes_no_pattern(agent: Agent, split: str) -> None:
    assert place(critique(agent, "a", split=split), kind="k", vector=unit(1)) is None
    assert not Pattern.objects.exists()


def test_place__many_users_in_the_window__escalates_once(agent: Agent) -> None:
    long_ago = timezone.now() - timedelta(days=40)
    place(critique(agent, "old", at=long_ago), kind="k", vector=None)
    for n in range(ESCALATE_SUBJECTS - 1):
        place(critique(agent, f"e-{n}"), kind="k", vector=None)
    assert Pattern.objects.get().status == "new"

    for n in range(3):
        place(critique(agent, f"more-{n}"), kind="k", vector=None)

    assert Pattern.objects.get().status == "escalating"
    assert Event.objects.filter(action="pattern.escalate").count() == 1


def test_place__return_after_resolution__regresses_at_the_third(agent: Agent) -> None:
    pattern = place(critique(agent, "a"), kind="k", vector=None)
    assert pattern is not None
    pattern.address(by=MACHINE, reason="released")
    pattern.resolve(by=MACHINE, reason="verified")
    for n in range(4):
        place(critique(agent, f"late-{n}", at=timezone.now() - timedelta(hours=1)), kind="k", vector=None)
    assert Pattern.objects.get().status == "resolved"

    for n in range(2):
        place(critique(agent, f"new-{n}"), kind="k", vector=None)
    assert Pattern.objects.get().status == "resolved"
    place(critique(agent, "new-2"), kind="k", vector=None)

    assert Pattern.objects.get().status == "regressed"


def test_place__ignored_pattern__collects_in_silence(agent: Agent, cast: Any) -> None:
    pattern = place(critique(agent, "a"), kind="k", vector=None)
    assert pattern is not None
    pattern.ignore(by=cast.support.as_actor(), reason="known")

    for n in range(ESCALATE_SUBJECTS + 2):
        place(critique(agent, f"e-{n}"), kind="k", vector=None)

    pattern = Pattern.objects.get()
    assert (pattern.status, pattern.num_episodes) == ("ignored", ESCALATE_SUBJECTS + 3)


@pytest.mark.django_db(transaction=True)
def test_place__two_threads_on_one_agent__do_not_fork(agent: Agent) -> None:
    vector = unit(1)
    shares = [[critique(agent, f"{worker}-{n}").pk for n in range(8)] for worker in range(2)]
    barrier = threading.Barrier(2)

    def work(keys: list[Any]) -> None:
        try:
            rows = [
                Critique.objects.select_related("episode__conversation", "episode__agent").get(pk=key) for key in keys
            ]
            barrier.wait()
            for row in rows:
                place(row, kind="unmet_need", vector=vector)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(keys,)) for keys in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    pattern = Pattern.objects.get()
    assert (pattern.num_episodes, pattern.num_subjects, PatternMember.objects.count()) == (16, 16, 16)


def dev_names(agent: Agent, count: int) -> list[str]:
    named = (f"c-{n}" for n in range(10_000))
    return [
        name
        for name, _ in zip(
            (n for n in named if split_of(settings.SECRET_KEY, agent.pk, n, "help") == "dev"),
            range(count),
            strict=False,
        )
    ]


def test_loop__tool_defect_over_several_wants__is_one_pattern(agent: Agent) -> None:
    names = dev_names(agent, 4)
    for n, name in enumerate(names):
        steps = [retrieval_step(0.9), tool_step(order_id=str(n), error=f"no order '{n}'")]
        lived(
            agent, item(name, "help", conversation=name, subject=name, steps=steps, started_at=later(n)), end="failed"
        )

    pattern = Pattern.objects.get()
    assert (pattern.layer, pattern.kind, pattern.intent) == ("tools", "tool_error:lookup_order", None)
    assert (pattern.num_episodes, pattern.num_subjects) == (4, 4)
    assert "lookup_order" in pattern.title
