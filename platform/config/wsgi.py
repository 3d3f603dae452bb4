"""The WSGI application, served by granian."""

import gc
import io
import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.db import connections

__all__ = ["application", "measured"]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

type _Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# One byte more than the largest body that any view takes: what is longer is refused there, with its own sentence.
_MOST = 16 * 1024 * 1024 + 1


def measured(inner: _Application) -> _Application:
    """Give bodies that come without a length (chunked, or over HTTP/2) the length they turn out to have.

    Django takes such a body for empty, and an empty export is a success: what several exporters send packed, and so
    chunked, would be answered as kept and be lost.
    """

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
            body = bytearray()
            while len(body) < _MOST and (piece := environ["wsgi.input"].read(_MOST - len(body))):
                body += piece
            environ |= {"wsgi.input": io.BytesIO(bytes(body)), "CONTENT_LENGTH": str(len(body))}
        return inner(environ, start_response)

    return application


application = measured(get_wsgi_application())

# A connection a request costs more than most requests. Kept here only: Django looks after a connection where a request
# begins, and nobody does in the other processes. One that died meanwhile is noticed before its first statement.
connections.settings["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}

# What is loaded now stays as long as the process: a collection that goes through it would only make requests wait.
gc.collect()
gc.freeze()
