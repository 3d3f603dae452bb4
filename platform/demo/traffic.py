"""Customers who keep coming: conversations with the agent, and outcomes from the shop's own records."""

import queue
import threading
from collections.abc import Callable

from demo.customers import Conversation, report_outcomes, serve_customers
from demo.scenario import Scenario
from demo.world import World

__all__ = ["Traffic"]

CONCURRENCY = 4


class Traffic:
    """Sends customers in batches, each new to the shop, and remembers what each of them wanted.

    What a customer wanted is known here only, for the support staff who read the conversation and for nobody else.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._batch = 0
        self.num_customers = 0
        self.wants: dict[str, str] = {}
        self.refusals: list[str] = []

    @property
    def scenario(self) -> Scenario:
        return self._world.scenario

    def send(self, number: int, *, on_progress: Callable[[int], None] = lambda _: None) -> int:
        """Play `number` customers to their end and report their outcomes; return how many were resolved."""
        self._batch += 1
        outbox: queue.Queue[Conversation | None] = queue.Queue()
        reporter = threading.Thread(target=self._report, args=(outbox,), name="outcomes")
        reporter.start()
        resolved = 0
        try:
            seed = self._seed * 10_000 + self._batch
            for conversation in serve_customers(
                self.scenario, self._world.agent_url, number, seed, concurrency=CONCURRENCY
            ):
                self.wants[conversation.id] = conversation.intent
                outbox.put(conversation)
                resolved += conversation.resolved
                self.num_customers += 1
                on_progress(self.num_customers)
        finally:
            outbox.put(None)
            reporter.join()
        return resolved

    def _report(self, outbox: "queue.Queue[Conversation | None]") -> None:
        """Post outcomes as they come, several at a time when they pile up."""
        open_ = True
        while open_:
            first = outbox.get()
            batch = [] if first is None else [first]
            open_ = first is not None
            while open_ and not outbox.empty() and len(batch) < 50:
                following = outbox.get()
                if following is None:
                    open_ = False
                else:
                    batch.append(following)
            if batch:
                _, reasons = report_outcomes(batch, self._world.base_url, self._world.outcome_key)
                self.refusals += reasons
