"""What a log line may say: never the values of a row."""

import sys
from collections.abc import MutableMapping
from typing import Any

from django.db import Error as DatabaseError
from django.http import HttpRequest

from accounts.exceptions import without_values

__all__ = ["cut_addresses", "cut_values", "route_of"]


def route_of(request: HttpRequest) -> str:
    """Return the name of the address that was asked for; its holes may be filled with people's names."""
    return request.resolver_match.view_name if request.resolver_match else "none"


def cut_addresses(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the route where Django's own lines about a request put its whole address. A processor of structlog."""
    event.pop("message", None)  # the same text, where another handler has been before
    request = event.pop("request", None)
    if isinstance(request, HttpRequest):
        event["event"] = str(event.get("event", "")).partition(": /")[0]
        event["route"] = route_of(request)
    return event


def cut_values(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take DETAIL, LINE and CONTEXT out of database errors: PostgreSQL quotes whole rows there, and people's words with them.

    A processor of structlog; it changes the errors themselves, because a traceback prints every one of their chain.
    """
    given = event.get("exc_info")
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, DatabaseError) or type(error).__module__.startswith("psycopg"):
            error.args = (without_values(error),)
        error = error.__cause__ or error.__context__
    return event
