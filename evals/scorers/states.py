"""What the case left behind in the world its tools work on.

A case names its check; what the check calls is written in `settings.STATE_CHECKS` and nowhere else, so no text of a case
ever reaches an import.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pkgutil import resolve_name
from typing import Any

from evals.scorers.reply import Reply
from evals.scorers.scorer import TEXT, Part, Scorer, json_object, some_of
from harness.canonical import DocumentError, clean_json, is_same, pointer

__all__ = ["STATE", "StateCheck", "checks", "equals", "includes", "resolve_check", "use_checks"]

type StateCheck = Callable[[Mapping[str, Any], Any], bool | float | tuple[float, str]]
"""Takes the final state and what was expected; returns whether, or how far (0 to 1), it holds, and why if it can say."""

_BUILT_IN = {"equals": "evals.scorers.states.equals", "includes": "evals.scorers.states.includes"}
_checks: dict[str, str] = dict(_BUILT_IN)


def use_checks(paths: Mapping[str, str]) -> None:
    """Take these checks, name by name, besides the ones that are built in."""
    _checks.clear()
    _checks.update({**_BUILT_IN, **paths})


def checks() -> dict[str, str]:
    """Return the dotted path behind every check's name."""
    return dict(_checks)


@cache
def resolve_check(path: str) -> StateCheck:
    """Return what a dotted path of the settings names; raise `ImportError`, `AttributeError` or `TypeError` otherwise."""
    module, _, name = path.rpartition(".")
    found = resolve_name(f"{module}:{name}")
    if not callable(found):
        raise TypeError(f"{path} cannot be called")
    return found  # type: ignore[no-any-return]  # the settings say what it is


def equals(final: Mapping[str, Any], expected: Any) -> tuple[float, str]:
    """Check that the final state is what was expected and nothing else."""
    if is_same(clean_json(dict(final)), clean_json(expected)):
        return 1.0, "the state is what was expected"
    share, why = includes(final, expected)
    return (share, why) if share < 1 else (0.5, "the state holds more than was expected")


def includes(final: Mapping[str, Any], expected: Any) -> tuple[float, str]:
    """Check that the final state holds every expected value; return the share that it holds."""
    leaves = list(_leaves(clean_json(expected), ()))
    state = clean_json(dict(final))
    wrong = [pointer(path) or "/" for path, value in leaves if not _holds(state, path, value)]
    share = 1 - len(wrong) / len(leaves)
    return share, f"the state differs at {some_of(wrong)}" if wrong else "the state holds what was expected"


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value that is no object of members; a list counts as one value."""
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from _leaves(member, (*path, name))
    else:
        yield path, value


def _holds(state: Any, path: tuple[str, ...], value: Any) -> bool:
    for name in path:
        if not isinstance(state, dict) or name not in state:
            return False
        state = state[name]
    return is_same(state, value)


def _state(wanted: Mapping[str, Any], reply: Reply) -> Part:
    name = wanted.get("check", "includes")
    try:
        answer = resolve_check(_checks[name])(reply.final_state, wanted["expected"])
    except DocumentError as error:
        return Part(0.0, f"the final state cannot be compared: {error}")
    except Exception as error:  # noqa: BLE001 - the installation's own function, over what an agent left behind
        return Part(0.0, f"the check {name} could not read the state: {type(error).__name__}: {str(error)[:200]}")
    share, why = answer if isinstance(answer, tuple) else (float(answer), "")
    if not 0 <= share <= 1 or math.isnan(share):
        return Part(0.0, f"the check {name} answered {share!r}, which is no score from 0 to 1")
    return Part(float(share), str(why)[:500] or f"the check {name} gives {share:.2f}")


def _check_problem(wanted: Mapping[str, Any]) -> str:
    name = wanted.get("check", "includes")
    if name not in _checks:
        return f"there is no check {name!r}; this installation has {', '.join(sorted(_checks))} (settings.STATE_CHECKS)"
    try:
        resolve_check(_checks[name])
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return f"the check {name!r} cannot be used: {error}; mend settings.STATE_CHECKS"
    return ""


STATE = Scorer(
    "state",
    "The final state (the runner's, else `state` of the output) passes a check of the installation against what is "
    "expected: includes (the default), equals, or one named in settings.STATE_CHECKS. The score is the check's.",
    json_object({"check": TEXT, "expected": {}}, "expected"),
    {"check": "includes", "expected": {"orders": {"KL-2041": {"status": "refunded"}}}}, _state, _check_problem,
)  # fmt: skip
