"""How much an expression may do and hold, counted instead of timed: the same on every machine."""

from dataclasses import dataclass
from typing import Any

__all__ = ["ExpressionError", "Limits", "Meter", "TooMuchError", "kind_of"]


class ExpressionError(Exception):
    """An expression that is not allowed, or that fails on this data. The sentence says why."""


class TooMuchError(ExpressionError):
    """An expression that does or holds more than one may."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one expression may be, do and hold."""

    source: int = 2_000  # characters
    nodes: int = 400  # of its tree
    depth: int = 40  # of its tree
    steps: int = 200_000  # nodes walked, values looked at
    cells: int = 500_000  # characters and items made, over the whole evaluation
    integer_bits: int = 256
    collection: int = 2_000  # members of one set or object that it makes


class Meter:
    """What is left of an expression's steps and cells."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._steps, self._cells = limits.steps, limits.cells

    @property
    def num_steps(self) -> int:
        return self.limits.steps - self._steps

    def spend(self, steps: int = 1) -> None:
        """Count steps; raise `TooMuchError` past the end."""
        self._steps -= steps
        if self._steps < 0:
            raise TooMuchError(f"takes more than {self.limits.steps:,} steps; look at fewer values")

    def hold(self, cells: int) -> None:
        """Count what is about to be made, before it is made; raise `TooMuchError` past the end."""
        self._cells -= cells
        if self._cells < 0:
            raise TooMuchError(f"makes more than {self.limits.cells:,} characters and items; make less")
        self.spend(cells // 16)

    def integer(self, bits: int) -> None:
        """Raise `TooMuchError` for an integer of more bits than one may have."""
        if bits > self.limits.integer_bits:
            raise TooMuchError(f"makes a whole number of more than {self.limits.integer_bits} bits")

    def collection(self, size: int) -> None:
        """Raise `TooMuchError` for a set or object of more members than one may have."""
        if size > self.limits.collection:
            raise TooMuchError(f"makes a set or object of more than {self.limits.collection:,} members")

    def weigh(self, *values: Any) -> None:
        """Count every value inside of these, as often as it is met: comparing walks them all, even where it is shared."""
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                self.spend(1 + len(value) // 16)
                continue
            self.spend()
            if isinstance(value, dict):
                self.spend(len(value))
                waiting += value.values()
            elif isinstance(value, list | tuple | set):
                self.spend(len(value))
                waiting += value


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    words = {
        "str": "text", "int": "a number", "float": "a number", "bool": "true or false", "NoneType": "nothing", "list": "a list",
        "tuple": "a tuple", "dict": "an object", "set": "a set",
    }  # fmt: skip
    return words.get(type(value).__name__, "something else")
