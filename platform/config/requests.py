"""The access log: method, path without its query string, status, duration."""

import logging
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

__all__ = ["AccessLogMiddleware"]

logger = logging.getLogger("access")


class AccessLogMiddleware:
    """Logs every request but health probes. Query strings may carry user ids, so they never reach the log."""

    QUIET = ("/healthz", "/readyz", "/metrics", "/static/")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self.get_response(request)
        if not request.path.startswith(self.QUIET):
            logger.debug(
                "request.served",
                extra={
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "duration_ms": round(1000 * (time.perf_counter() - started), 1),
                },
            )
        return response
