"""Python expressions over plain data, with no way out and with an end.

Nothing here hands text to Python: an expression is read into a tree, every kind of node must be on a list, and a small
interpreter of our own walks it over JSON values. No object with attributes is ever within its reach, and what it may do
and hold is counted, so that the same expression over the same data always ends in the same way, on any machine.
"""

from evals.scorers.sandbox.evaluating import evaluate
from evals.scorers.sandbox.limits import ExpressionError, Limits, Meter, TooMuchError
from evals.scorers.sandbox.reading import read

__all__ = ["ExpressionError", "Limits", "Meter", "TooMuchError", "evaluate", "read"]
