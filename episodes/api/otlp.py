"""OTLP/HTTP: what an OpenTelemetry exporter sends when only its endpoint and a header are set.

Answers are those of the OTLP specification: the response message on success, with `partial_success` where single
records were left out, and google.rpc.Status otherwise, in the encoding of the request.
"""

import base64
import binascii
from collections.abc import Callable
from typing import IO, Literal, cast

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.acting import acting
from accounts.exceptions import DomainError
from episodes.api.parsers import read_body
from episodes.exceptions import UnreadableBatchError
from episodes.otlp.wire import Received, UnreadableError, answer, error_answer, read_logs, read_traces
from episodes.pressure import BusyError, admitted
from episodes.tracing import receive
from harness.authentication import remembered_key
from harness.models import Revision

__all__ = ["urlpatterns"]

type Signal = Literal["traces", "logs", "metrics"]

_JSON, _PROTOBUF = "application/json", "application/x-protobuf"
_INVALID_ARGUMENT, _PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _UNAVAILABLE, _UNAUTHENTICATED = 3, 7, 8, 14, 16


class _RefusedError(Exception):
    """A request that is answered with a status of google.rpc."""

    def __init__(self, status: int, code: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


def _exporter(signal: Signal, read: Callable[..., Received] | None) -> Callable[[HttpRequest], HttpResponse]:
    @csrf_exempt
    @require_POST
    def view(request: HttpRequest) -> HttpResponse:
        is_json = request.content_type == _JSON
        try:
            if request.content_type not in {_JSON, _PROTOBUF}:
                raise _RefusedError(
                    415, _INVALID_ARGUMENT, f"Content-Type {request.content_type!r} is not OTLP: use {_PROTOBUF}."
                )
            received = _taken(request, read, is_json=is_json)
        except _RefusedError as refusal:
            body = error_answer(refusal.code, str(refusal), is_json=is_json)
            return _answered(body, refusal.status, is_json=is_json, headers=refusal.headers)
        body = answer(signal, is_json=is_json, rejected=received.rejected, reason=received.reason)
        return _answered(body, 200, is_json=is_json)

    return view


def _taken(request: HttpRequest, read: Callable[..., Received] | None, *, is_json: bool) -> Received:
    """Authenticate, read and store; raise `_RefusedError` with what the exporter needs to know."""
    try:
        key = remembered_key(_presented(request), Revision.current())
        if key is None:
            raise _RefusedError(
                401, _UNAUTHENTICATED, "The key is missing, unknown, expired or revoked. Set the header Authorization: Bearer <key>.",
                **{"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        if key.agent is None or "episode:write" not in key.scopes:
            raise _RefusedError(
                403, _PERMISSION_DENIED, "Only an agent's key with the scope 'episode:write' reports traces."
            )
        if read is None:  # nothing is kept of metrics, so nothing needs to be read
            return Received([], [], 0, "")
        with admitted():
            received = read(read_body(_stream(request), request.headers.get("Content-Encoding", "")), is_json=is_json)
            with acting(key.as_actor()):
                receive(key.agent, received.spans, received.logs)
    except (UnreadableError, UnreadableBatchError) as error:
        raise _RefusedError(400, _INVALID_ARGUMENT, str(error)) from error
    except BusyError as error:
        raise _RefusedError(429, _RESOURCE_EXHAUSTED, str(error), **{"Retry-After": "1"}) from error
    except DomainError as error:
        raise _RefusedError(error.http_status, _INVALID_ARGUMENT, str(error)) from error
    except DatabaseError as error:
        raise _RefusedError(
            503, _UNAVAILABLE, "The store does not answer. Send again later.", **{"Retry-After": "1"}
        ) from error
    return received


def _stream(request: HttpRequest) -> IO[bytes]:
    """Return the body as it comes: Django's own reading would hold it whole before its size was looked at."""
    return cast("IO[bytes]", request)


def _presented(request: HttpRequest) -> str:
    """Return the key of the request: as bearer, or as the password of basic authentication, which one SDK sends."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().rpartition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return value.strip() if kind.lower() == "bearer" else ""


def _answered(body: bytes, status: int, *, is_json: bool, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(body, status=status, content_type=_JSON if is_json else _PROTOBUF, headers=headers)


_VIEWS: tuple[tuple[Signal, Callable[..., Received] | None], ...] = (
    ("traces", read_traces),
    ("logs", read_logs),
    ("metrics", None),
)
urlpatterns = [
    path(f"{root}v1/{signal}", _exporter(signal, read), name=f"otlp-{signal}{'-public' if root else ''}")
    for root in ("", "api/public/otel/")
    for signal, read in _VIEWS
]
