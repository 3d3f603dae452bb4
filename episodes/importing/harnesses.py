"""Writes down the harness a recorded agent ran on, as far as the record says. Pure."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["document_of", "functions_of", "json_beside"]


def document_of(
    *, policy: str, tools: Mapping[str, Any], model: str, variant: str = "", parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the harness document of a recorded agent: its policy, its tools, its model, and which variant it was."""
    document: dict[str, Any] = {
        "prompt": {"system": policy, "rules": {}, "examples": {}},
        "tools": {
            name: {"description": str(tool.get("description") or ""), "parameters": tool.get("parameters") or {}, "settings": {}, "enabled": True}
            for name, tool in tools.items()
        },
        "model": {"name": model, "parameters": dict(parameters or {})},
    }  # fmt: skip
    if variant:
        document["workflow"] = {"settings": {"variant": variant}}
    return document


def functions_of(tools: object) -> dict[str, Mapping[str, Any]]:
    """Return the functions of an OpenAI-style list of tools by name; what names none is passed over."""
    listed = tools if isinstance(tools, list) else []
    found = [tool.get("function") or tool for tool in listed if isinstance(tool, Mapping)]
    return {
        function["name"]: function
        for function in found
        if isinstance(function, Mapping) and isinstance(function.get("name"), str) and function["name"]
    }


def json_beside(text: str) -> Any:
    """Return a neighboring file's JSON; `None` when there is no such file or it is not JSON."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
