"""The door: what is taken, what is refused, and that it happens once."""

import threading

import pytest
from django.db import connection, connections

from episodes.capture import MAX_EPISODES, capture
from episodes.door import Refused
from episodes.exceptions import BatchTooLargeError
from episodes.jobs import understand_captured
from episodes.models import Conversation, Episode
from harness.models import Agent
from jobs.models import Task
from proposals.drafting import text_of
from tests.episodes.factories import LONG_AGO, captured, item, later, tool_step, understood

pytestmark = pytest.mark.django_db


def test_capture__one_whole_episode__keeps_every_field(agent: Agent) -> None:
    steps = [tool_step(order_id="2", error="no order '2'"), {"kind": "handoff", "name": "person", "attempt": 2}]
    raw = item("e-1", steps=steps, workflow="turn", sources=["a-document"], usage={"cost_usd": 0.001}, arm="canary")
    raw |= {"release": "0197d7b0-0000-7000-8000-000000000000", "weight": 0.25, "harness_digest": "a" * 64}
    raw |= {"external_refs": {"ticket": "T-1"}, "attributes": {"language": "en"}, "ended_at": later(4)}

    [episode] = captured(agent, raw)

    assert (episode.workflow, episode.sources, episode.arm, episode.weight) == ("turn", ["a-document"], "canary", 0.25)
    assert (str(episode.release_ref), episode.harness_digest) == (raw["release"], "a" * 64)
    assert (episode.external_refs, episode.attributes) == ({"ticket": "T-1"}, {"language": "en"})
    rows = episode.step_readings()
    assert [(s.position, s.kind, s.attempt, s.status) for s in rows] == [
        (1, "tool_call", 1, "error"),
        (2, "handoff", 2, "ok"),
    ]
    conversation = episode.conversation
    assert (conversation.subject, conversation.opening) == ("user of e-1", "Where is my order, please?")
    assert conversation.last_at > conversation.started_at == LONG_AGO


def test_capture__only_an_id__is_a_conversation_of_its_own(agent: Agent) -> None:
    [episode] = captured(agent, {"id": "bare"})

    assert episode.conversation.external_id == "bare"
    assert episode.started_at is not None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"output": {"text": "a\x00b"}}, "nul"),
        ({"output": {"text": "a\ud800b"}}, "lone_surrogate"),
        ({"usage": {"tokens": 2**60}}, "big_integer"),
        ({"usage": {"cost": float("nan")}}, "not_finite"),
        ({"attributes": {"big": "x" * (2 * 1024 * 1024)}}, "too_large"),
        ({"id": ""}, "invalid"),
        ({"mood": "good"}, "invalid"),
        ({"steps": [{"kind": "dance"}]}, "invalid"),
        ({"started_at": "2999-01-01T00:00:00Z"}, "invalid"),
        ({"started_at": "0001-01-01T00:00:00+14:00"}, "invalid"),
        ({"ended_at": "9999-12-31T23:59:59-14:00"}, "invalid"),
        ({"ended_at": "2025-02-28T00:00:00Z"}, "invalid"),
        ({"agent": "another-desk"}, "other_agent"),
        ({"weight": 2}, "invalid"),
    ],
    ids=[
        "nul",
        "surrogate",
        "integer",
        "nan",
        "large",
        "no-id",
        "unknown-field",
        "step",
        "future",
        "before-the-calendar",
        "after-the-calendar",
        "backwards",
        "agent",
        "weight",
    ],
)
def test_capture__one_bad_item__is_named_and_the_others_are_kept(agent: Agent, change: dict, code: str) -> None:
    receipt = capture(agent, [item("first"), item("bad") | change, item("last")])

    assert receipt.accepted == 2
    [rejection] = receipt.rejected
    assert (rejection.index, rejection.code) == (1, code)
    assert rejection.reason
    assert set(Episode.objects.values_list("external_id", flat=True)) == {"first", "last"}


def test_capture__too_deep_or_no_object__is_refused_by_item(agent: Agent) -> None:
    deep: object = "bottom"
    for _ in range(100):
        deep = [deep]

    receipt = capture(
        agent, [item("deep", attributes={"deep": deep}), 5, Refused("not_json", "The line is not JSON."), item("fine")]
    )

    assert [(r.index, r.code) for r in receipt.rejected] == [(0, "too_deep"), (1, "invalid"), (2, "not_json")]
    assert receipt.accepted == 1


@pytest.mark.parametrize(
    "messages",
    [None, 5, "said", {}, [None], [{"role": ["user"]}], [{"role": {}, "content": {}}], [{"role": "user", "content": None}]],
    ids=repr,
)  # fmt: skip
def test_capture__messages_of_any_shape__are_kept_and_read_as_nothing_said(agent: Agent, messages: object) -> None:
    [episode] = understood(agent, item("a") | {"input": {"messages": messages}})

    assert (episode.input, episode.analysis_error) == ({"messages": messages}, "")
    assert (episode.user_texts(), episode.first_user_text, episode.conversation.opening) == ([], "", "")
    assert episode.understood_at


def test_capture__message_of_several_parts__is_read_as_text(agent: Agent) -> None:
    parts = [{"type": "text", "text": "Where is"}, {"type": "image_url"}, {"type": "text", "text": "my order?"}]

    [episode] = captured(agent, item("a") | {"input": {"messages": [{"role": "user", "content": parts}]}})

    assert episode.last_user_text == episode.conversation.opening == "Where is my order?"
    assert "Where is my order?" in text_of(episode)


def test_capture__same_batch_again__changes_nothing(agent: Agent) -> None:
    batch = [item("a"), item("b", steps=[tool_step()])]
    capture(agent, batch)

    again = capture(agent, batch)

    assert (again.accepted, again.duplicates, again.rejected) == (0, 2, [])
    assert (Episode.objects.count(), Conversation.objects.count()) == (2, 2)


def test_capture__known_id_with_other_content__is_rejected(agent: Agent) -> None:
    capture(agent, [item("a")])

    receipt = capture(
        agent, [item("a", output={"text": "Something else."}), item("b"), item("b"), item("b", workflow="x")]
    )

    assert (receipt.accepted, receipt.duplicates) == (1, 1)
    assert [(r.index, r.code) for r in receipt.rejected] == [(0, "already_captured"), (3, "already_captured")]
    assert Episode.objects.get(external_id="a").output == {"text": "It is on its way."}


def test_capture__same_id_at_two_agents__is_two_episodes(agent: Agent, other_agent: Agent) -> None:
    assert capture(agent, [item("a")]).accepted == 1
    assert capture(other_agent, [item("a")]).accepted == 1


def test_capture__second_subject_in_a_conversation__is_rejected(agent: Agent) -> None:
    capture(agent, [item("a", conversation="shared", subject="")])

    receipt = capture(
        agent, [item("b", conversation="shared", subject="one"), item("c", conversation="shared", subject="two")]
    )

    assert receipt.accepted == 1
    assert [(r.id, r.code) for r in receipt.rejected] == [("c", "other_subject")]
    assert Conversation.objects.get(external_id="shared").subject == "one"


def test_capture__further_turn__moves_the_conversation_and_opens_it_again(agent: Agent) -> None:
    captured(agent, item("a", conversation="c", subject="u"))
    Conversation.objects.update(settled_at=LONG_AGO)

    captured(agent, item("b", conversation="c", subject="u", started_at=later(60)))

    conversation = Conversation.objects.get()
    assert (conversation.last_at - LONG_AGO).total_seconds() == 60
    assert conversation.settled_at is None


def test_capture__personal_data_in_free_text__is_cut_but_ids_are_kept(agent: Agent) -> None:
    said = "Write to jane.roe@gmail.com please"

    [episode] = captured(agent, item("a", said, subject="jane.roe@gmail.com"))

    assert episode.last_user_text == "Write to [email] please"
    assert episode.conversation.opening == "Write to [email] please"
    assert episode.conversation.subject == "jane.roe@gmail.com"


def test_capture__too_many__is_refused_whole(agent: Agent) -> None:
    with pytest.raises(BatchTooLargeError, match=f"at most {MAX_EPISODES}"):
        capture(agent, [item("a")] * (MAX_EPISODES + 1))


def test_capture__hundred_episodes__takes_a_fixed_number_of_queries(
    agent: Agent, django_assert_max_num_queries
) -> None:
    batch = [item(f"e-{n}", steps=[tool_step()] * 3) for n in range(100)]
    agent.current_policy()

    with django_assert_max_num_queries(14):
        assert capture(agent, batch).accepted == 100


def test_capture__accepted__asks_for_understanding_once(agent: Agent) -> None:
    capture(agent, [item("a")])
    understand_captured()
    capture(agent, [item("b")])
    understand_captured()

    assert [task.arguments for task in Task.objects.filter(name="episodes.jobs.understand")] == [[str(agent.pk)]]


@pytest.mark.django_db(transaction=True)
def test_capture__same_episodes_from_many_threads__are_stored_once(agent: Agent) -> None:
    barrier, receipts = threading.Barrier(4), []

    def report(offset: int) -> None:
        names = [f"e-{(n + offset) % 30}" for n in range(30)]
        barrier.wait()
        try:
            receipts.append(
                capture(agent, [item(name, conversation=f"c-{int(name[2:]) % 5}", subject="u") for name in names])
            )
        finally:
            connections.close_all()

    threads = [threading.Thread(target=report, args=(7 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sum(receipt.accepted for receipt in receipts) == 30
    assert sum(receipt.duplicates for receipt in receipts) == 90
    assert (Episode.objects.count(), Conversation.objects.count()) == (30, 5)
    assert connection.is_usable()
