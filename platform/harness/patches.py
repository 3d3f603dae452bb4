"""Small changes of documents as pure functions: read, apply, diff, invert, rebase, layer of.

A patch is RFC 6902. Documents given here have passed `harness.canonical.clean_json` or `parse_json`; none is changed in
place. Objects are compared member by member, lists and texts as wholes: a patch never addresses a list by index unless
its author did. How large a change is, and how it reads, is in `harness.lines`.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import jsonpatch
import jsonpointer
import orjson

from harness.canonical import MAX_BYTES, DocumentError, Json, JsonObject, clean_json, is_same, pointer

__all__ = [
    "MISSING",
    "Change",
    "Conflict",
    "Missing",
    "Operation",
    "Patch",
    "PatchError",
    "apply",
    "changes",
    "diff",
    "invert",
    "layer_of",
    "layers_of",
    "read_patch",
    "rebase",
]

type Operation = dict[str, Json]
type Patch = list[Operation]

_MEMBERS = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "test": ("value",),
    "move": ("from",),
    "copy": ("from",),
}


class PatchError(DocumentError):
    """A patch that cannot be read or does not fit its base."""


class Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""What stands at a path where a document has nothing; distinct from null."""


@dataclass(frozen=True)
class Change:
    """One member that differs between two documents. `old` or `new` is `MISSING` where it was added or removed."""

    path: tuple[str, ...]
    old: Json | Missing
    new: Json | Missing


@dataclass(frozen=True)
class Conflict:
    """Why a patch cannot be carried to a newer base: both changed `path` (a JSON Pointer), or nothing is left to do."""

    code: Literal["conflict", "already_there"]
    path: str
    sentence: str


def read_patch(value: object) -> Patch:
    """Return a clean copy of a patch with the members RFC 6902 knows and no others, or raise `PatchError`.

    Unknown members are dropped, as the standard demands, so that a patch's digest covers only what it does.
    """
    patch = clean_json(value)
    if not isinstance(patch, list) or not patch:
        message = "A patch is a list of at least one RFC 6902 operation. Send [{'op': …, 'path': …}, …]."
        raise PatchError("invalid_patch", message)
    return [_read_operation(index, operation) for index, operation in enumerate(patch)]


def apply(document: JsonObject, patch: object) -> JsonObject:
    """Return the document after the patch, or raise `PatchError` where an operation does not fit it.

    The result is clean JSON but not necessarily a valid document: see `harness.documents.validate_document`.
    """
    result: Json = copy.deepcopy(document)
    for index, operation in enumerate(read_patch(patch)):
        result = _apply_operation(result, operation, index)
    cleaned = clean_json(result)
    if not isinstance(cleaned, dict):
        raise PatchError("whole_document", _WHOLE_DOCUMENT)
    return cleaned


def changes(base: JsonObject, target: JsonObject) -> list[Change]:
    """Return the members that differ, in the order of their names; two objects at one path are looked into."""
    return list(_changes(base, target, ()))


def diff(base: JsonObject, target: JsonObject) -> Patch:
    """Return the smallest patch of members from base to target; equal documents give an empty list.

    Every replaced or removed value is tested first, so the patch fails on any document that differs there.
    """
    return [operation for change in changes(base, target) for operation in _operations(change)]


def invert(base: JsonObject, patch: object) -> Patch:
    """Return the patch that takes the patched document back to `base`."""
    return diff(apply(base, patch), base)


def rebase(patch: object, *, old_base: JsonObject, new_base: JsonObject) -> Patch | Conflict:
    """Return the patch that makes the same change to `new_base`, or the conflict that forbids it.

    A change survives where the newer base still holds what the patch was written against; what the newer base already
    holds is left out. Raise `PatchError` when the patch does not even fit `old_base`.
    """
    merged = copy.deepcopy(new_base)
    for change in changes(old_base, apply(old_base, patch)):
        conflict = _carry(merged, change.path, change.old, change.new)
        if conflict is not None:
            return conflict
    rebased = diff(new_base, merged)
    if rebased:
        return rebased
    return Conflict("already_there", "", "The newer base already contains this change. Withdraw the proposal.")


def layers_of(patch: object) -> frozenset[str]:
    """Return every top-level name an operation reads or writes, `test` and `from` included.

    Raise `PatchError` when an operation addresses the whole document: that is every layer at once.
    """
    layers = set()
    for operation in read_patch(patch):
        for member in ("path", "from"):
            if member in operation:
                parts = jsonpointer.JsonPointer(str(operation[member])).parts
                if not parts:
                    raise PatchError("whole_document", _WHOLE_DOCUMENT)
                layers.add(parts[0])
    return frozenset(layers)


def layer_of(patch: object) -> str:
    """Return the one top-level name the patch touches, or raise `PatchError` when it touches several."""
    layers = sorted(layers_of(patch))
    if len(layers) > 1:
        sentence = f"The patch touches {len(layers)} layers ({', '.join(layers)}). Make one proposal for each."
        raise PatchError("several_layers", sentence)
    return layers[0]


_WHOLE_DOCUMENT = "The patch addresses the whole document. Address members of one layer, such as /prompt/system."


def _read_operation(index: int, operation: Json) -> Operation:
    kind = operation.get("op") if isinstance(operation, dict) else None
    if not isinstance(operation, dict) or not isinstance(kind, str) or kind not in _MEMBERS:
        sentence = f"Operation {index} is not one of {', '.join(_MEMBERS)}. Give it an 'op' and a 'path'."
        raise PatchError("invalid_patch", sentence, f"/{index}")
    needed = ("path", *_MEMBERS[kind])
    for member in needed:
        if member not in operation:
            sentence = f"Operation {index} ({kind}) lacks {member!r}. Add it."
            raise PatchError("invalid_patch", sentence, f"/{index}")
        if member in {"path", "from"}:
            _check_pointer(index, operation[member])
    return {member: operation[member] for member in ("op", *needed)}


def _check_pointer(index: int, path: Json) -> None:
    try:
        if not isinstance(path, str):
            message = f"{path!r} is not text"
            raise jsonpointer.JsonPointerException(message)
        jsonpointer.JsonPointer(path)
    except jsonpointer.JsonPointerException as error:
        sentence = f"Operation {index} has no valid JSON Pointer: {error}. Write it as /layer/name."
        raise PatchError("invalid_patch", sentence, f"/{index}") from error


def _apply_operation(document: Json, operation: Operation, index: int) -> Json:
    kind, path = str(operation["op"]), str(operation["path"])
    try:
        result: Json = jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
    except jsonpatch.JsonPatchTestFailed as error:
        sentence = f"Operation {index} tests {path!r}, which the base holds differently. Rebase the patch."
        raise PatchError("test_failed", sentence, path) from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        sentence = f"Operation {index} ({kind} {path!r}) does not fit the base: {error}. Correct the path or rebase."
        raise PatchError("does_not_fit", sentence, path) from error
    if kind == "copy":
        _check_growth(result)
    return result


def _check_growth(document: Json) -> None:
    # Each copy may double the document, so thirty small operations could fill the memory before the final check.
    try:
        size = len(orjson.dumps(document))
    except orjson.JSONEncodeError as error:
        raise PatchError("too_deep", "The patch nests the document into itself. Copy less.") from error
    if size > MAX_BYTES:
        raise PatchError("too_large", f"The patch grows the document beyond {MAX_BYTES:,} bytes. Copy less.")


def _changes(base: JsonObject, target: JsonObject, path: tuple[str, ...]) -> Iterator[Change]:
    for name in sorted(base.keys() | target.keys()):
        here = (*path, name)
        old: Json | Missing = base.get(name, MISSING)
        new: Json | Missing = target.get(name, MISSING)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, here)
        elif isinstance(old, Missing) or isinstance(new, Missing) or not is_same(old, new):
            yield Change(here, old, new)


def _operations(change: Change) -> Iterator[Operation]:
    path = pointer(change.path)
    if isinstance(change.old, Missing):
        assert not isinstance(change.new, Missing)
        yield {"op": "add", "path": path, "value": change.new}
        return
    yield {"op": "test", "path": path, "value": change.old}
    if isinstance(change.new, Missing):
        yield {"op": "remove", "path": path}
    else:
        yield {"op": "replace", "path": path, "value": change.new}


def _carry(merged: JsonObject, path: tuple[str, ...], old: Json | Missing, new: Json | Missing) -> Conflict | None:
    """Make one change in `merged` in place, unless the newer base has moved on at that path."""
    *parents, name = path
    parent: Json | Missing = merged
    for part in parents:
        parent = parent.get(part, MISSING) if isinstance(parent, dict) else MISSING
    if not isinstance(parent, dict):
        return _conflict(path)
    current: Json | Missing = parent.get(name, MISSING)
    if _equal(current, new):
        return None
    if isinstance(old, Missing) and isinstance(current, dict) and isinstance(new, dict) and _is_collection(path):
        conflicts = (_carry(merged, (*path, item), MISSING, value) for item, value in new.items())
        return next((conflict for conflict in conflicts if conflict is not None), None)
    if not _equal(current, old):
        return _conflict(path)
    if isinstance(new, Missing):
        del parent[name]
    else:
        parent[name] = copy.deepcopy(new)
    return None


def _is_collection(path: tuple[str, ...]) -> bool:
    # A missing layer or collection is an empty one, so two proposals may each have created it. Tools lie directly under
    # their layer: /tools/x is an item, whose halves from two authors must not be blended.
    return len(path) == 1 or (len(path) == 2 and path[0] != "tools")


def _equal(left: Json | Missing, right: Json | Missing) -> bool:
    if isinstance(left, Missing) or isinstance(right, Missing):
        return left is right
    return is_same(left, right)


def _conflict(path: tuple[str, ...]) -> Conflict:
    where = pointer(path)
    sentence = f"{where} has changed in the newer base since this patch was written. Write the change again."
    return Conflict("conflict", where, sentence)
