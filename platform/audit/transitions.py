"""State machines as tables: one verb per edge, row-locked, each move an event of the record."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import models, transaction
from django.utils import timezone
from pydantic import BaseModel

from accounts.access import Scope, can, require
from accounts.acting import Actor, acting
from accounts.exceptions import NotPermittedError
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError, TransitionRefusedError
from audit.record import record

__all__ = ["Edge", "Stateful", "performer_of", "performs"]


@dataclass(frozen=True)
class Edge:
    """One move of a state machine: the verb on the model, where it may start, where it ends, who may make it.

    `permission` is `None` for moves that only the machine makes; `by_machine` lets the machine make it too.
    `form` describes what else the verb needs, for the page and the endpoint alike.
    """

    verb: str
    sources: frozenset[str]
    target: str
    permission: Permission | None
    label: str
    by_machine: bool = False
    needs_reason: bool = True
    danger: bool = False
    form: type[BaseModel] | None = None


class Stateful(models.Model):
    """A row with a `status` that moves only along the edges of its class."""

    EDGES: ClassVar[tuple[Edge, ...]] = ()

    class Meta:
        abstract = True

    # Subclasses declare their own status field with their own choices.
    status: Any

    def access_scope(self) -> Scope:
        """Return the team and agent whose roles decide who may move this row."""
        raise NotImplementedError(f"{type(self).__name__} must say whose roles govern it")

    def audit_digest(self) -> str:
        """Return the digest of what a decision on this row binds to; empty where nothing is judged."""
        return ""

    @classmethod
    def edge(cls, verb: str) -> Edge:
        """Return the edge named `verb`; a machine has one edge per verb."""
        return next(edge for edge in cls.EDGES if edge.verb == verb)

    def edges_from_here(self) -> list[Edge]:
        return [edge for edge in self.EDGES if self.status in edge.sources]

    def edges_for(self, actor: Actor) -> list[Edge]:
        """Return the moves `actor` may try from here; the verb itself may still refuse, saying why."""
        scope = self.access_scope()
        return [edge for edge in self.edges_from_here() if edge.permission and can(actor, edge.permission, scope)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the row and its newest values for the length of a verb."""
        with transaction.atomic():
            rows = type(self)._default_manager.select_for_update(of=("self",), no_key=True)
            self.refresh_from_db(from_queryset=rows)
            yield

    def _authorize(self, edge: Edge, by: Actor) -> None:
        act = f"{edge.label.lower()} {self._meta.verbose_name} {self}"
        if by.is_machine:
            if not edge.by_machine:
                raise NotPermittedError(f"The machine may not {act}: machines stop, people promote.")
            return
        if edge.permission is None:
            raise NotPermittedError(
                f"Nobody may {act} by hand: only the machine makes this move, from what it measured."
            )
        require(by, edge.permission, self.access_scope(), act=act)

    def _move(
        self,
        verb: str,
        *,
        by: Actor,
        reason: str,
        facts: dict[str, Any] | None = None,
        digest: str | None = None,
        **changes: Any,
    ) -> None:
        """Walk the edge `verb`: check state, permission and reason, save, and write the event, all in one transaction.

        `changes` are further fields set with the move; `<field>_at` values may be given as `True` for now.
        """
        edge = self.edge(verb)
        with self.locked():
            if self.status not in edge.sources:
                allowed = ", ".join(sorted(edge.sources))
                raise TransitionRefusedError(
                    f"Cannot {edge.label.lower()} {self._meta.verbose_name} {self}: it is {self.status!r}; "
                    f"this needs {allowed}."
                )
            self._authorize(edge, by)
            if edge.needs_reason and not reason.strip():
                raise ReasonMissingError(
                    f"Say why you {edge.label.lower()} {self._meta.verbose_name} {self}: the record needs it."
                )
            before = self.status
            now = timezone.now()
            for field, value in changes.items():
                setattr(self, field, now if value is True and field.endswith("_at") else value)
            self.status = edge.target
            with acting(by, reason=reason):
                self.save(update_fields=["status", *changes])  # type: ignore[misc]  # each subclass declares its status
                record(
                    f"{self._meta.model_name}.{verb}",
                    self,
                    digest=self.audit_digest() if digest is None else digest,
                    team_id=self.access_scope().team_id,
                    facts={"from": before, "to": edge.target, **(facts or {})},
                )


_PERFORMERS: dict[tuple[str, str], Callable[..., str | None]] = {}


def performs[F: Callable[..., str | None]](model: type[models.Model], verb: str) -> Callable[[F], F]:
    """Let a higher floor say what a page or an endpoint does for an edge, where the bare verb would leave its work undone.

    The function is called as `function(row, by=…, reason=…, **arguments)`, calls the verb itself and may return a
    sentence for the person.
    """

    def register(function: F) -> F:
        _PERFORMERS[model._meta.label_lower, verb] = function
        return function

    return register


def performer_of(model: type[models.Model], verb: str) -> Callable[..., str | None]:
    """Return what walks the edge when a person asks for it: what `performs` registered, else the verb itself."""

    def perform(row: Any, **arguments: Any) -> None:
        getattr(row, verb)(**arguments)

    return _PERFORMERS.get((model._meta.label_lower, verb), perform)
