"""Checks of the house itself."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from config.environment import ROOT

__all__ = ["platform_holds_packages_only"]


@register()
def platform_holds_packages_only(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """config.E001: a Python file directly in `platform/` could shadow the standard library's module of that name."""
    strays = sorted(path.name for path in (ROOT / "platform").glob("*.py"))
    if not strays:
        return []
    return [
        Error(
            f"platform/ holds Python files: {', '.join(strays)}.",
            hint="Move them into a package below platform/; the folder itself must stay a plain second source root.",
            id="config.E001",
        )
    ]
