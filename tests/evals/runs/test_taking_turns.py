"""Runs that share workers: a turn ends where others wait, and the run queues anew behind them."""

from contextlib import contextmanager
from itertools import pairwise

import pytest

from accounts.acting import MACHINE
from evals import turns
from evals.freezing import begin_run
from evals.jobs import play_run, validate_next_of
from evals.models import CurationTrial
from evals.playing import play
from evals.runners import HttpRunner, Played
from jobs.models import Task
from tests.evals.runs.conftest import smaller


@pytest.fixture
def short_turns(monkeypatch):
    monkeypatch.setattr(turns, "SHORTEST_S", 0.0)


@pytest.fixture
def somebody_waits():
    Task.objects.create(name="evals.jobs.play_run", key="another run", queue="runs")


def waiting(name, key):
    return Task.objects.filter(name=name, key=key, state="ready").count()


def test_play_run__others_wait__plays_a_turn_and_queues_anew(benchmark, submit, short_turns, somebody_waits):
    run = begin_run(submit())

    play_run(str(run.pk))

    run.refresh_from_db()
    width = run.as_playing().concurrency
    assert run.status == "running"
    assert turns.ROUNDS * width <= run.results.count() <= turns.ROUNDS * width + 1
    assert waiting("evals.jobs.play_run", str(run.pk)) == 1


def test_play_run__turn_after_turn__is_judged_and_plays_nothing_twice(
    benchmark, submit, endpoint, short_turns, somebody_waits
):
    run = smaller(begin_run(submit()))
    num_turns = 0

    while run.status in {"queued", "running"}:
        play_run(str(run.pk))
        run.refresh_from_db()
        num_turns += 1

    assert run.status == "judged"
    assert num_turns >= 4
    assert len(endpoint.asked) == run.num_planned == run.results.count()


def test_play_run__nobody_waits__plays_to_the_end(benchmark, submit, short_turns):
    run = smaller(begin_run(submit()))
    Task.objects.create(name="evals.jobs.play_run", key=str(run.pk), queue="runs")  # its own, put down a second time
    Task.objects.create(name="x", key="elsewhere", queue="default")

    play_run(str(run.pk))

    run.refresh_from_db()
    assert run.status == "judged"


def test_validate_next_of__others_wait__curates_a_turn_and_queues_anew(
    benchmark, submit, taught, short_turns, somebody_waits
):
    CurationTrial.objects.all().delete()
    submit()

    validate_next_of(str(taught.pk))

    cases = CurationTrial.objects.values("case").distinct().count()
    assert 0 < cases < 124
    assert waiting("evals.jobs.validate_next_of", str(taught.pk)) == 1
    assert not taught.runs.exists()


class Watched:
    """A runner that knows how many of its turns are under way."""

    name = "watched"

    def __init__(self, runner):
        self.runner, self.now, self.most = runner, 0, 0

    def play(self, *arguments, **named):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return self.runner.play(*arguments, **named)
        finally:
            self.now -= 1


@contextmanager
def running(run, endpoint):
    run.start(by=MACHINE)
    endpoint.delay_s = 0.002
    with HttpRunner(endpoint.url) as runner:
        yield Watched(runner)


def test_play__policy__says_how_many_are_under_way(benchmark, submit, endpoint):
    run = smaller(begin_run(submit()))
    with running(run, endpoint) as runner:
        play(run, runner)

    assert 2 <= runner.most <= run.as_playing().concurrency == 4


def test_play__arms__alternate_and_share_their_seed(benchmark, submit, endpoint):
    run = smaller(begin_run(submit()))
    with running(run, endpoint) as runner:
        play(run, runner)

    seeds = {}
    for body in endpoint.asked:
        seeds.setdefault(body["messages"][-1]["content"], []).append(body["seed"])
    assert all(sorted(both) == [run.seed, run.seed, run.seed + 1, run.seed + 1] for both in seeds.values())
    arms = list(run.results.order_by("played_at", "id").values_list("arm", flat=True))
    assert sum(a != b for a, b in pairwise(arms)) / len(arms) > 0.3


class Odd:
    """A runner whose answers cannot be stored."""

    name = "odd"

    def play(self, document, messages, *, user_state, seed):
        return Played(output={"text": "a\x00b"}, steps=[{"kind": "x", "latency_ms": float("nan")}], cost_usd=0.5)


def test_play__answer_that_cannot_be_stored__is_a_crash(benchmark, submit):
    run = begin_run(submit())
    run.start(by=MACHINE)
    limits = iter([True] * 3 + [False])

    assert play(run, Odd(), still_wanted=lambda: next(limits)) == 3

    for result in run.results.all():
        assert result.crashed
        assert "cannot be stored" in result.rationale
        assert (result.cost_usd, result.runner) == (0.5, "odd")
