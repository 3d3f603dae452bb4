import threading
import time

import pytest

from evals.window import slide


class Shelf:
    """Stores what arrives and watches how much is under way."""

    def __init__(self):
        self.lock = threading.Lock()
        self.stored, self.stores, self.begun, self.most, self.left = [], 0, 0, 0, 0

    def begin(self):
        with self.lock:
            self.begun += 1
            self.most = max(self.most, self.begun - len(self.stored))

    def store(self, values):
        assert threading.current_thread() is threading.main_thread()
        with self.lock:
            self.stored += values
            self.stores += 1

    def leave(self):
        with self.lock:
            self.left += 1


@pytest.fixture
def shelf():
    return Shelf()


@pytest.mark.parametrize("width", [1, 3, 8])
def test_slide__more_items_than_places__stores_each_once_and_never_exceeds_the_width(shelf, width):
    def work(number):
        shelf.begin()
        time.sleep(0.001 * (number % 3))
        return number

    assert slide(range(40), work, shelf.store, width=width, leave=shelf.leave) == 40

    assert sorted(shelf.stored) == list(range(40))
    assert shelf.most <= width
    assert shelf.left == width


def test_slide__one_slow_item__holds_up_nobody(shelf):
    tenth = threading.Event()

    def work(number):
        if number == 0:
            assert tenth.wait(20), "nothing was worked on beside the slow one"
        if number == 10:
            tenth.set()
        return number

    slide(range(12), work, shelf.store, width=2)

    assert shelf.stored[-1] in {0, 11}
    assert len(shelf.stored) == 12


def test_slide__arrivals_while_storing__are_stored_together(shelf):
    all_done = threading.Barrier(5)

    def work(number):
        if number > 0:
            all_done.wait(20)
        return number

    def store(values):
        if values == [0]:
            all_done.wait(20)  # the four others end while the first is being stored
            time.sleep(0.05)
        shelf.store(values)

    slide(range(5), work, store, width=5)

    assert shelf.stores == 2


def test_slide__told_to_stop__begins_nothing_more_and_keeps_what_is_under_way(shelf):
    answers = iter([True, True, True, False])

    assert slide(range(100), lambda number: number, shelf.store, width=2, go_on=lambda: next(answers)) == 3

    assert sorted(shelf.stored) == [0, 1, 2]


def test_slide__item_fails__stores_the_others_first(shelf):
    failed = threading.Event()

    def work(number):
        if number == 1:
            failed.set()
            raise ValueError("no luck")
        assert failed.wait(20)
        time.sleep(0.02)
        return number

    with pytest.raises(ValueError, match="no luck"):
        slide(range(50), work, shelf.store, width=3, leave=shelf.leave)

    assert set(shelf.stored) >= {0, 2}
    assert len(shelf.stored) < 49
    assert shelf.left == 3


def test_slide__store_fails__ends_its_threads(shelf):
    def store(values):
        raise RuntimeError("the database is away")

    with pytest.raises(RuntimeError, match="away"):
        slide(range(50), lambda number: number, store, width=3, leave=shelf.leave)

    assert shelf.left == 3


def test_slide__nothing_to_do__starts_no_thread(shelf):
    assert slide([], lambda number: number, shelf.store, width=3, leave=shelf.leave) == 0
    assert (shelf.stores, shelf.left) == (0, 0)
