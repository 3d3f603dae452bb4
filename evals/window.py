"""A sliding window: so many things under way at once, each stored before its place is given away."""

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

__all__ = ["slide"]


class _Outcome[B](NamedTuple):
    value: B | None
    error: BaseException | None


def slide[A, B](
    items: Iterable[A],
    work: Callable[[A], B],
    store: Callable[[Sequence[B]], None],
    *,
    width: int,
    go_on: Callable[[], bool] = lambda: True,
    leave: Callable[[], None] = lambda: None,
) -> int:
    """Work on `width` items at once in threads and store what comes of them here, in order of arrival; return how many.

    An item counts as under way until it is stored, so a killed process has at most `width` items to repeat. What
    arrives while a store is going on is stored by the next one together. `go_on` is asked here before each item; after
    `False` what is under way still ends and is stored, and so it does before an error of `work` is raised. Each thread
    calls `leave` when it ends.
    """
    waiting, todo, arrived = iter(items), queue.SimpleQueue[A | None](), queue.SimpleQueue[_Outcome[B]]()
    threads: list[threading.Thread] = []
    under_way, num_stored, failure, is_open = 0, 0, None, True
    try:
        while True:
            while is_open and under_way < width:
                item = next(waiting, None) if go_on() else None
                if item is None:
                    is_open = False
                    break
                todo.put(item)
                under_way += 1
                if len(threads) < min(width, under_way):
                    threads.append(_worker(todo, arrived, work, leave))
            if not under_way:
                break
            outcomes = _arrivals(arrived)
            under_way -= len(outcomes)
            values = [one.value for one in outcomes if one.error is None]
            if values:
                store(values)  # type: ignore[arg-type]  # without an error there is a value
                num_stored += len(values)
            failure = failure or next((one.error for one in outcomes if one.error is not None), None)
            is_open = is_open and failure is None
    finally:
        for _ in threads:
            todo.put(None)
        for thread in threads:
            thread.join()
    if failure is not None:
        raise failure
    return num_stored


def _worker[A, B](
    todo: queue.SimpleQueue[A | None],
    arrived: queue.SimpleQueue[_Outcome[B]],
    work: Callable[[A], B],
    leave: Callable[[], None],
) -> threading.Thread:
    def serve() -> None:
        try:
            while (item := todo.get()) is not None:
                try:
                    arrived.put(_Outcome(work(item), None))
                except BaseException as error:  # noqa: BLE001  # raised again where the window is slid
                    arrived.put(_Outcome(None, error))
        finally:
            leave()

    thread = threading.Thread(target=serve, name="window", daemon=True)
    thread.start()
    return thread


def _arrivals[B](arrived: queue.SimpleQueue[_Outcome[B]]) -> list[_Outcome[B]]:
    """Wait for one outcome and take with it what else has arrived."""
    outcomes = [arrived.get()]
    while True:
        try:
            outcomes.append(arrived.get_nowait())
        except queue.Empty:
            return outcomes
