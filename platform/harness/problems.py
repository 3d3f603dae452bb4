"""Errors as problem+json (RFC 9457) with a stable code: one handler for the whole API."""

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

from accounts.exceptions import DomainError

__all__ = ["as_problem", "problem"]

logger = logging.getLogger("harness")
CONTENT_TYPE = "application/problem+json"


def problem(http_status: int, code: str, detail: str, **more: Any) -> Response:
    """Return a problem response. `code` is stable, `detail` says what, why and what to do."""
    body = {"type": f"urn:whetstone:problem:{code}", "status": http_status, "code": code, "detail": detail, **more}
    return Response(body, status=http_status, content_type=CONTENT_TYPE)


def as_problem(error: Exception, context: dict[str, Any]) -> Response | None:
    """Turn what a view raised into a problem; `None` leaves a real crash to Django."""
    response = _translated(error)
    if response is not None:
        set_rollback()
    return response


def _translated(error: Exception) -> Response | None:
    match error:
        case DomainError():
            response = problem(error.http_status, error.code, str(error))
            if error.retry_after_s is not None:
                response["Retry-After"] = str(error.retry_after_s)
            return response
        case DatabaseError() | InterfaceError():
            return _of_database(error)
        case exceptions.ValidationError():
            return problem(422, "invalid", "The request does not have the shape this call needs.", errors=error.detail)
        case ValidationError():
            return problem(422, "invalid", " ".join(error.messages))
        case Http404():
            return problem(
                status.HTTP_404_NOT_FOUND, "not_found", "There is no such object, or it is not yours to see."
            )
        case PermissionDenied():
            return problem(status.HTTP_403_FORBIDDEN, "not_permitted", "You may not do this.")
        case exceptions.APIException():
            response = problem(error.status_code, str(error.default_code), str(error.detail))
            wait = getattr(error, "wait", None)
            if wait is not None:
                response["Retry-After"] = str(int(wait) + 1)
            header = getattr(error, "auth_header", None)
            if header:
                response["WWW-Authenticate"] = header
            return response
        case _:
            return None


def _of_database(error: Exception) -> Response | None:
    match error:
        case OperationalError() | InterfaceError():
            logger.error("database.unavailable", exc_info=error)
            response = problem(503, "unavailable", "The database does not answer. Nothing was changed; send it again.")
            response["Retry-After"] = "1"
            return response
        case IntegrityError():
            logger.error("database.refused", exc_info=error)
            return problem(409, "conflict", "The database holds something that this contradicts. Read it again first.")
        case DataError():
            return problem(422, "invalid", "A value is longer or larger than its place in the database.")
        case _:
            return None
