"""What every request passes before and after its view: the access log, the refusal of NUL, problems for what has no view."""

import logging
import time
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from config.logs import route_of
from harness.problems import CONTENT_TYPE, problem

__all__ = ["AccessLogMiddleware", "NoNulMiddleware", "bad_request", "not_found", "server_error"]

logger = logging.getLogger("access")

_FOR_PROGRAMS = ("/api/", "/v1/")


class AccessLogMiddleware:
    """Logs every request but health probes. Addresses name customers, so the log has the route instead."""

    QUIET = ("/healthz", "/readyz", "/metrics", "/static/")

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self.get_response(request)
        if not request.path.startswith(self.QUIET):
            logger.info(
                "request.served",
                extra={
                    "method": request.method,
                    "route": route_of(request),
                    "status": response.status_code,
                    "duration_ms": round(1000 * (time.perf_counter() - started), 1),
                },
            )
        return response


class NoNulMiddleware:
    """Refuses NUL in addresses and cookies: PostgreSQL cannot store it, so nothing can have it in its name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query or any("\0" in text for text in (request.path, query, *request.COOKIES.values())):
            return _problem(400, "nul", "The address or a cookie holds a NUL character. Leave it out.")
        return self.get_response(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer what Django found suspicious, such as too many fields."""
    if not request.path.startswith(_FOR_PROGRAMS):
        return defaults.bad_request(request, exception)
    return _problem(400, "bad_request", "The request is malformed or larger than this platform accepts.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that no view has."""
    if not request.path.startswith(_FOR_PROGRAMS):
        return defaults.page_not_found(request, exception)
    return _problem(404, "not_found", "There is no such address. /api/docs lists those there are.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a crash; the log has it under the request's id."""
    if not request.path.startswith(_FOR_PROGRAMS):
        return defaults.server_error(request)
    return _problem(500, "crashed", "The platform failed at this request; its log says why, under X-Request-Id.")


def _problem(http_status: int, code: str, detail: str) -> JsonResponse:
    return JsonResponse(problem(http_status, code, detail).data, status=http_status, content_type=CONTENT_TYPE)
