"""The same change in other clothes: what a patch says, without the words around it that grow with every correction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jsonpointer import JsonPointer

from proposals.models import Proposal

__all__ = ["essence", "twin_of"]

# Said about an item, not by it: a count of corrections, an owner, ways of asking.
_CIRCUMSTANCES = frozenset({"title", "tags", "source", "owner", "valid_until", "position"})
# Items whose name is made up when they are added: the same text under another name is the same change.
_COLLECTIONS = frozenset(
    {
        ("context", "documents"),
        ("prompt", "rules"),
        ("prompt", "examples"),
        ("memory", "rules"),
        ("guardrails", "rules"),
    }
)

type Essence = frozenset[tuple[str, ...]]


def essence(patch: Sequence[Mapping[str, Any]]) -> Essence:
    """Return what the patch writes where: layer, item and normalized content of each operation."""
    found: set[tuple[str, ...]] = set()
    for operation in patch:
        path, kind = tuple(JsonPointer(operation["path"]).parts), str(operation["op"])
        if kind != "test":
            said = _leaves(operation.get("value", operation.get("from", "")), ())
            found |= {(kind, *_placed(kind, (*path, *inner)), text) for inner, text in said}
    return frozenset(found)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping) and value:
        # A mapping of nothing but circumstances is one after all: an edit of exactly these.
        spoken = {name: one for name, one in value.items() if name not in _CIRCUMSTANCES} or value
        for name, one in spoken.items():
            yield from _leaves(one, (*path, str(name)))
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, (*path, "-"))
    else:
        yield path, " ".join(str(value).casefold().split())


def _placed(kind: str, path: tuple[str, ...]) -> tuple[str, ...]:
    return (*path[:2], "*", *path[3:]) if kind == "add" and path[:2] in _COLLECTIONS and len(path) > 3 else path


def twin_of(proposal: Proposal) -> Proposal | None:
    """Return an earlier proposal that says the same: one pending or declined, or one refused on the same base.

    On another base a refused change may be tried again; it is a retry then, and counted.
    """
    others = Proposal.objects.filter(agent_id=proposal.agent_id, layer=proposal.layer).exclude(pk=proposal.pk)
    refused = others.unhelpful().filter(base_id=proposal.base_id)
    mine = essence(proposal.patch)
    for other in (others.pending() | others.filter(status="declined") | refused).order_by("pk"):
        if essence(other.patch) == mine:
            return other  # type: ignore[no-any-return]  # the queryset is generic over Any
    return None
