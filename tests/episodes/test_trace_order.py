"""However spans come: shuffled, repeated, split, delayed, from two sides at once, the database holds the same episodes,
each analyzed once.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import Count
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.acting import MACHINE
from episodes.assembling import assemble_due
from episodes.commitments import verify_committed
from episodes.content import names_content
from episodes.jobs import commit_captured, review_conversations, understand_captured
from episodes.judging import report_outcome
from episodes.models import Conversation, Critique, Episode, EpisodeAmendment, PatternMember, Signal, Trace
from episodes.otlp.spans import Log, Span
from episodes.settling import settle_agent
from episodes.tracing import receive
from episodes.understanding import understand_waiting
from harness.models import Agent
from jobs.models import Task
from tests.episodes.factories import LONG_AGO
from tests.episodes.otlp.making import AGENT, a_span, chat
from tests.episodes.otlp.test_order import traces
from tests.episodes.test_traces import make_due, run

pytestmark = pytest.mark.django_db

type Record = Span | Log


def send(agent: Agent, records: Iterable[Record]) -> None:
    told = list(records)
    receive(agent, [one for one in told if isinstance(one, Span)], [one for one in told if isinstance(one, Log)])


def assemble() -> None:
    make_due()
    assemble_due()


def held(agent: Agent) -> dict[str, tuple[str, str, str]]:
    """Return what the database holds of an agent: by id the digest of the content, the talk and its user."""
    found = {}
    for row in Episode.objects.filter(agent=agent).select_related("conversation"):
        assert names_content(row.body_digest, row.content())
        found[row.external_id] = (row.body_digest, row.conversation.external_id, row.conversation.subject)
    return found


@contextmanager
def undone() -> Iterator[None]:
    """Let an example begin with nothing and leave nothing."""
    with transaction.atomic():
        try:
            yield
        finally:
            transaction.set_rollback(True)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(traces(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_records__in_any_order_and_parts__are_the_episodes_they_are_at_once_and_analyzed_once(
    agent: Agent, other_agent: Agent, trace: tuple[list[Span], list[Log]], chance: random.Random, parts: int
) -> None:
    with undone():
        records: list[Record] = [one for some in trace for one in some]
        send(other_agent, records)
        assemble()
        told = [*records, *chance.choices(records, k=len(records) // 2)]
        chance.shuffle(told)
        analyzed: Counter[str] = Counter()

        for part in itertools.batched(told, -(-len(told) // parts), strict=False):
            send(agent, part)
            if chance.random() < 0.7:
                assemble()
                analyzed.update(_analyzed(agent))
            if chance.random() < 0.3:
                commit_captured()
        assemble()
        analyzed.update(_analyzed(agent))

        assert held(agent) == held(other_agent)
        assert analyzed == Counter(held(agent).keys())
        assert list(Trace.objects.exclude(error="")) == []
        commit_captured()
        assert list(verify_committed()) == []


def _analyzed(agent: Agent) -> list[str]:
    """Analyze as the clock does; return whose mark of it is new. A mark once set never moves."""
    before = _marks(agent)
    understand_captured()
    tasks = Task.objects.filter(name="episodes.jobs.understand", key=str(agent.pk))
    assert tasks.exists() == (None in before.values())
    tasks.delete()
    done = understand_waiting(agent.pk)
    after = _marks(agent)
    fresh = [name for name, mark in after.items() if mark != before[name]]
    assert all(before[name] is None for name in fresh)
    assert len(fresh) == done
    return fresh


def _marks(agent: Agent) -> dict[str, Any]:
    return dict(Episode.objects.filter(agent=agent).values_list("external_id", "understood_at"))


def test_late_spans__that_give_an_episode_what_it_said_before__hold_nothing_up(agent: Agent) -> None:
    """A child whose parent is missing counts as the trace's, until that parent turns out to be an agent of its own."""
    root = a_span(1, seconds=(0, 9), attributes=AGENT)
    child, parent = a_span(3, 2, seconds=(3, 4), attributes=chat()), a_span(2, seconds=(2, 5), attributes=AGENT)
    digests = []
    for part in ([root], [child], [parent], [a_span(4, 1, seconds=(6, 7), attributes=chat("And then?"))]):
        send(agent, part)
        assemble()
        commit_captured()
        digests.append(Episode.objects.get(external_id=root.trace_id).body_digest)

    assert digests[0] == digests[2]
    assert len(set(digests)) == 3
    assert EpisodeAmendment.objects.count() == 3
    assert Episode.objects.count() == 2
    assert list(Trace.objects.exclude(error="")) == []
    assert list(verify_committed()) == []


def test_late_spans__after_the_talk_was_reviewed__amend_what_is_analyzed_settled_and_judged_once(agent: Agent) -> None:
    first, *late = run()
    send(agent, [first])
    assemble()
    understand_waiting(agent.pk)
    episode = Episode.objects.get()
    report_outcome(episode, name="failed", source="customer", by=MACHINE)
    Conversation.objects.update(started_at=LONG_AGO, last_at=LONG_AGO)
    asked: list[Any] = []
    settle_agent(agent, then=asked.extend)
    review_conversations([str(key) for key in asked])
    before = Critique.objects.values_list("pk", flat=True)[::1]

    for record in late:
        send(agent, [record])
        assemble()
        assert understand_waiting(agent.pk) == 0
    Conversation.objects.update(started_at=LONG_AGO, last_at=LONG_AGO)
    settle_agent(agent, then=asked.extend)
    review_conversations([str(key) for key in asked])

    amended = Episode.objects.get()
    assert (amended.understood_at, len(amended.steps)) == (episode.understood_at, 3)
    assert before == Critique.objects.values_list("pk", flat=True)[::1] != []
    assert PatternMember.objects.count() <= 1


@pytest.mark.django_db(transaction=True)
def test_assemblers__two_at_once_while_spans_arrive__make_each_episode_once(agent: Agent, other_agent: Agent) -> None:
    told = {n: run(f"{n:032x}", **{"session.id": f"talk {n % 3}", "user.id": f"user {n % 3}"}) for n in range(1, 25)}
    send(other_agent, itertools.chain.from_iterable(told.values()))
    assemble()
    chance = random.Random(5)
    late = [span for spans in told.values() for span in spans[1:]]
    late += chance.choices(late, k=8)
    chance.shuffle(late)
    late = [spans[0] for spans in told.values()] + late
    done: list[int] = []
    is_over = threading.Event()

    def deliver() -> None:
        try:
            for part in itertools.batched(late, 2, strict=False):
                send(agent, part)
        finally:
            is_over.set()

    def analyze() -> None:
        while not is_over.wait(0.01):
            done.append(understand_waiting(agent.pk))

    def put_together() -> None:
        while not is_over.wait(0.01):
            with transaction.atomic():
                free = Trace.objects.waiting().select_for_update(skip_locked=True)
                keys = list(free.values_list("pk", flat=True))
                Trace.objects.filter(pk__in=keys).update(due_at=timezone.now(), last_at=LONG_AGO)
            assemble_due()

    together(deliver, put_together, put_together, analyze, analyze)
    assemble()
    done.append(understand_waiting(agent.pk))

    assert held(agent) == held(other_agent)
    assert sum(done) == len(held(agent)) == len(told)
    assert EpisodeAmendment.objects.filter(episode__agent=agent).exists()
    twice = Signal.objects.values("episode", "kind").annotate(number=Count("pk")).filter(number__gt=1)
    assert list(twice) == []


def together(*works: Callable[[], None]) -> None:
    """Do all works at once, each in a thread with a connection of its own; raise what one of them raised."""
    start, raised = threading.Barrier(len(works)), []

    def body(work: Callable[[], None]) -> None:
        start.wait()
        try:
            work()
        except Exception as error:  # noqa: BLE001  # handed to the test's own thread
            raised.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=body, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert raised == []
