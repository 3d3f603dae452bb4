"""Read a tool's arguments out of what the user wrote, as the tool's JSON Schema describes them. Pure."""

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["digits", "extract", "resource", "styled"]

_TOKEN_WITH_DIGIT = re.compile(r"[\w#-]*\d[\w-]*")
_NUMBER = re.compile(r"([A-Za-z]+)[\s-]?(\d+)")


def extract(tool: Mapping[str, Any], user_text: str) -> tuple[dict[str, str], list[str]]:
    """Return (arguments, missing names) for the required string properties of `tool["parameters"]`.

    A property with a `pattern` takes its first match, whatever the case; one without takes the first token that has a
    digit, which is as good a guess as its schema allows. A pattern that is no regular expression matches nothing.
    """
    schema = tool.get("parameters") or {}
    properties = schema.get("properties") or {}
    style = str((tool.get("settings") or {}).get("number_style") or "plain")
    found: dict[str, str] = {}
    missing: list[str] = []
    for name in schema.get("required") or []:
        wanted = properties.get(name) or {}
        if wanted.get("type", "string") != "string":
            continue
        value = _first(wanted.get("pattern"), user_text)
        if value is None:
            missing.append(name)
        else:
            found[name] = styled(value, style)
    return found, missing


def _first(pattern: str | None, text: str) -> str | None:
    if pattern is None:
        match = _TOKEN_WITH_DIGIT.search(text)
        return match[0] if match else None
    try:
        # The schema's anchors speak of the argument alone; here it stands inside a sentence.
        match = re.search(pattern.removeprefix("^").removesuffix("$"), text, re.IGNORECASE)
    except re.error:
        return None
    return match[0] if match and match[0] else None


def styled(value: str, style: str) -> str:
    """Return letters and number as the style writes them: `dashed` KL-48213, else KL48213; other text unchanged."""
    match = _NUMBER.fullmatch(value.strip())
    if match is None:
        return value.strip()
    return ("-" if style == "dashed" else "").join((match[1].upper(), match[2]))


def digits(value: str) -> str:
    """Return the digits of an id, by which rows and recordings are found whatever its style."""
    return re.sub(r"\D", "", value)


def resource(tool: str) -> str:
    """Return the path under which a backend serves a tool's rows: `lookup_order` reads `orders`."""
    return f"{tool.partition('_')[2] or tool}s"
