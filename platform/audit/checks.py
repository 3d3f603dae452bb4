"""Checks that the record and the state machines are what they say."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from audit.transitions import Stateful

__all__ = ["every_status_is_in_its_table", "no_flush_in_production"]


@register(Tags.models)
def every_status_is_in_its_table(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """audit.E001: a status or verb of a state machine is missing from its table."""
    messages: list[CheckMessage] = []
    for model in apps.get_models():
        if not issubclass(model, Stateful):
            continue
        states = {value for value, _label in model._meta.get_field("status").choices or ()}  # type: ignore[misc]  # each subclass declares its status
        named = {state for edge in model.EDGES for state in (*edge.sources, edge.target)}
        missing = [edge.verb for edge in model.EDGES if not callable(getattr(model, edge.verb, None))]
        if named != states or missing:
            messages.append(
                Error(
                    f"{model.__name__}: states {sorted(states ^ named)} or verbs {missing} do not match its table of edges.",
                    hint="List every status in EDGES and give every edge its method.",
                    obj=model,
                    id="audit.E001",
                )
            )
    return messages


@register(Tags.security, deploy=True)
def no_flush_in_production(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """audit.E002: a production connection may not carry the setting that lets a test flush through."""
    options = str(settings.DATABASES["default"].get("OPTIONS", {}))
    if "whetstone.test_flush" not in options:
        return []
    return [
        Error(
            "The database connection sets whetstone.test_flush, which switches the append-only guard off in test databases.",
            hint="Remove it from DATABASES['default']['OPTIONS']; only the test settings set it.",
            id="audit.E002",
        )
    ]
