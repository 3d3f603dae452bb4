"""Say in words what a case expects, for people who judge it. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["in_words"]


def in_words(expectations: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each expectation's name and a sentence; one this module has no words for is shown as it is stored."""
    return [(name, _SENTENCES.get(name, _as_stored)(name, value)) for name, value in expectations.items()]


def _as_stored(name: str, value: Any) -> str:
    return f"{name.replace('_', ' ').capitalize()}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}"


def _listed(value: Any) -> str:
    phrases = value if isinstance(value, list) else [value]
    return " and ".join(f"“{phrase}”" for phrase in phrases)


def _called(_: str, value: Any) -> str:
    if not isinstance(value, Mapping) or "name" not in value:
        return _as_stored("tool_called", value)
    given = value.get("arguments")
    if not isinstance(given, Mapping) or not given:
        return f"The tool {value['name']} is called, with whatever arguments."
    arguments = ", ".join(f"{name} = {argument}" for name, argument in given.items())
    return f"The tool {value['name']} is called with {arguments}."


_SENTENCES: dict[str, Callable[[str, Any], str]] = {
    "contains": lambda _, value: f"The reply says {_listed(value)}.",
    "excludes": lambda _, value: f"The reply never says {_listed(value)}.",
    "handoff": lambda _, value: "It is handed over to a person." if value else "It is answered without handing over.",
    "accepts_handoff": lambda _, value: "Handing over is as good." if value else "Handing over is not as good.",
    "tool_called": _called,
    "cites": lambda _, value: f"The reply cites {_listed(value)}.",
}
