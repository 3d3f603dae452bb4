"""JSONPath (RFC 9535) with an end: what a query looks at is counted, and too much is refused.

The library's own functions `match` and `search` are left out: their patterns can take exponential time. Use the
expectation's `matches` instead.
"""

from collections.abc import Iterator
from typing import Any

from jsonpath_rfc9535 import DetailedJSONPathError, JSONPathEnvironment, JSONPathError

from harness.canonical import Json

__all__ = ["MAX_PATH", "PathExhaustedError", "find", "problem_of_path"]

MAX_PATH = 500
MAX_LOOKS = 2_000_000  # weighed by the length of the path, which bounds what is done at each look


class PathExhaustedError(Exception):
    """The query looked at more than one query may look at."""


class _Looks:
    """How many more members and items a query may look at."""

    def __init__(self, path: str) -> None:
        self.left = MAX_LOOKS // (50 + len(path))

    def spend(self, number: int = 1) -> None:
        self.left -= number
        if self.left < 0:
            raise PathExhaustedError


class _CountedObject(dict[str, Any]):
    """An object that counts how often its members are looked through or compared."""

    looks: _Looks

    def __contains__(self, name: object) -> bool:
        self.looks.spend()
        return super().__contains__(name)

    def items(self) -> Any:
        self.looks.spend(1 + len(self))
        return super().items()

    def __eq__(self, other: object) -> bool:
        self.looks.spend(1 + len(self))
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


class _CountedList(list[Any]):
    """A list that counts how often its items are looked through or compared."""

    looks: _Looks

    def __iter__(self) -> Iterator[Any]:
        self.looks.spend(1 + len(self))
        return super().__iter__()

    def __getitem__(self, place: Any) -> Any:
        self.looks.spend(1 + len(self) if isinstance(place, slice) else 1)
        return super().__getitem__(place)

    def __eq__(self, other: object) -> bool:
        self.looks.spend(1 + len(self))
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


def _counted(value: Json, looks: _Looks) -> Any:
    match value:
        case dict():
            members = _CountedObject((name, _counted(item, looks)) for name, item in value.items())
            members.looks = looks
            return members
        case list():
            items = _CountedList(_counted(item, looks) for item in value)
            items.looks = looks
            return items
    return value


def _plain(value: Any) -> Any:
    """Return what was selected as plain JSON; looking through it counts like any other look."""
    if isinstance(value, _CountedObject):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, _CountedList) else value


_ENVIRONMENT = JSONPathEnvironment(max_expression_depth=12)
for _name in ("match", "search"):
    del _ENVIRONMENT.functions[_name]


def find(path: str, value: Json, *, most: int = 1_000) -> list[Any]:
    """Return the first values of clean JSON that the path selects; raise `PathExhaustedError` past the end."""
    found: list[Any] = []
    looks = _Looks(path)
    try:
        for node in _ENVIRONMENT.compile(path).finditer(_counted(value, looks)):
            looks.spend()
            found.append(_plain(node.value))
            if len(found) == most:
                break
    except (JSONPathError, RecursionError) as error:
        raise PathExhaustedError from error
    return found


def problem_of_path(path: str) -> str:
    """Return why a text is no path, or nothing."""
    if len(path) > MAX_PATH:
        return f"the path has {len(path):,} characters, and {MAX_PATH:,} are allowed"
    try:
        _ENVIRONMENT.compile(path)
    except (JSONPathError, RecursionError, ValueError, OverflowError) as error:
        said = error.args[0] if isinstance(error, DetailedJSONPathError) else error
        return f"{path!r} is no JSONPath (RFC 9535): {said}; write it like $.order.items[0].status"
    return ""
