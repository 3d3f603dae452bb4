"""Who is acting, and why: carried from a request or a job to history rows and audit events."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

__all__ = ["MACHINE", "NOBODY", "Acting", "Actor", "acting", "current"]


@dataclass(frozen=True)
class Actor:
    """Whoever performs an act: a person, a key acting for its owner, the platform itself, or nobody known.

    `user_id` is the person answerable for the act (a key counts as its owner); `None` for the machine.
    `agent_id` is set for an agent's own key, which can see and do nothing outside that agent.
    `scopes` is `None` for a person at the keyboard; a key can do only what its scopes name.
    """

    kind: Literal["user", "key", "machine", "nobody"]
    name: str
    user_id: UUID | None = None
    key_id: UUID | None = None
    agent_id: UUID | None = None
    scopes: frozenset[str] | None = None
    is_simulated: bool = False

    @property
    def is_machine(self) -> bool:
        return self.kind == "machine"

    def __str__(self) -> str:
        return self.name


MACHINE = Actor(kind="machine", name="whetstone")
NOBODY = Actor(kind="nobody", name="nobody")


@dataclass(frozen=True)
class Acting:
    """The actor of the moment, the reason given and the request or job it happens in."""

    actor: Actor = MACHINE
    reason: str = ""
    request_id: str = ""


_current: ContextVar[Acting] = ContextVar("whetstone_acting", default=Acting())  # noqa: B039  # frozen


def current() -> Acting:
    """Return who is acting now; the machine where nobody said otherwise."""
    return _current.get()


@contextmanager
def acting(actor: Actor, *, reason: str | None = None, request_id: str | None = None) -> Iterator[Acting]:
    """Act as `actor` inside the block; reason and request id are inherited when not given."""
    outer = _current.get()
    inner = Acting(
        actor=actor,
        reason=outer.reason if reason is None else reason,
        request_id=outer.request_id if request_id is None else request_id,
    )
    token = _current.set(inner)
    try:
        yield inner
    finally:
        _current.reset(token)
