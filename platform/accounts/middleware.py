"""Carries the signed-in person and the request's id to history and audit."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from accounts.acting import NOBODY, acting
from accounts.ids import uuid7
from accounts.models import User

__all__ = ["ActingMiddleware", "request_id_of"]


def request_id_of(request: HttpRequest) -> str:
    """Return the id of this request: the caller's `X-Request-Id` when it is a plain token, else one of ours."""
    given = request.headers.get("X-Request-Id", "")
    return given if given.isascii() and given.replace("-", "").isalnum() and len(given) <= 64 else str(uuid7())


class ActingMiddleware:
    """Acts as the session's user for the time of the request. Keys are resolved later, by the API's authentication."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request_id = request_id_of(request)
        user = getattr(request, "user", None)
        actor = user.as_actor() if isinstance(user, User) else NOBODY
        with acting(actor, reason="", request_id=request_id):
            response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response
