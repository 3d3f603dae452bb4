"""Who may play elsewhere, who may read what is played there, and how much comes in one batch."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from accounts.access import require
from accounts.acting import Actor
from accounts.exceptions import NotPermittedError
from accounts.roles import Permission
from evals.exceptions import ExternalRunError
from evals.external.items import MAX_ITEMS
from evals.models import Benchmark
from evals.secrecy import ExamReader
from harness.models import Agent

__all__ = ["PLAY_SCOPE", "ids_among", "refuse_batch", "refuse_player", "refuse_reader"]

PLAY_SCOPE = "run:play"


def refuse_player(agent: Agent, by: Actor, *, act: str) -> None:
    """Raise unless `by` is the agent's own key with the scope, or a person who may start runs."""
    if by.agent_id is None:
        require(by, Permission.START_RUN, agent.access_scope(), act=act)
    elif by.agent_id != agent.pk or PLAY_SCOPE not in (by.scopes or ()):
        raise NotPermittedError(f"This key lacks the scope {PLAY_SCOPE!r}; issue one that has it.")


def refuse_reader(benchmark: Benchmark, splits: Iterable[str], by: Actor) -> None:
    """Raise where a person may not read the exam; who may is recorded. The agent's key is the agent, which must read it."""
    if by.agent_id is not None:
        return
    reader = ExamReader(by)
    for split in splits:
        if not reader.reads(benchmark, split):
            raise NotPermittedError(
                f"{by.name} may not read {split} cases of {benchmark}: they are the exam. Play with a key of the agent that "
                f"has the scope {PLAY_SCOPE!r}, or with that of a person who may read it."
            )


def refuse_batch(items: Sequence[object]) -> None:
    """Raise where there are more items than one request carries."""
    if len(items) > MAX_ITEMS:
        raise ExternalRunError(f"{len(items)} results in one batch; send at most {MAX_ITEMS} at a time.")


def ids_among(items: Iterable[object]) -> list[UUID]:
    """Return the ids of cases among items that name one; the others are rejected one by one."""
    found = []
    for item in items:
        if isinstance(item, Mapping):
            try:
                found.append(UUID(str(item.get("case"))))
            except ValueError:
                continue
    return found
