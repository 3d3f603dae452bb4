import pytest

from evals.turns import LONGEST_S, ROUNDS, SHORTEST_S, Turn


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def begun(turn, number):
    return sum(turn.goes_on() for _ in range(number))


def test_turn__nobody_waits__goes_on_until_a_job_must_end(clock):
    turn = Turn(lambda: False, width=2, clock=clock)

    for _ in range(100):
        clock.now += LONGEST_S / 101
        assert turn.goes_on()
    clock.now = LONGEST_S

    assert not turn.goes_on()
    assert turn.is_over


def test_turn__others_wait__ends_after_its_shortest_time(clock):
    turn = Turn(lambda: True, width=2, clock=clock)
    assert begun(turn, 1_000) == 1_000

    clock.now = SHORTEST_S

    assert not turn.goes_on()


def test_turn__slow_trials__plays_several_in_each_place_first(clock):
    turn = Turn(lambda: True, width=3, clock=clock)

    number = 0
    while turn.goes_on():
        number += 1
        clock.now += 10 * SHORTEST_S

    assert number == 3 * ROUNDS


def test_turn__over__stays_over(clock):
    waits = iter([True])
    turn = Turn(lambda: next(waits), width=1, clock=clock)
    begun(turn, ROUNDS)
    clock.now = SHORTEST_S

    assert [turn.goes_on() for _ in range(3)] == [False] * 3


def test_turn__many_trials__asks_seldom(clock):
    asked = []
    turn = Turn(lambda: bool(asked.append(clock.now)), width=1, clock=clock)

    for _ in range(1_000):
        clock.now += SHORTEST_S / 100
        turn.goes_on()

    assert len(asked) <= 11
